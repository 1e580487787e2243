"""npu_bridge.estimator.npu_ops: the operators of the NPU that TensorFlow has not."""
import numbers

import tensorflow as tf
from npu_bridge.machine import calls


def dropout(x, keep_prob, noise_shape=None, seed=None, name=None):
    """Two operators on an NPU, a mask and its use; without a mask where everything is kept."""
    x = tf.convert_to_tensor(x, name='x')
    if not x.dtype.is_floating:
        raise ValueError('x has to be a floating point tensor. Got a %s tensor instead.' % x.dtype)
    if isinstance(keep_prob, numbers.Real) and not 0 < keep_prob <= 1:
        raise ValueError('keep_prob must be a scalar tensor or a float in the range (0, 1], got %g' % keep_prob)
    calls.append(('dropout', keep_prob))
    if isinstance(keep_prob, float) and keep_prob == 1:
        return x
    mask = tf.random.uniform(tf.shape(x) if noise_shape is None else noise_shape, seed=seed, name='DropOutGenMask')
    return tf.where(mask < keep_prob, x / keep_prob, tf.zeros_like(x), name=name)
