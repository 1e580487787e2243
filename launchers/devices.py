"""GPU and CPU: the Devices that TensorFlow itself has, and the choice of the Device of a process."""
import contextlib
import platform
from typing import ContextManager, Iterator

import tensorflow as tf

from core.device import Device, Dropout, Options
from core.cpu import kernels
from core.ascend.emulation import rehearsal
from core.cpu.gradients import fast_cpu_gradients
from core.ascend.emulation.loss_scale import scaled_optimizer
from core.cpu.memory import give_back_freed_memory, keep_freed_memory
from core.ascend import bridge, switches
from core.ascend.device import NPU
from core.ascend.session import session_config
from core.settings.config import Config


def detect(flag: str) -> Device:
    """The Device of a process with --device=`flag` (auto, npu or cpu); allocates nothing on it.

    Raises InputError when an NPU was asked for, or npu_bridge is installed, but npu_bridge cannot be used.
    """
    if bridge.is_used(flag):
        return NPU
    gpus = flag != 'cpu' and tf.config.experimental.list_physical_devices('GPU')
    return GPU if gpus else CPU


def stateless_dropout(config: Config, global_step: tf.Variable) -> Dropout:
    """Dropout whose noise is a function of seed, step, rank and place in the graph.

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
    if kernels.library():
        # Each kernel uses all cores of the process, so two operators at a time would only wait for each other.
        proto.inter_op_parallelism_threads = 1
    return proto


def _names_of_gpus() -> str:
    return ', '.join(gpu.name for gpu in tf.config.experimental.list_physical_devices('GPU'))


def _name_of_cpu() -> str:
    with open('/proc/cpuinfo') as lines:
        names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


@contextlib.contextmanager
def _cpu_graph(config: Config, options: Options) -> Iterator[None]:
    with _fast(not rehearsal.is_rehearsed(config, options)), rehearsal.emulated(config, options):
        yield


def _fast(may_differ: bool) -> ContextManager:
    """may_differ: whether the graph may have operators that the NPU's graph does not have.

    The switches that look at operators see those of the NPU's graph, with TensorFlow's own gradients.
    """
    if kernels.library():
        return kernels.used(may_differ)
    return fast_cpu_gradients() if may_differ else contextlib.nullcontext()


GPU = Device(
    name='gpu',
    session_config=lambda options, config: session_config(options),
    dropout=stateless_dropout,
    hardware=_names_of_gpus,
    precision=rehearsal.precision,
    graph=rehearsal.emulated,
    steps_per_run=lambda options: options.get('iterations_per_loop', 1),
    loop=rehearsal.loop,
    hooks=rehearsal.hooks,
    notice=switches.off_npu,
    options=switches.options,
    shared_all_reduce=kernels.shared_all_reduce,
    optimizer=lambda optimizer, config, options: scaled_optimizer(optimizer, config.loss_scale),
    output_directories=switches.output_directories,
    software=switches.software,
    release_memory=give_back_freed_memory)

CPU = GPU._replace(
    name='cpu',
    session_config=_cpu_session_config,
    hardware=_name_of_cpu,
    prepare=lambda config, options: keep_freed_memory(),
    graph=_cpu_graph)
