"""DeepFM (Guo et al. 2017, arXiv 1703.04247): bash test/train_performance_1p.sh --network=docs/examples/deepfm.py

Built-in data: clicks that two of the fields decide; --data_path has train.npz and test.npz of x_ids [n, 8] int32, a
number below --buckets for each field, x_numbers [n, 4] float32 and y [n] int32, 0 or 1. Some seconds to an AUC of 0.8.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Recipe
from core.settings import kinds
from core.settings.table import Switch
from data import inputs
from data.arrays import arrays
from data.dataset import DataSet, Split
from nets import layers
from nets.blocks import heads, optimizers, schedules

FIELDS, SIZE = 8, 8


def load(config):
    """The DataSet."""
    if not config.synthetic:
        return arrays(config.data_path, classes=2)
    random = np.random.RandomState(0)
    ids, numbers = random.randint(0, config.buckets, [5120, FIELDS]), random.normal(size=[5120, 4])
    score = 2 * (ids[:, 0] % 2) + 2 * (ids[:, 1] % 3 == 0) + numbers[:, 0] + random.normal(size=len(ids)) - 1.7
    rows = ids.astype(np.int32), numbers.astype(np.float32), (score > 0).astype(np.int32)
    parts = zip(*(np.split(row, [4096]) for row in rows))
    return DataSet(*(Split({'ids': i, 'numbers': n}, y) for i, n, y in parts), ())


def net(x, is_training, config):
    """Logits [n] of {'ids': [n, FIELDS], 'numbers': [n, k]}."""
    del is_training
    with tf.variable_scope('deepfm', reuse=tf.AUTO_REUSE):
        ids = x['ids'] + np.arange(FIELDS, dtype=np.int32) * config.buckets
        first, second = (tf.nn.embedding_lookup(tf.get_variable(
            name, [FIELDS * config.buckets, size], initializer=tf.random_normal_initializer(0, .01)), ids)
            for name, size in (('first_order', 1), ('embedding', SIZE)))
        pairs = tf.square(tf.reduce_sum(second, 1)) - tf.reduce_sum(tf.square(second), 1)
        deep = tf.concat([tf.reshape(second, [-1, FIELDS * SIZE]), x['numbers']], 1)
        for _ in range(2):
            deep = tf.nn.relu(layers.dense(deep, 64))
        return layers.dense(deep, 1)[:, 0] + tf.reduce_sum(first, [1, 2]) + .5 * tf.reduce_sum(pairs, 1)


RECIPE = Recipe(
    defaults=dict(train_epochs=3, batch_size=64, learning_rate=2e-3, weight_decay=1e-5, display_step=32, val_epoch=1),
    switches=[Switch('deepfm', 'buckets', kinds.whole(2, 10 ** 8), 1000, 'values of each field', kept=True)],
    load=load, **inputs.of_data_set(), model=heads.model(net, heads.binary, layers.l2_loss),
    learning_rate=schedules.constant, optimizer=optimizers.adam)
