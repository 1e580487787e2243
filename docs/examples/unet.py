"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597): bash test/train_performance_1p.sh --network=docs/examples/unet.py

Built-in data: discs and squares on noise; --data_path has train.npz and test.npz of images x [n, height, width, 3]
uint8 and masks y [n, height, width] uint8 with the values 0 to 2. About a minute to an mIoU above 0.8.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Recipe
from data import inputs
from data.arrays import arrays
from data.dataset import DataSet, Split
from nets import layers
from nets.blocks import heads, optimizers, schedules

CLASSES, SIZE = ('ground', 'disc', 'square'), 64


def load(config):
    """The DataSet."""
    if not config.synthetic:
        return arrays(config.data_path, CLASSES)
    random = np.random.RandomState(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    masks = np.zeros([160, SIZE, SIZE], np.uint8)
    for mask in masks:
        (a, b), (c, d) = random.randint(12, SIZE - 12, [2, 2])
        mask[(rows - a) ** 2 + (columns - b) ** 2 < 100] = 1
        mask[(abs(rows - c) < 8) & (abs(columns - d) < 8)] = 2
    images = (random.randint(0, 120, masks.shape + (3,)) + 60 * np.eye(3, dtype=int)[masks]).astype(np.uint8)
    return DataSet(Split(images[:128], masks[:128]), Split(images[128:], masks[128:]), CLASSES)


def prepare(images, masks, seed):
    """Batches from -1 to 1."""
    del seed
    return tf.cast(images, tf.float32) / 127.5 - 1, tf.cast(masks, tf.int32)


def net(x, is_training, classes):
    """Logits [n, height, width, classes] of images [n, height, width, 3]."""
    def convolved(x, channels):
        for _ in range(2):
            x = layers.batch_norm(layers.conv2d(x, channels, 3), is_training, activation=tf.nn.relu)
        return x
    with tf.variable_scope('unet', reuse=tf.AUTO_REUSE):
        levels = [convolved(x, 16)]
        for channels in (32, 64):
            levels.append(convolved(tf.nn.max_pool2d(levels[-1], 2, 2, 'SAME'), channels))
        x = levels.pop()
        for level in reversed(levels):
            x = tf.image.resize_nearest_neighbor(x, level.shape[1:3].as_list())
            x = convolved(tf.concat([level, x], -1), level.shape[-1].value)
        return layers.conv2d(x, classes, 1, use_bias=True)


RECIPE = Recipe(
    defaults=dict(train_epochs=6, batch_size=8, learning_rate=1e-3, weight_decay=1e-5, display_step=8, val_epoch=2),
    load=load, **inputs.of_data_set(prepare, prepare), model=heads.model(net, heads.segmentation, layers.l2_loss),
    learning_rate=schedules.constant, optimizer=optimizers.adam)
