"""AlexNet and its head (Krizhevsky et al. 2012); tests take the mean over ten crops."""
from typing import Any, Callable

import tensorflow as tf

from core.recipe import Scores
from core.settings.config import Config
from data import cats_dogs
from launchers.networks.alexnet.data import CROPS
from nets.alexnet import alexnet
from nets.blocks import heads, schedules


def net(images: tf.Tensor, is_training: bool, dropout: Callable, config: Config,
        classes: int = len(cats_dogs.CLASSES)) -> tf.Tensor:
    """Logits of images [n, 227, 227, 3], or of the mean over ten crops [n, 10, 227, 227, 3]."""
    del is_training
    logits = alexnet(tf.reshape(images, [-1] + images.shape[-3:].as_list()),
                     lambda x: dropout(x, 1 - config.keep_prob), classes)
    return logits if images.shape.ndims == 4 else _mean_over_crops(logits)


def _mean_over_crops(logits):
    """The logits of the mean probabilities, [10 * n, classes] -> [n, classes]."""
    log_probabilities = tf.reshape(tf.nn.log_softmax(logits), [-1, CROPS, logits.shape[1].value])
    return tf.reduce_logsumexp(log_probabilities, 1)


def score(outputs: Any, labels: tf.Tensor, config: Config) -> Scores:
    """The head of a classifier, with the cross-entropy as a metric, for the vendor's lines have it."""
    scores = heads.softmax.score(outputs, labels, config)
    return scores._replace(metrics=dict(scores.metrics, cross_entropy=scores.losses))


def learning_rate(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """Recipe.learning_rate: --learning_rate times the number of ranks, as the vendor's; a tenth at each plateau."""
    return config.ranks * schedules.plateau(config, step, steps)
