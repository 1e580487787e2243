"""What the supervised image networks have in common: a softmax classifier with weight decay."""
import tensorflow as tf

from core.recipe import Outputs
from nets import layers


def classifier(net, penalty=layers.l2_loss):
    """A Recipe.model from net(x, is_training, dropout) -> logits [batch, classes]; penalty() is times weight_decay.

    Labels are classes [batch] int32, or distributions over them [batch, classes] float32; accuracy is
    about the most probable class of either.
    """
    def model(batch, is_training, config, dropout):
        x, y = batch
        logits = tf.cast(net(x, is_training, dropout), tf.float32)
        soft = y if y.shape.ndims == 2 else tf.one_hot(y, logits.shape[-1].value)
        losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.stop_gradient(soft), logits=logits)
        correct = tf.equal(tf.argmax(logits, 1), tf.argmax(soft, 1))
        return Outputs(losses, config.weight_decay * penalty(), {'accuracy': tf.cast(correct, tf.float32)})
    return model


def without_dropout(net):
    """A net(x, is_training) for classifier()."""
    return lambda x, is_training, dropout: net(x, is_training)


def momentum(learning_rate, config):
    """Recipe.optimizer: stochastic gradient descent with momentum."""
    return tf.train.MomentumOptimizer(learning_rate, config.momentum)
