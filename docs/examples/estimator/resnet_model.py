"""A residual network as projects of NPUEstimator have it: batch norm, L2, a learning rate that falls in steps."""
import numpy as np
import tensorflow as tf

try:
    from npu_bridge.npu_init import NPUDistributedOptimizer, NPUEstimatorSpec
except ImportError:                # off an NPU
    NPUDistributedOptimizer, NPUEstimatorSpec = (lambda optimizer: optimizer), tf.estimator.EstimatorSpec

SIZE, CLASSES = 16, 3


def images(rows):
    """Noisy stripes, as wide as their class says."""
    random = np.random.RandomState(rows)
    labels = random.randint(0, CLASSES, rows).astype(np.int64)
    stripes = np.arange(SIZE) // (labels[:, None] + 1) % 2 * 2. - 1
    return (random.normal(size=[rows, SIZE, SIZE, 3]) + stripes[:, None, :, None]).astype(np.float32), labels


def train_input_fn(params):
    """Shuffled batches without end."""
    return tf.data.Dataset.from_tensor_slices(images(96)).shuffle(96).repeat().batch(params['batch_size'], True)


def eval_input_fn(params):
    """One pass; the last batch is smaller."""
    return tf.data.Dataset.from_tensor_slices(images(21)).batch(params['batch_size'])


def block(x, filters, strides, is_training):
    """A residual block [n, h, w, c] -> [n, h / strides, w / strides, filters]."""
    shortcut = tf.layers.conv2d(x, filters, 1, strides, use_bias=False)
    for step in (strides, 1):
        x = tf.nn.relu(tf.layers.batch_normalization(x, training=is_training))
        x = tf.layers.conv2d(x, filters, 3, step, 'same', use_bias=False)
    return x + shortcut


def model_fn(features, labels, mode, params):
    """The NPUEstimatorSpec of a mode."""
    is_training = mode == tf.estimator.ModeKeys.TRAIN
    x = tf.layers.conv2d(features, 8, 3, padding='same', use_bias=False)
    for filters, strides in ((8, 1), (16, 2)):
        x = block(x, filters, strides, is_training)
    logits = tf.layers.dense(tf.reduce_mean(tf.nn.relu(x), [1, 2]), CLASSES)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return NPUEstimatorSpec(mode, predictions={'logits': logits})
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits) + params['weight_decay'] * tf.add_n(
        [tf.nn.l2_loss(v) for v in tf.trainable_variables() if 'kernel' in v.name])
    if mode == tf.estimator.ModeKeys.EVAL:
        return NPUEstimatorSpec(mode, loss=loss, eval_metric_ops={
            'top_1': tf.metrics.accuracy(labels, tf.argmax(logits, 1)),
            'mean_per_class': tf.metrics.mean_per_class_accuracy(labels, tf.argmax(logits, 1), CLASSES)})
    step = tf.train.get_or_create_global_step()
    rate = tf.train.piecewise_constant(step, [8, 16], [.1, .01, .001])
    optimizer = NPUDistributedOptimizer(tf.train.MomentumOptimizer(rate, .9))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return NPUEstimatorSpec(mode, loss=loss, train_op=optimizer.minimize(loss, step))
