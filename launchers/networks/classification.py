"""What the supervised networks have in common: a softmax classifier with weight decay, as a Recipe.model."""
import inspect
from typing import Callable

import tensorflow as tf

from core.recipe import Outputs
from nets import layers


def classifier(net: Callable, penalty: Callable[[], tf.Tensor] = layers.l2_loss) -> Callable:
    """A Recipe.model of net(x, is_training) -> logits [batch, classes]; it may also take dropout and classes by name.

    penalty() is the scalar that is multiplied by --weight_decay. Labels are classes [batch] int32, or distributions
    over them [batch, classes] float32; `accuracy` compares the most probable class with the label's (largest) one.
    """
    accepted = inspect.signature(net).parameters

    def model(batch, is_training, config, dropout):
        x, y = batch
        known = dict(dropout=dropout, **({'classes': config.classes} if config.classes else {}))
        logits = net(x, is_training, **{name: value for name, value in known.items() if name in accepted})
        logits = tf.cast(logits, tf.float32)
        soft = y if y.shape.ndims == 2 else tf.one_hot(y, logits.shape[-1].value)
        losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.stop_gradient(soft), logits=logits)
        correct = tf.equal(tf.argmax(logits, 1), tf.argmax(soft, 1))
        return Outputs(losses, config.weight_decay * penalty(), {'accuracy': tf.cast(correct, tf.float32)}, logits)
    return model
