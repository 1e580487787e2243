"""A regression: four numbers of one. bash test/train_performance_1p.sh --network=docs/examples/regression.py

Built-in data: a function with noise of variance 0.01; --data_path has train.npz and test.npz of x [n, k], y [n].
About 5 seconds to a test MSE of 0.03.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Recipe
from data import inputs
from data.arrays import arrays
from data.dataset import DataSet, Split
from nets import layers
from nets.blocks import heads, optimizers, schedules


def load(config):
    """The DataSet."""
    if not config.synthetic:
        return arrays(config.data_path)
    random = np.random.RandomState(0)
    x = random.uniform(-1, 1, [1280, 4])
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + .1 * random.normal(size=len(x))
    rows = x.astype(np.float32), y.astype(np.float32)
    return DataSet(Split(*(part[:1024] for part in rows)), Split(*(part[1024:] for part in rows)), ())


def net(x, is_training):
    """One number [n] of each row [n, k]."""
    del is_training
    with tf.variable_scope('regression', reuse=tf.AUTO_REUSE):
        for _ in range(2):
            x = tf.nn.relu(layers.dense(x, 64))
        return layers.dense(x, 1)[:, 0]


RECIPE = Recipe(
    defaults=dict(train_epochs=20, batch_size=32, learning_rate=1e-2, weight_decay=1e-5, display_step=32, val_epoch=5),
    load=load, **inputs.of_data_set(), model=heads.model(net, heads.regression, layers.l2_loss),
    learning_rate=schedules.constant, optimizer=optimizers.adam)
