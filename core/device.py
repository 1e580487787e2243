"""Device: everything that one kind of device (NPU, GPU, CPU) does in its own way.

The records are NPU (core/ascend/device.py), GPU and CPU (launchers/devices.py); detect() beside the latter two
chooses one at the start of a process. All other code calls the record's functions and never tests which device it has.

A switch that acts on a device enters through these functions of that device's record:
    prepare         settings that have to be made before the first graph: environment variables, modes of the device
    session_config  settings of TensorFlow's sessions
    graph           changes of the operators: other types, other gradients
    hooks           what watches training steps or writes files about them
    notice          what a reader of the log should know about the switches of the run
"""
import contextlib
import os
from typing import Any, Callable, ContextManager, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_tensorflow

from core.run import Communicator, Options, Run
from core.settings.config import Config

# The graph collection to which an optimizer with a loss scale adds the scale, a scalar float32.
LOSS_SCALE = 'loss_scale'
# The graph collection of the gradients of a rank's own batch, before ranks exchange them.
OWN_GRADIENTS = 'own_gradients'
# The node attribute of operators and variables that keep their type in every precision mode.
KEEP_DTYPE = '_keep_dtype'

_IN_CALLER = tf.RunOptions(inter_op_thread_pool=-1).SerializeToString()

Hooks = List[tf.train.SessionRunHook]
Dropout = Callable[[tf.Tensor, float], tf.Tensor]   # dropout(x, rate) -> x, scaled, with a part `rate` of it zero


def _nothing(*_: Any) -> None:
    return None


def _no_change(*_: Any) -> ContextManager:
    return contextlib.nullcontext()


def keep_dtype() -> ContextManager:
    """The context of what keeps its type in every precision mode, emulated or on an NPU (CANN's keep_dtype_scope)."""
    return tf.get_default_graph()._attr_scope({KEEP_DTYPE: tf.AttrValue(i=1)})


class KeptGraphs(contextlib.AbstractContextManager):
    """What becomes of the graphs that are compiled for a device, a context around a run: here nothing.

    complete(graph) is called when the graph is complete and there is no session yet, and may change its ConfigProto;
    watch(session) is called before the session runs anything.
    """
    complete = watch = __exit__ = _nothing


class Device(NamedTuple):
    """One kind of device. The defaults are for a device that does not differ from TensorFlow's own ones."""
    name: str
    # session_config(options, config) -> the ConfigProto of every session of a process
    session_config: Callable[[Options, Config], tf.ConfigProto]
    # dropout(config, global_step) -> the dropout of a training graph
    dropout: Callable[[Config, tf.Variable], Dropout]
    # hardware() -> what the machine calls the device; touches no device
    hardware: Callable[[], str]
    # precision(config, options) -> the precision in force, in the words of --precision_mode or as a type
    precision: Callable[[Config, Options], str] = lambda config, options: 'float32'
    # options(config) -> the NpuOptimizer options of a run; raises InputError for a switch or an option that is wrong
    options: Callable[[Config], Options] = lambda config: {}
    # check(config, options): raises InputError for what cannot run in this environment; touches no device
    check: Callable[[Config, Options], None] = _nothing
    # prepare(config, options): runs once, after the data is loaded and before the first graph is made
    prepare: Callable[[Config, Options], None] = _nothing
    # graph(config, options) -> the context in which training and test graphs are built
    graph: Callable[[Config, Options], ContextManager] = _no_change
    # steps_per_run(options) -> the training steps of one session.run
    steps_per_run: Callable[[Options], int] = lambda options: 1
    # loop(train_op, steps) -> (train_op, hooks): one run of the returned op is so many steps; called before hooks exist
    loop: Callable[[tf.Operation, int], Tuple[tf.Operation, Hooks]] = lambda train_op, steps: (train_op, [])
    # optimizer(optimizer, config, options) -> `optimizer` with the loss scale of --loss_scale
    optimizer: Callable[[tf.train.Optimizer, Config, Options], tf.train.Optimizer] = \
        lambda optimizer, config, options: optimizer
    # communicator(config, options, split) -> how its ranks exchange tensors: None: as ranks of CPUs do.
    # split: Recipe.split_strategy
    communicator: Callable[[Config, Options, Sequence[int]], Optional[Communicator]] = _nothing
    # kept_graphs(config, options, session_config) -> the KeptGraphs of a run with that ConfigProto
    kept_graphs: Callable[[Config, Options, tf.ConfigProto], KeptGraphs] = lambda *run: KeptGraphs()
    # shared_exchange() -> the compiled operator through which ranks of one server exchange tensors; None without it
    shared_exchange: Callable[[], Optional[Callable]] = _nothing
    # hooks(run) -> SessionRunHooks; they see a finished step before all hooks but the clock
    hooks: Callable[[Run], Hooks] = lambda run: []
    # notice(config, options) -> lines for the log
    notice: Callable[[Config, Options], List[str]] = lambda config, options: []
    # output_directories(options) -> where dumps, profiles and tuning go; the caller makes them before a session
    output_directories: Callable[[Options], List[str]] = lambda options: []
    # software() -> {name: version} of what belongs to the device, for the record of a run
    software: Callable[[], Dict[str, str]] = dict
    has_hccl: bool = False         # ranks exchange tensors by HCCL; else as connect() of the loop chooses
    is_exclusive: bool = False     # one process at a time may use it: the launcher takes a lock of the machine


