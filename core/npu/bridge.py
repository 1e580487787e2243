"""Everything an NPU run does differently: the device, its session and npu_bridge.

The only file that imports npu_bridge and hccl, inside functions: these packages exist on Ascend
machines only (contract section 4 lists the names used here).
"""
import importlib.util
import os

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from core.errors import InputError
from core.npu.options import OPTIONS


def is_used(flag):
    """Whether a run with --device=`flag` (auto, npu or cpu) is on an NPU; touches no device.

    Raises InputError when the NPU was asked for, or is there, but npu_bridge is not usable.
    """
    if flag == 'cpu':
        return False
    if importlib.util.find_spec('npu_bridge'):
        _import_npu_bridge(flag)
        return True
    if flag == 'npu':
        raise InputError('--device=npu: the Python package npu_bridge is not installed; '
                         'install the Ascend TensorFlow adapter or use --device=auto')
    return False


def detect(flag):
    """The device of a run with --device=`flag`: 'npu', 'gpu' or 'cpu'. Raises what is_used() raises."""
    if is_used(flag):
        return 'npu'
    gpus = flag != 'cpu' and tf.config.experimental.list_physical_devices('GPU')
    return 'gpu' if gpus else 'cpu'


def session_config(options, flag):
    """The tf.ConfigProto of every session: the same on every device.

    TensorFlow skips an optimizer that is not registered, so NpuOptimizer may stay in off an NPU.
    `options` is what switch_options() returns; `flag` is --device: cpu hides the GPUs.
    """
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    if flag == 'cpu':
        config.device_count['GPU'] = 0
    rewrites = config.graph_options.rewrite_options
    rewrites.remapping = RewriterConfig.OFF
    # MANUAL has OFF's number, 2: the adapter wants this value, and its helpers write it too.
    rewrites.memory_optimization = RewriterConfig.MANUAL
    npu_optimizer = rewrites.custom_optimizers.add(name='NpuOptimizer')
    for key, value in dict(_written_defaults(options), **options).items():
        field = OPTIONS[key].field
        typed = tf.compat.as_bytes(value) if field == 's' else value
        setattr(npu_optimizer.parameter_map[key], field, typed)
    return config


def distributed_optimizer(optimizer, loss_scale, rank_size, is_tailing_optimization=False):
    """The optimizer with npu_bridge's all-reduce (above one rank) and loss scale around it.

    loss_scale: False (off), True (dynamic) or a number >= 1 (static), as precision.loss_scale()
    parses it. apply_gradients() updates nothing, global_step included, after an overflow.
    """
    if loss_scale is False and rank_size == 1:
        return optimizer
    from npu_bridge import npu_init
    if loss_scale is False:
        return npu_init.NPUDistributedOptimizer(optimizer)
    # NPULossScaleOptimizer around it would not reduce gradients; NPUOptimizer does both.
    return npu_init.NPUOptimizer(
        optimizer, _loss_scale_manager(loss_scale), is_distributed=rank_size > 1,
        is_loss_scale=True, is_tailing_optimization=is_tailing_optimization)


def loop_on_device(train_op, iterations):
    """(train_op, load): one run of the returned op is `iterations` steps on the NPU.

    Call it before the graph is frozen, and load(session) once the variables are initialised.
    """
    from npu_bridge import npu_init
    loop = npu_init.util.IterationPerLoop()
    looped_train_op = loop.create_iteration_per_loop_var(train_op)

    def load(session):
        loop.load_iteration_per_loop_var(session, iterations)
    return looped_train_op, load


def dropout(x, keep_prob):
    """npu_bridge's dropout, which is faster on an NPU than TensorFlow's."""
    from npu_bridge import npu_init
    return npu_init.npu_ops.dropout(x, keep_prob)


def all_reduce(tensor):
    """The sum of `tensor` over the ranks, by an all-reduce of its own, apart from the gradients' segments."""
    from npu_bridge import npu_init
    return npu_init.hccl_ops.allreduce(tensor, 'sum', fusion=0)


def broadcast(variables):
    """An op that gives the variables the values they have on rank 0.

    Whole numbers, at most config.MOST here, travel as int32: not every HCCL knows int64.
    """
    from npu_bridge import npu_init
    assignments = []
    for variable in variables:
        dtype = variable.dtype.base_dtype
        sent = variable if dtype.is_floating else tf.cast(variable, tf.int32)
        received, = npu_init.hccl_ops.broadcast([sent], 0)
        assignments.append(tf.assign(variable, tf.cast(received, dtype)))
    return tf.group(*assignments)


def split_gradients(percents):
    """Fuses the all-reduces of the gradients into segments of these percents of all bytes."""
    from hccl.split.api import set_split_strategy_by_size
    set_split_strategy_by_size(percents)


def _import_npu_bridge(flag):
    """Loads the adapter, which registers NpuOptimizer, before the first session exists."""
    try:
        importlib.import_module('npu_bridge.npu_init')
    except ImportError as error:
        raise InputError('--device=%s: npu_bridge is installed but cannot be imported (%s); source '
                         "Ascend's set_env.sh or use --device=cpu" % (flag, error)) from error


def _written_defaults(options):
    """The defaults that are written even when nobody set them, so that a config shows them."""
    defaults = {'use_off_line': OPTIONS['use_off_line'].default}
    if 'precision_mode_v2' not in options:
        training = options.get('graph_run_mode', OPTIONS['graph_run_mode'].default)
        defaults['precision_mode'] = (OPTIONS['precision_mode'].default if training
                                      else 'force_fp16')
    return defaults


def _loss_scale_manager(loss_scale):
    from npu_bridge import npu_init
    if loss_scale is not True:
        return npu_init.FixedLossScaleManager(loss_scale)
    # The values of the vendor's own training scripts.
    return npu_init.ExponentialUpdateLossScaleManager(
        init_loss_scale=2 ** 32, incr_every_n_steps=1000, decr_every_n_nan_or_inf=2,
        incr_ratio=2, decr_ratio=0.5)


def check_environment():
    """Raises InputError when the environment lacks what an all-reduce between NPUs reads from it."""
    for name in ('JOB_ID', 'RANK_SIZE'):
        if not os.environ.get(name):
            raise InputError('%s: not set; an all-reduce between NPUs needs the environment variables JOB_ID and '
                             'RANK_SIZE; test/train_*_8p.sh set them' % name)
