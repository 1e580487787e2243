"""The vendor's network for stochastic weight averaging: 2-50-3, batch-normalised after the ReLU."""
import tensorflow as tf

from core.operators import own_operator
from nets.layers import batch_norm, dense

HIDDEN = 50
GLOROT = tf.glorot_uniform_initializer()


def mlp(points: tf.Tensor, is_training: bool, classes: int = 3) -> tf.Tensor:
    """Logits [n, classes] of points [n, 2]."""
    with tf.variable_scope('mlp', reuse=tf.AUTO_REUSE):
        hidden = tf.nn.relu(dense(points, HIDDEN, kernel_initializer=GLOROT))
        hidden = batch_norm(hidden, is_training)
        logits = dense(hidden, classes, kernel_initializer=GLOROT)
    own = own_operator('perceptron') if is_training else None
    return own(logits) if own else logits
