"""Loss scaling by TensorFlow's own classes, for CPU and GPU; core/ascend/bridge.py has an NPU's."""
from typing import Union

import numpy as np
import tensorflow as tf

from core.device import LOSS_SCALE, OWN_GRADIENTS, keep_dtype
from core.operators import own_operator


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
    with keep_dtype():             # float16 has no scale above 2^15
        policy = _DynamicLossScale() if scale is True else _FixedLossScale(scale)
    tf.add_to_collection(LOSS_SCALE, policy())
    return _Scaled(optimizer, policy)


class _FixedLossScale(tf.train.experimental.FixedLossScale):
    """A scale that stays. A step with a gradient that is not finite is skipped, as on an NPU."""

    def update(self, grads):
        return tf.no_op(), _are_finite(grads)


class _DynamicLossScale(tf.train.experimental.DynamicLossScale):
    """TensorFlow's, which would make a sparse gradient dense to look for infinite values."""

    def update(self, grads):
        with keep_dtype():         # a chip that saturates has no infinite value
            found = tf.where(_are_finite(grads), 0., np.inf)
        return super().update([found])


def _are_finite(gradients):
    values = [getattr(gradient, 'values', gradient) for gradient in gradients if gradient is not None]
    own = own_operator('is_within')
    return tf.reduce_all([
        own(part, largest=np.finfo(np.float32).max, may_be_largest=True) if own and part.dtype == tf.float32 else
        tf.reduce_all(tf.math.is_finite(part)) for part in values])


class _Scaled(tf.train.experimental.MixedPrecisionLossScaleOptimizer):
    def _doing_dynamic_loss_scaling(self):   # else infinite gradients would be applied under a scale that stays
        return True

    def _unscale_grads(self, grads):
        if not tf.get_collection(OWN_GRADIENTS):   # of a single rank
            for gradient in grads:
                if gradient is not None:
                    tf.add_to_collection(OWN_GRADIENTS, getattr(gradient, 'values', gradient))
        # In no emulated precision, in which gradients scaled back would underflow again.
        with keep_dtype():
            return super()._unscale_grads(grads)
