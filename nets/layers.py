"""The layers that every network is made of: plain functions over tf.get_variable and tf.nn, NHWC.

A network calls them inside its own `tf.variable_scope(name, reuse=tf.AUTO_REUSE)`, and so shares its variables
between a training call and a test call. A layer without `name` is numbered within that scope (conv2d, conv2d_1, ...),
alike in every call.

Weight decay is for kernels only: every layer calls its multiplicative weights `kernel`, and l2_loss() sums over
exactly these. `is_training` is a Python bool everywhere.
"""
import contextlib
import re
from typing import Callable, Iterator, Optional, Tuple, Union

import tensorflow as tf

from core.device import keep_dtype
from core.operators import own_operator
from core.recipe import BATCH_STATISTICS

Initializer = Callable[..., tf.Tensor]

# He et al. 2015, arXiv 1502.01852.
HE_NORMAL = tf.variance_scaling_initializer(2.0, mode='fan_in', distribution='truncated_normal')

MOMENTUM = 0.99                # of batch norm's moving averages, once it has warmed up
_RATE = 'batch_norm_rate'      # the scope and the collection of 1 - momentum
_FROZEN = 'frozen'             # the collection of the names that frozen() has been given


def conv2d(x: tf.Tensor, filters: int, kernel_size: Union[int, Tuple[int, int]], strides: int = 1,
           padding: str = 'SAME', use_bias: bool = False, kernel_initializer: Initializer = HE_NORMAL,
           bias_initializer: Initializer = tf.zeros_initializer(), name: Optional[str] = None) -> tf.Tensor:
    """Convolution [n, h, w, c] -> [n, h', w', filters]; kernel_size is a number or (height, width)."""
    height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    with tf.variable_scope(name, 'conv2d'):
        kernel = tf.get_variable('kernel', [height, width, x.shape[-1].value, filters], x.dtype, kernel_initializer)
        y = tf.nn.conv2d(x, kernel, strides, padding)
        return _add_bias(y, bias_initializer) if use_bias else y


def dense(x: tf.Tensor, units: int, use_bias: bool = True, kernel_initializer: Initializer = HE_NORMAL,
          bias_initializer: Initializer = tf.zeros_initializer(), name: Optional[str] = None) -> tf.Tensor:
    """Affine map [n, k] -> [n, units]."""
    with tf.variable_scope(name, 'dense'):
        kernel = tf.get_variable('kernel', [x.shape[-1].value, units], x.dtype, kernel_initializer)
        y = tf.matmul(x, kernel)
        return _add_bias(y, bias_initializer) if use_bias else y


def _add_bias(x, initializer):
    return tf.nn.bias_add(x, tf.get_variable('bias', x.shape[-1:], x.dtype, initializer))


def batch_norm(x: tf.Tensor, is_training: bool, epsilon: float = 1e-3, name: Optional[str] = None,
               activation: Optional[Callable[[tf.Tensor], tf.Tensor]] = None,
               shortcut: Optional[tf.Tensor] = None) -> tf.Tensor:
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167) of x, [n, c] or [n, h, w, c],
    over all axes but the last, with learned scale `gamma` and offset `beta`; then the sum with the `shortcut` of a
    residual block, of x's shape; then `activation`.

    A training call normalises with the statistics of the batch and adds the updates of the moving averages,
    average <- momentum * average + (1 - momentum) * batch, to tf.GraphKeys.UPDATE_OPS; a test call normalises with
    the averages. The averaged variance is the unbiased one. Variables and statistics are float32 for float16 x too.

    The momentum after t steps (the global step of the graph, which checkpoints hold; 0 in a graph without one) is
    min(0.99, (1 + t) / (10 + t)). The vendors have 0.99 from the first step on, with which the averages lag far
    behind in a run of a few hundred steps.
    """
    with tf.variable_scope(name, 'batch_norm'):
        gamma = _channel_variable('gamma', x, tf.ones_initializer())
        is_training &= not any(re.search(names, gamma.op.name) for names in tf.get_collection(_FROZEN))
        beta = _channel_variable('beta', x, tf.zeros_initializer())
        mean = _channel_variable('moving_mean', x, tf.zeros_initializer(), trainable=False)
        variance = _channel_variable('moving_variance', x, tf.ones_initializer(), trainable=False)
        images = x if x.shape.ndims == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])
        own = own_operator('batch_norm') if is_training and activation and (shortcut is None or images is x) else None
        outputs = own and own(images, gamma, beta, epsilon, activation, shortcut)
        statistics = () if is_training else (mean, variance)
        y, batch_mean, batch_variance = outputs or tf.nn.fused_batch_norm(
            images, gamma, beta, *statistics, epsilon=epsilon, is_training=is_training)
        if is_training:
            _update_average(mean, batch_mean)
            _update_average(variance, batch_variance)
        if x.shape.ndims == 2:
            y = tf.squeeze(y, [1, 2])
    if outputs:
        return y
    y = y if shortcut is None else shortcut + y
    return activation(y) if activation else y


@contextlib.contextmanager
def frozen(names: str) -> Iterator[None]:
    """A context in which every batch_norm() with a `gamma` that the regular expression finds is as in a test call."""
    found = tf.get_collection_ref(_FROZEN)
    found.append(names)
    yield
    found.pop()


def _channel_variable(name, x, initializer, trainable=True):
    return tf.get_variable(name, x.shape[-1:], tf.float32, initializer, trainable=trainable)


def _update_average(average, value):
    update = average.assign_sub(_rate() * (average - value))
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    tf.add_to_collection(BATCH_STATISTICS, (average, value))


def _rate():
    """1 - momentum at the global step, a tensor that all layers of a graph share."""
    number = tf.train.get_global_step()
    made = tf.get_collection(_RATE)
    if number is not None and made:
        return made[0]
    # Outside the loop or branch that a layer may be in, because other layers use it too. It keeps its type,
    # because float16 ends at 65504 steps.
    with tf.control_dependencies(None), tf.name_scope(_RATE + '/'), keep_dtype():
        finished = tf.constant(0.) if number is None else tf.cast(number, tf.float32)
        rate = 1 - tf.minimum(MOMENTUM, (1 + finished) / (10 + finished))
    if number is not None:
        tf.add_to_collection(_RATE, rate)
    return rate


def mish(x: tf.Tensor) -> tf.Tensor:
    """x * tanh(softplus(x)) (Misra 2019, arXiv 1908.08681), elementwise.

    In these three operators, because CANN's SoftplusTanhMulPass makes one of them; each is finite in float16.
    """
    own = own_operator('mish') if x.dtype == tf.float32 else None
    return own(x) if own else x * tf.tanh(tf.nn.softplus(x))


def global_average_pool(x: tf.Tensor) -> tf.Tensor:
    """Mean over the image, [n, h, w, c] -> [n, c]."""
    return tf.reduce_mean(x, [1, 2])


def l2_loss(scope: Optional[str] = None) -> tf.Tensor:
    """Half the sum of squares over the kernels (not biases, not batch norm), a float32 scalar.

    scope: a regular expression that the names of the variables start with; None: all variables of the graph.
    """
    kernels = [v for v in tf.trainable_variables(scope) if v.op.name.endswith('/kernel')]
    return tf.add_n([tf.nn.l2_loss(tf.cast(kernel, tf.float32)) for kernel in kernels])
