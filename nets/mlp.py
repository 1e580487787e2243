"""The vendor's network for stochastic weight averaging: 2-50-3, batch-normalised after the ReLU."""
import tensorflow as tf

from nets.layers import batch_norm, dense

HIDDEN = 50
BN_MOMENTUM = 0.99
GLOROT = tf.glorot_uniform_initializer()


def mlp(points, is_training, classes=3):
    """Logits [n, classes] of points [n, 2]; is_training is a Python bool."""
    with tf.variable_scope('mlp', reuse=tf.AUTO_REUSE):
        hidden = tf.nn.relu(dense(points, HIDDEN, kernel_initializer=GLOROT))
        hidden = batch_norm(hidden, is_training, BN_MOMENTUM)
        return dense(hidden, classes, kernel_initializer=GLOROT)
