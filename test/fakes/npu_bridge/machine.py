"""The chip and the C++ part of the adapter, as far as a test can tell them from the CPU; what tests read and set."""
import os
import re

import tensorflow as tf
from tensorflow.python.client import session as session_lib

calls = []                     # (name, argument, ...) of the calls of npu_bridge's functions, in order
fetch_sets = []                # (feeds, fetches, targets), by name, that NPU sessions ran, each set once, in order
compiled = []                  # those of them that hold something for the NPU: a graph to compile each
inf_nan = False                # the overflow mode: INF and NaN as on A2 and A3, else saturation as on a 910

_HOST = re.compile('.*(Iterator|Dataset).*|NoOp|Const|Placeholder.*')   # operators that stay on the host
_run = session_lib.BaseSession._do_run


def start():
    """From here on every session of the process that has the NpuOptimizer is on the NPU."""
    session_lib.BaseSession._do_run = _do_run


def stop():
    """Sessions are TensorFlow's own again."""
    session_lib.BaseSession._do_run = _run


def _do_run(session, handle, target_list, fetch_list, feed_dict, *options):
    """Each new set of feeds, fetches and targets is a graph of its own, which the adapter compiles and says so."""
    optimizers = session._config.graph_options.rewrite_options.custom_optimizers if session._config else ()
    graph = tuple(tuple(sorted(thing.name for thing in group)) for group in (feed_dict, fetch_list, target_list))
    for optimizer in optimizers:
        if optimizer.name == 'NpuOptimizer' and graph not in fetch_sets:
            fetch_sets.append(graph)
            if is_compiled(optimizer) and _has_work(feed_dict, list(target_list) + [one.op for one in fetch_list]):
                compiled.append(graph)
                os.write(2, b'The model has been compiled on the Ascend AI processor, current graph id is: %d\n'
                         % len(compiled))
    return _run(session, handle, target_list, fetch_list, feed_dict, *options)


def _has_work(fed, ops):
    """Whether an operator that `ops` need, down to what is fed, runs on the NPU."""
    seen = set()
    while ops:
        op = ops.pop()
        if op not in seen:
            seen.add(op)
            ops += op.control_inputs + [tensor.op for tensor in op.inputs if tensor not in fed]
    return not all(_HOST.fullmatch(op.type) for op in seen)


def is_compiled(optimizer):
    """Whether the adapter takes the graph from the CPU; these options keep it from doing so, without a word."""
    return optimizer.parameter_map['use_off_line'].b and optimizer.parameter_map['job'].s not in (b'ps', b'default')


def float_status(tensors):
    """What the status register says after `tensors`: 1 after an overflow, in saturation mode only, else 0."""
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(tensor)) for tensor in tensors if tensor is not None])
    return tf.zeros([8]) if inf_nan else tf.fill([8], 1. - tf.cast(finite, tf.float32))
