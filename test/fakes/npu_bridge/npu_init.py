"""The names that `from npu_bridge.npu_init import *` gives to a training script, and the import's side effects."""
import atexit

from hccl.manage.api import get_local_rank_id, get_rank_id, get_rank_size  # noqa: F401
from hccl.split.api import set_split_strategy_by_size  # noqa: F401
from npu_bridge import machine
from npu_bridge.estimator import npu_ops  # noqa: F401
from npu_bridge.estimator.npu import util  # noqa: F401
from npu_bridge.estimator.npu.npu_loss_scale_manager import (  # noqa: F401
    ExponentialUpdateLossScaleManager, FixedLossScaleManager)
from npu_bridge.estimator.npu.npu_optimizer import NPUDistributedOptimizer, NPUOptimizer  # noqa: F401
from npu_bridge.estimator.npu.npu_plugin import npu_close
from npu_bridge.hccl import hccl_ops  # noqa: F401

atexit.register(npu_close)
machine.start()


def __getattr__(name):
    """NPUEstimatorSpec alone, for which tf.estimator has to be imported."""
    if name != 'NPUEstimatorSpec':
        raise AttributeError(name)
    from npu_bridge.estimator.npu.npu_estimator import NPUEstimatorSpec
    return NPUEstimatorSpec
