"""TextCNN (Kim 2014, arXiv 1408.5882): bash test/train_performance_1p.sh --network=docs/examples/textcnn.py

Built-in data: texts of 32 words, of which each of four classes likes some; --data_path has train.npz and test.npz of
word numbers x [n, words] int32 and classes y [n] int32. About 10 seconds to an accuracy above 0.95.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Recipe
from core.settings import kinds
from core.settings.table import Switch
from data import inputs
from data.arrays import arrays
from data.dataset import DataSet, Split, numbered
from nets import layers
from nets.blocks import heads, optimizers, schedules

CLASSES, WORDS = numbered(4), 32


def load(config):
    """The DataSet."""
    if not config.synthetic:
        return arrays(config.data_path, CLASSES)
    random = np.random.RandomState(0)
    y = random.randint(0, len(CLASSES), 1280).astype(np.int32)
    liked = random.randint(0, 50, [len(y), WORDS]) * len(CLASSES) + y[:, None]
    x = np.where(random.uniform(size=liked.shape) < .2, liked, random.randint(0, config.vocabulary, liked.shape))
    x = (x % config.vocabulary).astype(np.int32)
    return DataSet(Split(x[:1024], y[:1024]), Split(x[1024:], y[1024:]), CLASSES)


def net(words, is_training, dropout, config, classes):
    """Logits [n, classes] of word numbers [n, words]."""
    del is_training
    with tf.variable_scope('textcnn', reuse=tf.AUTO_REUSE):
        table = tf.get_variable('embedding', [config.vocabulary, 64], None, tf.random_uniform_initializer(-.1, .1))
        x = tf.nn.embedding_lookup(table, words)[:, None]
        maps = [layers.conv2d(x, 64, (1, width), padding='VALID', use_bias=True) for width in (3, 4, 5)]
        features = tf.concat([tf.reduce_max(tf.nn.relu(one), [1, 2]) for one in maps], 1)
        return layers.dense(dropout(features, .5), classes)


RECIPE = Recipe(
    defaults=dict(train_epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=1e-4, display_step=32, val_epoch=2),
    switches=[Switch('textcnn', 'vocabulary', kinds.whole(1, 10 ** 7), 2000, 'words that have a number', kept=True)],
    load=load, **inputs.of_data_set(), model=heads.model(net, heads.softmax, layers.l2_loss),
    learning_rate=schedules.constant, optimizer=optimizers.adam)
