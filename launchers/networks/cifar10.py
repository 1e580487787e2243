"""Classifiers of images of 32x32 pixels, or of --image_size, with CutMix if it is switched on: a recipe of any net."""
from typing import Any, Callable, Dict, List

import numpy as np
import tensorflow as tf

from core.operators import host_operator, own_operator
from core.recipe import Images, Picture, Recipe
from core.run import Input
from core.settings.config import Config
from core.settings.kinds import OWN_SIZE
from nets.blocks import heads, optimizers, schedules
from data import pipeline
from data.cutmix import cutmix
from data.dataset import DataSet
from data.loading import skipped_hooks
from launchers.networks import image_sets
from nets import layers

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)  # of the training images, scaled to 0..1
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


def recipe(net: Callable, defaults: Dict[str, Any], penalty: Callable = layers.l2_loss, **parts: Any) -> Recipe:
    """The Recipe of a net(images, is_training[, dropout]) -> logits [n, classes] of images [n, height, width, 3].

    defaults: train_epochs, batch_size, learning_rate, weight_decay and what the optimizer reads. parts: the fields of
    Recipe that are to be others than these: momentum at a constant learning rate, neutral log lines, the line Top-1.
    """
    augmented, variants = image_sets.augmentation(defaults)
    return Recipe(
        defaults=dict(dict(task='cifar10', image_size=OWN_SIZE, display_step=50, val_epoch=1, cutmix_alpha=0.,
                           eval_static=False), **augmented),
        variants=(*variants, *parts.pop('variants', ())),
        load=image_sets.load, tasks=tuple(image_sets.TASKS), train_input=train_input, test_input=test_input,
        model=heads.classifier(net, penalty),
        images=Images(test_pixels, image_sets.read, lambda images, constants: normalize(images), fit=image_sets.fit,
                      crop=image_sets.crop, read_together=image_sets.read_together),
        pictures=_pictures,
        **dict(dict(learning_rate=schedules.constant, optimizer=optimizers.momentum,
                    evaluation_lines=top_1, hooks=skipped_hooks), **parts))


def normalize(images: tf.Tensor) -> tf.Tensor:
    """CIFAR-10 images, uint8, as float32 with a mean near 0 and a std near 1 in each channel."""
    # By 1 / std, as TensorFlow's optimizer of graphs would have it, so that the bits are the same without it.
    mean, scale = np.float32(255) * np.float32(CIFAR10_MEAN), 1 / (np.float32(255) * np.float32(CIFAR10_STD))
    # A function of an input pipeline is never exported, as another graph may be.
    find = host_operator if tf.get_default_graph().building_function else own_operator
    own = find('normalized_colors')
    if own and images.dtype == tf.uint8:
        return own(images, mean, scale)
    # A constant for each pixel of a row, because one of a single pixel is subtracted three values at a time.
    pixels = tf.cast(images, tf.float32)
    mean, scale = (tf.constant(np.tile(x, [pixels.shape[-2].value or 1, 1])) for x in (mean, scale))
    return (pixels - mean) * scale


def _pictures() -> Dict[str, Picture]:
    from launchers.networks import shown     # with what draws, which a run needs at its first evaluation
    return shown.classifier(mixed=Picture(shown.mixed_images, once=True))


def top_1(metrics: Dict[str, float]) -> List[str]:
    """Recipe.evaluation_lines of a network that is judged by its accuracy."""
    return ['---- Final accuracy ----', 'Top-1: %.4f' % metrics['accuracy']]


def train_input(data: DataSet, config: Config) -> Input:
    """Normalised batches, augmented, mixed by --cutmix_alpha; labels are distributions [batch, classes]."""
    def prepare(x, y, seed):
        mixed, labels = cutmix(x, tf.one_hot(y, data.classes), seed, config.cutmix_alpha)
        return normalize(mixed), labels        # last, because the pixels before it have a quarter of its size
    return pipeline.train_input(data.train, config.batch_size, config.seed, transform=prepare,
                                rank=config.rank, ranks=config.ranks, **image_sets.for_training(data.loading, config))


def test_input(data: DataSet, config: Config) -> Input:
    """Normalised batches, with --eval_static without the last one where it is not full; labels [batch] int32."""
    return _test_input(data, config, normalize)


def test_pixels(data: DataSet, config: Config) -> Input:
    """The same batches, not normalised, uint8."""
    return _test_input(data, config, lambda images: images)


def _test_input(data, config, prepare):
    return pipeline.test_input(data.test, config.batch_size, transform=lambda x, y, seed: (prepare(x), y),
                               drop_remainder=config.eval_static, rank=config.rank, ranks=config.ranks,
                               **data.loading)