def keep_memory() -> None:
    """Lets a process that computes on the CPU keep the memory of tensors for other ones; to be called before its first
    session.

    TensorFlow otherwise gives a large tensor's memory back to the system, which zeroes it for the next step, page by
    page. malloc could keep it too, but in pieces that fit later tensors badly, which takes up to 1.4 times the memory.
    """
    os.environ.setdefault('TF_CPU_ALLOCATOR_USE_BFC', 'true')
    os.environ.setdefault('TF_CPU_BFC_MEM_LIMIT_IN_MB', str(2 ** 24))    # none; it is 64 GB otherwise


def cpu_session(configure: Optional[Callable[[tf.ConfigProto], None]] = None) -> tf.Session:
    """A session on the CPU for the default graph, whatever device the run has: for work beside a run, and where two
    processes must compute the same bits.

    configure(proto) changes its ConfigProto.
    """
    # Threads of its own, because a Python function of a graph (tf.py_func) that runs a session would wait for a thread
    # of the process while it holds one, and a process of one core has only one.
    proto = tf.ConfigProto(device_count={'GPU': 0}, use_per_session_threads=True)
    # npu_bridge puts every session without an entry of this name on the NPU, and CANN takes the options of the whole
    # process from the first of them. Where there is no NPU, TensorFlow skips the entry.
    entry = proto.graph_options.rewrite_options.custom_optimizers.add(name='NpuOptimizer')
    entry.parameter_map['use_off_line'].b = False
    if configure:
        configure(proto)
    return tf.Session(config=proto)


def call_of(session: tf.Session, output: tf.Tensor, inputs: Sequence[tf.Tensor]) -> Callable[..., np.ndarray]:
    """The function of values for the placeholders `inputs`, in their order, that computes `output`.

    session.run() wakes a thread of the session and is woken by it, which together takes 0.1 ms, as long as to decode
    several small images. The function raises ValueError for a value of another shape than the placeholder's.
    """
    session._extend_graph()
    options = pywrap_tensorflow.TF_NewBufferFromString(_IN_CALLER)
    feeds, fetches = [one._as_tf_output() for one in inputs], [output._as_tf_output()]
    dtypes, fitting = [one.dtype.as_numpy_dtype for one in inputs], set()

    def check(shapes):
        for one, shape in zip(inputs, shapes):
            if not one.shape.is_compatible_with(shape):
                raise ValueError('%s takes the shape %s, not %s' % (one.op.name, one.shape, shape))
        fitting.add(shapes)

    def call(*values):
        arrays = [np.asarray(value, dtype) for value, dtype in zip(values, dtypes)]
        shapes = tuple([array.shape for array in arrays])
        if shapes not in fitting:      # because a comparison with TensorFlow's shapes takes as long as to read a file
            check(shapes)
        return session._call_tf_sessionrun(options, dict(zip(feeds, arrays)), fetches, [], None)[0]
    return call
