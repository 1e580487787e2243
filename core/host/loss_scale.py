"""Loss scaling by TensorFlow's own classes, for CPU and GPU; core/npu/bridge.py has that of an NPU."""
from typing import Union

import tensorflow as tf


def scaled_optimizer(optimizer: tf.train.Optimizer, scale: Union[bool, float]) -> tf.train.Optimizer:
    """`optimizer` with the loss scaled and the gradients scaled back.

    scale: False (off), True (dynamic) or a number >= 1 (static), as kinds.loss_scale() parses it.
    A dynamic scale starts at 2^15, doubles after 2000 good steps
    and halves (down to 1) at a gradient that is not finite. That step updates nothing, neither
    weights nor slots nor the `global_step` given to apply_gradients(): steps run minus the value of
    such a variable are the steps skipped. A static scale skips nothing. The scale's two variables
    are global ones: initialised and saved like any other.
    """
    if scale is False:
        return optimizer
    policy = (tf.train.experimental.DynamicLossScale() if scale is True
              else tf.train.experimental.FixedLossScale(scale))
    return tf.train.experimental.MixedPrecisionLossScaleOptimizer(optimizer, policy)
