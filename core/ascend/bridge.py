"""npu_bridge and hccl, the Python packages of the Ascend adapter: the only module that imports them.

The imports stand inside functions because the packages exist on Ascend machines only. docs/vendor-contract.md section 4
lists the names used here.
"""
import contextlib
import glob
import importlib.util
import json
import os
from typing import Callable, Iterator, List, Mapping, Tuple, Union

import tensorflow as tf

from core.device import LOSS_SCALE
from core.errors import InputError


def load(flag: str) -> None:
    """Loads the adapter, which registers NpuOptimizer, before the first session exists; touches no device.

    flag: --device. Raises InputError when npu_bridge is not installed or cannot be imported.
    """
    if not importlib.util.find_spec('npu_bridge'):
        raise InputError('--device=npu: the Python package npu_bridge is not installed; '
                         'install the Ascend TensorFlow adapter or use --device=auto')
    try:
        importlib.import_module('npu_bridge.npu_init')
    except (ImportError, ValueError) as error:  # hccl raises a ValueError where its library libhcomm.so is missing
        raise InputError('--device=%s: npu_bridge is installed but cannot be imported (%s); source '
                         "Ascend's set_env.sh or use --device=cpu" % (flag, error)) from error


def fingerprint() -> List[Tuple[str, int, int]]:
    """(file, size, time of the last change) of the compiled parts of npu_bridge: another release has others."""
    directory = os.path.dirname(importlib.util.find_spec('npu_bridge').origin)
    states = {path: os.stat(path) for path in glob.glob(os.path.join(glob.escape(directory), '**', '*.so'),
                                                        recursive=True)}
    return sorted((path, state.st_size, state.st_mtime_ns) for path, state in states.items())


def check_environment() -> None:
    """Raises InputError when the environment lacks what npu_bridge's all-reduce reads from it."""
    for names in ('JOB_ID',), ('RANK_SIZE', 'CM_WORKER_SIZE'):
        if not any(map(os.environ.get, names)):
            raise InputError('%s: not set; an all-reduce between NPUs needs the environment variables JOB_ID and '
                             'RANK_SIZE; test/train_*_8p.sh set them' % names[0])
    if os.environ.get('CM_CHIEF_IP') and os.environ.get('RANK_TABLE_FILE'):
        raise InputError('CM_CHIEF_IP (environment): beside RANK_TABLE_FILE the adapter sets up no exchange at all; '
                         'unset one of them')


def is_parameter_server(environ: Mapping[str, str]) -> bool:
    """Whether TF_CONFIG makes a parameter server of this process."""
    try:
        return json.loads(environ.get('TF_CONFIG') or '{}')['task']['type'] == 'ps'
    except (ValueError, KeyError, TypeError):
        return False


@contextlib.contextmanager
def rank_size_for_optimizers(ranks: int) -> Iterator[None]:
    """A context in which npu_bridge's optimizers find the number of ranks, which they need while they build a graph.

    In a start without a rank table the number stands in CM_WORKER_SIZE. Some releases of npu_bridge do not know that
    variable, and would not exchange gradients; others refuse it beside RANK_SIZE.
    """
    before = {name: os.environ.pop(name, None) for name in ('RANK_SIZE', 'CM_WORKER_SIZE')}
    os.environ['RANK_SIZE'] = str(ranks)
    try:
        yield
    finally:
        del os.environ['RANK_SIZE']
        os.environ.update({name: value for name, value in before.items() if value is not None})


def distributed_optimizer(optimizer: tf.train.Optimizer, loss_scale: Union[bool, float], ranks: int,
                          is_tailing_optimization: bool = False) -> tf.train.Optimizer:
    """`optimizer` with npu_bridge's all-reduce of the gradients (with more than one rank) and its loss scale.

    loss_scale: False (off), True (dynamic) or a number >= 1 (static), as kinds.loss_scale() parses it. After an
    overflow apply_gradients() updates nothing, not even its `global_step`.
    """
    from npu_bridge import npu_init
    if loss_scale is not False and not _is_inf_nan_mode():
        # In saturation mode no gradient is infinite: NPUOptimizer reads overflows from the chip's status register.
        # It takes tailing without ranks for an error.
        return npu_init.NPUOptimizer(
            optimizer, _loss_scale_manager(loss_scale), is_distributed=ranks > 1, is_loss_scale=True,
            is_tailing_optimization=is_tailing_optimization and ranks > 1)
    if ranks > 1:
        optimizer = npu_init.NPUDistributedOptimizer(optimizer)
    if loss_scale is False:
        return optimizer
    # In INF/NaN mode the status register stays empty: TensorFlow's optimizer looks at the gradients themselves.
    # NPULossScaleOptimizer would do the same, but some of its releases lose `global_step` on the way.
    return tf.contrib.mixed_precision.LossScaleOptimizer(optimizer, _loss_scale_manager(loss_scale))


