"""The chip and the C++ part of the adapter, as far as a test can tell them from the CPU; what tests read and set."""
import hashlib
import json
import os
import re

import tensorflow as tf
from tensorflow.python.client import session as session_lib

calls = []                     # (name, argument, ...) of the calls of npu_bridge's functions, in order
sessions = []                  # those that ran something on the NPU, in order
fetch_sets = []                # (feeds, fetches, targets), by name, that NPU sessions ran, each set once, in order
compiled = []                  # those of them that hold something for the NPU: a graph to compile each
engine_starts = []             # {option: value} of the session that started GE; a process starts it once, with these
cache_hits = []                # those of `compiled` that came from graph_compiler_cache_dir
wrong_hits = []                # those of `cache_hits` for which another graph had been kept
inf_nan = False                # the overflow mode: INF and NaN as on A2 and A3, else saturation as on a 910

_INPUT = re.compile('Iterator|Dataset')
_HOST = re.compile('.*(Iterator|Dataset).*|NoOp|Const|Placeholder.*')   # operators that stay on the host
_NPU_OPTIMIZER = 'NpuOptimizer'
_run, _init = session_lib.BaseSession._do_run, session_lib.Session.__init__


def start():
    """From here on every session of the process is on the NPU, unless its entry of the NpuOptimizer keeps it off."""
    session_lib.BaseSession._do_run = _do_run
    session_lib.Session.__init__ = _init_session


def stop():
    """Sessions are TensorFlow's own again."""
    session_lib.BaseSession._do_run = _run
    session_lib.Session.__init__ = _init


def forget():
    """What a new process knows."""
    for record in calls, sessions, fetch_sets, compiled, engine_starts, cache_hits, wrong_hits:
        record.clear()


def _init_session(session, target='', graph=None, config=None):
    """Gives an entry of the NpuOptimizer to a session without one."""
    proto = tf.ConfigProto()
    if config is not None:
        proto.CopyFrom(config)
    optimizers = proto.graph_options.rewrite_options.custom_optimizers
    if not any(one.name == _NPU_OPTIMIZER for one in optimizers):
        optimizers.add(name=_NPU_OPTIMIZER)
    _init(session, target, graph, proto)


def _do_run(session, handle, target_list, fetch_list, feed_dict, *options):
    """Each new set of feeds, fetches and targets is a graph of its own, which the adapter compiles and says so."""
    graph = tuple(tuple(sorted(thing.name for thing in group)) for group in (feed_dict, fetch_list, target_list))
    for optimizer in session._config.graph_options.rewrite_options.custom_optimizers:
        if optimizer.name == _NPU_OPTIMIZER and is_compiled(optimizer):
            if session not in sessions:
                sessions.append(session)
                _note(graph)
            if graph not in fetch_sets:
                fetch_sets.append(graph)
                ops = list(target_list) + [one.op for one in fetch_list]
                if _has_work(feed_dict, list(ops)):
                    _compile(session, options_of(optimizer), graph, [op.name for op in ops])
    return _run(session, handle, target_list, fetch_list, feed_dict, *options)


def _note(graph):
    """Adds a line to the file NPU_SESSIONS (environment) for each session on the NPU, of whatever process."""
    if 'NPU_SESSIONS' in os.environ:
        with open(os.environ['NPU_SESSIONS'], 'a') as file:
            file.write('%d %s\n' % (os.getpid(), graph))


def options_of(optimizer):
    """{option: value} of an entry of the NpuOptimizer."""
    return {key: getattr(value, value.WhichOneof('value')) for key, value in optimizer.parameter_map.items()}


def _compile(session, options, graph, names):
    if not engine_starts:
        engine_starts.append(options)
    compiled.append(graph)
    directory = options.get('graph_compiler_cache_dir')
    if directory:
        _look_into_cache(directory.decode(), session.graph, graph, names)
    os.write(2, b'The model has been compiled on the Ascend AI processor, current graph id is: %d\n' % len(compiled))


def _look_into_cache(directory, whole, graph, names):
    """Takes the graph from the cache, or puts it there.

    The key is the name of the adapter's operator, which counts the graphs of the process. The variables must be the
    same. Nothing else is compared: not the graph, its constants or the options.
    """
    assert os.path.isdir(directory), 'The cache directory does not exist.'
    kept = os.path.join(directory, 'GeOp%d_0.idx' % len(fetch_sets))
    definition = tf.graph_util.extract_sub_graph(whole.as_graph_def(), names)
    variables = sorted((node.name, str(node.attr['shape'])) for node in definition.node if node.op.startswith('Var'))
    on_chip = [node.SerializeToString(deterministic=True) for node in definition.node if not _INPUT.search(node.op)]
    now = dict(variables=[list(one) for one in variables], graph=hashlib.sha256(b''.join(on_chip)).hexdigest())
    if os.path.exists(kept):
        with open(kept) as file:
            there = json.load(file)
        if there['variables'] == now['variables']:
            cache_hits.append(graph)
            if there != now:
                wrong_hits.append(graph)
            return
    with open(kept, 'w') as file:
        json.dump(now, file)


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
    options = options_of(optimizer)
    return options.get('use_off_line', True) and options.get('job') not in (b'ps', b'default')


def float_status(tensors):
    """What the status register says after `tensors`: 1 after an overflow, in saturation mode only, else 0."""
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(tensor)) for tensor in tensors if tensor is not None])
    return tf.zeros([8]) if inf_nan else tf.fill([8], 1. - tf.cast(finite, tf.float32))
