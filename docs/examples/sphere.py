"""Features on the unit sphere (NormFace, arXiv 1704.06369): bash test/train_performance_1p.sh
--network=docs/examples/sphere.py

Built-in data: 32 readings from 0 to 4000 of machines in one of four states. About 10 seconds to an accuracy of 0.95 in
float32, and not in float16: docs/float16.md says why, and how that is found and cured.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Recipe
from data import inputs
from data.arrays import arrays
from data.dataset import DataSet, Split, numbered
from nets import layers
from nets.blocks import heads, optimizers, schedules

CLASSES = numbered(4)


def load(config):
    """The DataSet."""
    if not config.synthetic:
        return arrays(config.data_path, CLASSES)
    random = np.random.RandomState(0)
    y = random.randint(0, len(CLASSES), 1280).astype(np.int32)
    usual = random.uniform(500, 3500, [len(CLASSES), 32])
    x = np.clip(usual[y] + 600 * random.normal(size=[len(y), 32]), 0, 4000).astype(np.float32)
    return DataSet(Split(x[:1024], y[:1024]), Split(x[1024:], y[1024:]), CLASSES)


def net(readings, is_training, classes):
    """Logits [n, classes] of readings [n, 32]."""
    del is_training
    with tf.variable_scope('sphere', reuse=tf.AUTO_REUSE):
        with tf.variable_scope('features'):
            x = layers.dense(readings, 64)
        with tf.variable_scope('normalize'):
            x = tf.nn.l2_normalize(x, 1)       # the squares of features above 256 leave the range of float16
        with tf.variable_scope('classes'):
            return layers.dense(10 * x, classes)


RECIPE = Recipe(
    defaults=dict(train_epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=1e-5, display_step=32, val_epoch=2),
    load=load, **inputs.of_data_set(), model=heads.model(net, heads.softmax, layers.l2_loss),
    learning_rate=schedules.constant, optimizer=optimizers.adam)