def check_overflow_mode(mode: int) -> None:
    """Raises InputError when this release of the adapter cannot set the overflow mode of the chip."""
    from npu_bridge.estimator.npu import npu_plugin
    if not hasattr(npu_plugin, 'set_device_sat_mode'):
        raise InputError('--npu_sat_mode=%d: this npu_bridge has no set_device_sat_mode; leave the flag out, or '
                         'install a newer Ascend TensorFlow adapter' % mode)


def set_overflow_mode(mode: int) -> None:
    """Makes the chip saturate (0) or compute INF and NaN (1) on overflow; to be called before the network runs."""
    from npu_bridge.estimator.npu import npu_plugin
    npu_plugin.set_device_sat_mode(mode)


def _is_inf_nan_mode():
    """Whether the chip computes INF and NaN on overflow; adapters without this setting are older than it."""
    from npu_bridge.estimator.npu import npu_plugin
    return getattr(npu_plugin, 'is_inf_nan_enabled', lambda: False)()


def loop_on_device(train_op: tf.Operation) -> Tuple[tf.Operation, Callable[[tf.Session, int], None]]:
    """(op, load): one run of `op` repeats train_op on the NPU, as often as load(session, times) has set.

    Must be called before the graph is finalized; load() needs initialised variables.
    """
    from npu_bridge import npu_init
    loop = npu_init.util.IterationPerLoop()
    return loop.create_iteration_per_loop_var(train_op), loop.load_iteration_per_loop_var


def dropout(x: tf.Tensor, keep_prob: float) -> tf.Tensor:
    """Dropout by npu_bridge's own kernel, which is faster on an NPU than TensorFlow's."""
    from npu_bridge import npu_init
    return npu_init.npu_ops.dropout(x, keep_prob)


def all_reduce(tensor: tf.Tensor) -> tf.Tensor:
    """The sum of `tensor` over the ranks. fusion=0 keeps it out of the gradients' fused all-reduces."""
    from npu_bridge import npu_init
    return npu_init.hccl_ops.allreduce(tensor, 'sum', fusion=0)


def broadcast(tensor: tf.Tensor) -> tf.Tensor:
    """What the tensor is on rank 0.

    Integers, which are at most table.MOST here, travel as int32, because not every HCCL release knows int64.
    """
    from npu_bridge import npu_init
    dtype = tensor.dtype.base_dtype
    received, = npu_init.hccl_ops.broadcast([tensor if dtype.is_floating else tf.cast(tensor, tf.int32)], 0)
    return tf.cast(received, dtype)


def split_gradients(percents: List[int]) -> None:
    """Fuses the all-reduces of the gradients into segments that have these percents of all gradient bytes.

    Called before HCCL is initialised, as in the vendors' scripts: HCCL keeps the percents until it is.
    """
    from hccl.split.api import set_split_strategy_by_size
    set_split_strategy_by_size(percents)


def _loss_scale_manager(loss_scale):
    from npu_bridge import npu_init
    if loss_scale is not True:
        manager = npu_init.FixedLossScaleManager(loss_scale)
    else:
        # These are the values of the vendor's training scripts.
        manager = npu_init.ExponentialUpdateLossScaleManager(
            init_loss_scale=2 ** 32, incr_every_n_steps=1000, decr_every_n_nan_or_inf=2,
            incr_ratio=2, decr_ratio=0.5)
    tf.add_to_collection(LOSS_SCALE, tf.cast(manager.get_loss_scale(), tf.float32))
    return manager
