"""ResNet-50 (He et al. 2015, arXiv 1512.03385) at 224: bash test/train_full_1p.sh --network=docs/examples/resnet50.py

--data_path is a directory of class folders, or with --task=tfrecord of shards; images are decoded as they are needed.
The built-in data is some noisy stripes. Strides are in the 3x3 convolutions (v1.5); --depth chooses other sizes.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Images, Recipe
from core.settings import kinds
from core.settings.table import Switch
from data import inputs
from data.dataset import DataSet, Split, numbered
from launchers.networks import image_sets
from launchers.networks.cifar10 import normalize
from nets import layers
from nets.blocks import heads, optimizers, schedules

BLOCKS = {'14': (1, 1, 1, 1), '26': (2, 2, 2, 2), '50': (3, 4, 6, 3), '101': (3, 4, 23, 3), '152': (3, 8, 36, 3)}


def load(config):
    """The DataSet: files of images, or stripes of which the width is the class."""
    if not config.synthetic:
        return image_sets.load(config)
    height, width = image_sets.size_of(config)
    y = np.arange(32, dtype=np.int32) % 8
    stripes = np.arange(width) // (y[:, None] + 2) % 2 * 100
    noise = np.random.RandomState(0).randint(0, 150, [len(y), height, width, 3])
    x = (noise + stripes[:, None, :, None]).astype(np.uint8)
    return DataSet(Split(x[:24], y[:24]), Split(x[24:], y[24:]), numbered(8))


def net(x, is_training, classes, config):
    """Logits [n, classes] of images [n, height, width, 3]."""
    def conv(x, channels, size, strides=1, activation=tf.nn.relu, shortcut=None):
        x = layers.conv2d(x, channels, size, strides)
        return layers.batch_norm(x, is_training, activation=activation, shortcut=shortcut)
    with tf.variable_scope('resnet50', reuse=tf.AUTO_REUSE):
        x = tf.nn.max_pool2d(conv(x, 64, 7, 2), 3, 2, 'SAME')
        for stage, blocks in enumerate(BLOCKS[config.depth]):
            channels = 64 << stage
            for block in range(blocks):
                strides = 2 if stage and not block else 1
                shortcut = x if block else conv(x, 4 * channels, 1, strides, None)
                x = conv(conv(conv(x, channels, 1), channels, 3, strides), 4 * channels, 1, shortcut=shortcut)
        return layers.dense(layers.global_average_pool(x), classes)


PLAIN = dict.fromkeys(('train', 'test'), lambda x, y, seed: (normalize(x), y))
RECIPE = Recipe(
    defaults=dict(task='folder', image_size='224', train_epochs=90, batch_size=32, learning_rate=.0125, momentum=.9,
                  weight_decay=1e-4, display_step=1, val_epoch=1),
    on_synthetic=dict(batch_size=4, train_epochs=2), tasks=('folder', 'tfrecord'), load=load,
    switches=[Switch('resnet50', 'depth', kinds.choice(*BLOCKS), '50', 'layers of the network')],
    **inputs.of_data_set(**PLAIN), model=heads.model(net, heads.top_k(5), layers.l2_loss),
    learning_rate=schedules.constant, optimizer=optimizers.nesterov, images=Images(
        inputs.of_data_set()['test_input'], image_sets.read, lambda x, constants: normalize(x), fit=image_sets.fit,
        crop=image_sets.crop))
