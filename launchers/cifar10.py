"""CIFAR-10 for the networks that classify it: from --data_path to batches, with CutMix where it is switched on."""
import tensorflow as tf

from core.recipe import Inputs
from data import cifar, pipeline, synthetic
from data.cutmix import cutmix
from data.transforms import normalize


def load(config):
    """CIFAR-10, or its synthetic stand-in."""
    return synthetic.cifar10() if config.synthetic else cifar.cifar10(config.data_path)


def inputs(data, config):
    """Normalised batches; the training ones mixed by --cutmix_alpha, those of a static test all full."""
    def prepare(x, y, seed):
        del seed
        return normalize(x), y

    def prepare_and_mix(x, y, seed):
        return cutmix(normalize(x), tf.one_hot(y, data.classes), seed, config.cutmix_alpha)
    where = dict(rank=config.rank, ranks=config.ranks)
    return Inputs(
        pipeline.train_input(data.train, config.batch_size, config.seed, transform=prepare_and_mix, **where),
        pipeline.test_input(data.test, config.batch_size, transform=prepare,
                            drop_remainder=config.eval_static, **where),
        len(data.train.y))
