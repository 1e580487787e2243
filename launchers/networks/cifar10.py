"""CIFAR-10 classifiers: a recipe of any net, from --data_path to batches, with CutMix where it is switched on."""
from typing import Any, Callable, Dict

import tensorflow as tf

from core.recipe import Recipe
from core.settings.config import Config
from core.training import optimizers, schedules
from data import cifar, pipeline, synthetic
from data.cutmix import cutmix
from data.dataset import DataSet
from data.transforms import normalize
from launchers.networks import classification
from nets import layers


def recipe(net: Callable, defaults: Dict[str, Any], penalty: Callable = layers.l2_loss, **parts: Any) -> Recipe:
    """The Recipe of a net(images, is_training[, dropout]) -> logits [n, 10] of normalised images [n, 32, 32, 3].

    defaults: train_epochs, batch_size, learning_rate, weight_decay and what the optimizer reads. parts: the fields of
    Recipe that are to be others than these: momentum at a constant learning rate, neutral log lines.
    """
    return Recipe(
        defaults=dict(dict(display_step=50, val_epoch=1, cutmix_alpha=0., eval_static=False), **defaults),
        load=load, train_input=train_input, test_input=test_input, model=classification.classifier(net, penalty),
        **dict(dict(learning_rate=schedules.constant, optimizer=optimizers.momentum), **parts))


def load(config: Config) -> DataSet:
    """CIFAR-10, or its synthetic stand-in."""
    return synthetic.cifar10() if config.synthetic else cifar.cifar10(config.data_path)


def train_input(data: DataSet, config: Config) -> pipeline.Input:
    """Normalised batches, mixed by --cutmix_alpha; labels are distributions [batch, 10]."""
    def prepare(x, y, seed):
        return cutmix(normalize(x), tf.one_hot(y, data.classes), seed, config.cutmix_alpha)
    return pipeline.train_input(data.train, config.batch_size, config.seed, transform=prepare,
                                rank=config.rank, ranks=config.ranks)


def test_input(data: DataSet, config: Config) -> pipeline.Input:
    """Normalised batches, with --eval_static without the last one where it is not full; labels [batch] int32."""
    def prepare(x, y, seed):
        del seed
        return normalize(x), y
    return pipeline.test_input(data.test, config.batch_size, transform=prepare, drop_remainder=config.eval_static,
                               rank=config.rank, ranks=config.ranks)
