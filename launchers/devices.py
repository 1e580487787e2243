"""GPU and CPU: the Devices that TensorFlow itself has, and the choice of the Device of a process.

What only some runs need is imported inside the functions that need it: npu_bridge's Device, the emulation of a chip,
dumps and profiles, the gradients of machines without compiled kernels.
"""
import contextlib
import importlib.util
import platform
from typing import Callable, ContextManager, Optional, Sequence, Tuple

import tensorflow as tf

from core import operators
from core.ascend import switches
from core.ascend.switches import session_config
from core.device import Device, Dropout, Hooks, keep_memory
from core.run import Communicator, Options, Run
from core.settings.config import Config


def detect(flag: str) -> Device:
    """The Device of a process with --device=`flag` (auto, npu or cpu); allocates nothing on it.

    Raises InputError when --device=npu is given, or npu_bridge is installed, but npu_bridge cannot be used.
    """
    if flag == 'npu' or flag == 'auto' and importlib.util.find_spec('npu_bridge'):
        from core.ascend import bridge
        from core.ascend.device import NPU
        bridge.load(flag)
        return NPU
    if flag != 'cpu' and tf.config.experimental.list_physical_devices('GPU'):
        return GPU
    keep_memory()          # here, because the data of a run may need a session
    return CPU


def stateless_dropout(config: Config, global_step: tf.Variable) -> Dropout:
    """Dropout with noise that is a function of seed, step, rank and position in the graph.

    A resumed run therefore drops what the undisturbed run would have dropped.
    """
    draw = tf.cast(global_step * config.ranks + config.rank, tf.int32)
    calls = 0

    def dropout(x, rate):
        nonlocal calls
        calls += 1
        seed = tf.stack([draw, tf.constant(config.seed ^ (calls << 24), tf.int32)])
        kept = tf.random.stateless_uniform(tf.shape(x), seed) >= rate
        return tf.where(kept, x / (1 - rate), tf.zeros_like(x))
    return dropout


def _cpu_session_config(options: Options, config: Config) -> tf.ConfigProto:
    del config
    proto = session_config(options)
    proto.device_count['GPU'] = 0  # hides the GPUs of the machine from a run with --device=cpu
    return proto


def _names_of_gpus() -> str:
    return ', '.join(gpu.name for gpu in tf.config.experimental.list_physical_devices('GPU'))


def _name_of_cpu() -> str:
    with open('/proc/cpuinfo') as lines:
        names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


def _is_watched(config: Config, options: Options) -> bool:
    """Whether a switch of the run looks at what the NPU's operators compute."""
    return config.repeat_step is not None or any(map(options.get, ('enable_dump', 'enable_dump_debug')))


def _rehearses(config: Config, options: Options) -> bool:
    """Whether a switch of the run rehearses here what it does on an NPU: then core/ascend/emulation is needed."""
    return bool(config.emulate_precision or _is_watched(config, options) or options.get('profiling_mode'))


def _graph(config: Config, options: Options) -> ContextManager:
    if not _rehearses(config, options):
        return contextlib.nullcontext()
    from core.ascend.emulation import rehearsal
    return rehearsal.emulated(config, options)


def _is_rehearsed(config: Config, options: Options) -> bool:
    if _is_watched(config, options):
        return True
    if not config.emulate_precision:
        return False
    from core.ascend.emulation import rehearsal
    return rehearsal.changes_operators(config, options)


def _precision(config: Config, options: Options) -> str:
    if not config.emulate_precision:
        return 'float32'
    from core.ascend.emulation import rehearsal
    return rehearsal.precision(config, options)


def _hooks(run: Run) -> Hooks:
    if not _rehearses(run.config, run.options):
        return []
    from core.ascend.emulation import rehearsal
    return rehearsal.hooks(run)


def _loop(train_op: tf.Operation, steps: int) -> Tuple[tf.Operation, Hooks]:
    if steps == 1:
        return train_op, []
    from core.ascend.emulation import rehearsal
    return rehearsal.loop(train_op, steps)


def _optimizer(optimizer: tf.train.Optimizer, config: Config, options: Options) -> tf.train.Optimizer:
    del options
    if config.loss_scale is not False:
        from core.ascend.emulation.loss_scale import scaled_optimizer
        optimizer = scaled_optimizer(optimizer, config.loss_scale)
    if config.emulate_precision:
        from core.ascend.emulation.gradients import Watched
        optimizer = Watched(optimizer)
    return optimizer


def _communicator(config: Config, options: Options, split: Sequence[int]) -> Optional[Communicator]:
    """The communicator of several servers; None: the ranks of this server choose theirs."""
    del options, split
    if config.ranks == 1 or not config.addresses:
        return None
    from core.servers.collectives import connect
    return connect(config)


GPU = Device(
    name='gpu',
    session_config=lambda options, config: session_config(options),
    dropout=stateless_dropout,
    hardware=_names_of_gpus,
    precision=_precision,
    options=switches.options,
    graph=_graph,
    steps_per_run=lambda options: options.get('iterations_per_loop', 1),
    loop=_loop,
    optimizer=_optimizer,
    communicator=_communicator,
    hooks=_hooks,
    notice=switches.off_npu,
    output_directories=switches.output_directories,
    software=switches.software)

CPU = GPU._replace(
    name='cpu',
    session_config=_cpu_session_config,
    hardware=_name_of_cpu)

fast: Callable[[], ContextManager] = contextlib.nullcontext    # in it a graph is built that this CPU alone computes
if importlib.util.find_spec('core.cpu'):       # everything trains without it, slower
    from core.cpu import device as cpu
    GPU, CPU, fast = cpu.with_shared_exchange(GPU), cpu.accelerated(CPU, _is_rehearsed, _is_watched), cpu.fast
    operators.offer_on_host(lambda: cpu.kernels.library())
