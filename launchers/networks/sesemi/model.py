"""Both heads on one trunk (arXiv 1906.10343 section 3)."""
from typing import Any, Callable, Dict

import numpy as np
import tensorflow as tf

from core.recipe import Scores
from core.settings.config import Config
from data.transforms import POSES
from launchers.networks.sesemi.data import TASKS
from nets import layers
from nets.blocks import heads
from nets.convnet import convnet
from nets.nin import nin
from nets.wrn import wrn

TRUNKS = {'convnet': convnet, 'nin': nin, 'wrn': wrn}
# (on the head, in the trunk) of (trunk, task, unlabeled)
DROPOUT = {('convnet', 'svhn', 'labeled'): (0.5, 0.5),
           ('convnet', 'svhn', 'all'): (0.5, 0.5),
           ('wrn', 'svhn', 'all'): (0.5, 0)}
OTHER_DROPOUT = (0.2, 0)
SMALLEST = np.finfo(np.float32).tiny    # probability, for there is no logarithm of 0


def net(inputs: Any, is_training: bool, config: Config, dropout: Callable) -> Dict[str, tf.Tensor]:
    """Recipe.model.net: the logits of both heads in training, of the classes alone in tests.

    inputs: (images [n, 32, 32, 3], images in poses [n, 32, 32, 3]) in training; in tests images, or copies of images
    [n, copies, 32, 32, 3]; the logits are then of the mean over the copies.
    """
    return _two_heads(*inputs, config, dropout) if is_training else _test(inputs, config)


def _two_heads(images, posed, config, dropout):
    head_rate, trunk_rate = DROPOUT.get((config.trunk, config.task, config.unlabeled), OTHER_DROPOUT)
    features = _features(tf.concat([images, posed], 0), config, True,
                         lambda x: dropout(x, trunk_rate) if trunk_rate else x)
    of_images, of_posed = tf.split(features, 2)
    return dict(logits=_head(dropout(of_images, head_rate), _classes(config), 'super_clf'),
                poses=_head(of_posed, POSES, 'self_clf'))


def _test(images, config):
    features = _features(tf.reshape(images, [-1] + images.shape[-3:].as_list()), config, False, lambda x: x)
    logits = _head(features, _classes(config), 'super_clf')
    if images.shape.ndims == 4:
        return dict(logits=logits, first_copy=logits)
    probabilities = tf.reshape(tf.nn.softmax(logits), [-1, images.shape[1].value, _classes(config)])
    return {name: tf.log(tf.maximum(found, SMALLEST)) for name, found in (
        ('logits', tf.reduce_mean(probabilities, 1)), ('first_copy', probabilities[:, 0]))}


def _features(images, config, is_training, dropout):
    maps = TRUNKS[config.trunk](images, is_training, dropout)
    return tf.cast(layers.global_average_pool(maps), tf.float32)


def _head(features, classes, name):
    with tf.variable_scope('heads', reuse=tf.AUTO_REUSE):
        return layers.dense(features, classes, name=name,
                            kernel_initializer=tf.glorot_uniform_initializer())


def _classes(config):
    return config.classes or TASKS[config.task].classes


def score(outputs: Any, labels: Any, config: Config) -> Scores:
    """The losses of both heads in training; in tests the accuracy of the copies' mean and of one copy, if it is there.
    """
    if 'poses' in outputs:
        labels, poses = labels
        of_classes = heads.softmax.score(outputs, labels, config)
        self_clf_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=poses, logits=outputs['poses'])
        return Scores(self_clf_loss + of_classes.losses, dict(
            of_classes.metrics, self_clf_loss=self_clf_loss, super_clf_loss=of_classes.losses))
    scores = heads.softmax.score(outputs, labels, config)
    if 'first_copy' in outputs:
        one_copy = heads.softmax.score(outputs['first_copy'], labels, config)
        scores = scores._replace(metrics=dict(scores.metrics, plain_accuracy=one_copy.metrics['accuracy']))
    return scores


def penalty(config: Config) -> tf.Tensor:
    """Recipe.model.penalty: Keras's l2, the sum of squares, not half of it."""
    return 2 * config.weight_decay * layers.l2_loss()
