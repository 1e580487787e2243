"""CIFAR-10 for the networks that classify it: from --data_path to batches, with CutMix where it is switched on."""
import tensorflow as tf

from data import cifar, pipeline, synthetic
from data.cutmix import cutmix
from data.transforms import normalize


def load(config):
    """CIFAR-10, or its synthetic stand-in."""
    return synthetic.cifar10() if config.synthetic else cifar.cifar10(config.data_path)


def train_input(data, config):
    """Normalised batches, mixed by --cutmix_alpha."""
    def prepare(x, y, seed):
        return cutmix(normalize(x), tf.one_hot(y, data.classes), seed, config.cutmix_alpha)
    return pipeline.train_input(data.train, config.batch_size, config.seed, transform=prepare,
                                rank=config.rank, ranks=config.ranks)


def test_input(data, config):
    """Normalised batches, with --eval_static all of them full."""
    def prepare(x, y, seed):
        del seed
        return normalize(x), y
    return pipeline.test_input(data.test, config.batch_size, transform=prepare, drop_remainder=config.eval_static,
                               rank=config.rank, ranks=config.ranks)
