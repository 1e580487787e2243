"""Loss scaling by TensorFlow's own classes, for CPU and GPU; core/npu/bridge.py has that of an NPU."""
from typing import ContextManager, Union

import tensorflow as tf

from core.device import LOSS_SCALE


def scaled_optimizer(optimizer: tf.train.Optimizer, scale: Union[bool, float]) -> tf.train.Optimizer:
    """`optimizer` with the loss scaled and the gradients scaled back.

    scale: False (off), True (dynamic) or a number >= 1 (static), as kinds.loss_scale() parses it.
    A step with a gradient that is not finite updates nothing, neither weights nor slots nor the `global_step` given to
    apply_gradients(): the steps that were skipped are the steps run less the value of such a variable.
    A dynamic scale starts at 2^15, doubles after 2000 steps without such a gradient and halves, down to 1, after each
    one. Its two variables are global ones, initialised and saved like any other.
    """
    if scale is False:
        return optimizer
    if scale is True:
        policy = tf.train.experimental.DynamicLossScale()
        tf.add_to_collection(LOSS_SCALE, policy())
        return _DynamicallyScaled(optimizer, policy)
    tf.add_to_collection(LOSS_SCALE, tf.constant(scale, tf.float32))
    # MixedPrecisionLossScaleOptimizer would apply infinite gradients under a static scale; an NPU skips such steps.
    return _StaticallyScaled(optimizer, tf.contrib.mixed_precision.FixedLossScaleManager(scale))


def _float32_kept() -> ContextManager:
    """A context whose operators no emulated precision narrows: gradients scaled back would underflow there again."""
    return tf.get_default_graph()._attr_scope({'_keep_dtype': tf.AttrValue(i=1)})


class _DynamicallyScaled(tf.train.experimental.MixedPrecisionLossScaleOptimizer):
    def _unscale_grads(self, grads):
        with _float32_kept():
            return super()._unscale_grads(grads)


class _StaticallyScaled(tf.contrib.mixed_precision.LossScaleOptimizer):
    def _down_scale(self, grads_vars, loss_scale):
        with _float32_kept():
            return super()._down_scale(grads_vars, loss_scale)
