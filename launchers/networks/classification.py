"""What the supervised networks have in common: a softmax classifier with weight decay, as a Recipe.model."""
from typing import Callable, Dict, List

import tensorflow as tf

from nets.blocks import heads
from core.recipe import Model
from nets import layers


def classifier(net: Callable, penalty: Callable[[], tf.Tensor] = layers.l2_loss) -> Model:
    """The Model of net(x, is_training) -> logits [batch, classes], which may also take dropout and classes by name.

    penalty() is the scalar that is multiplied by --weight_decay. Labels are classes [batch] int32, or distributions
    over them [batch, classes] float32.
    """
    return heads.model(net, heads.softmax, penalty)


def top_1(metrics: Dict[str, float]) -> List[str]:
    """Recipe.evaluation_lines of a network that is judged by its accuracy."""
    return ['---- Final accuracy ----', 'Top-1: %.4f' % metrics['accuracy']]
