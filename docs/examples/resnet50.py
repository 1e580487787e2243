"""ResNet-50 (He et al. 2015, arXiv 1512.03385) at 224: bash test/train_full_1p.sh --network=docs/examples/resnet50.py

--data_path is a directory of class folders, of which files are decoded as they are needed. The built-in data is some
noisy stripes. Strides are in the 3x3 convolutions (v1.5).
"""
import numpy as np
import tensorflow as tf

from core.recipe import Recipe
from data import folders, images, inputs
from data.dataset import DataSet, Split, numbered
from data.transforms import normalize
from nets import layers
from nets.blocks import heads, optimizers, schedules

SIZE, STAGES = 224, ((64, 3), (128, 4), (256, 6), (512, 3))


def load(config):
    """The DataSet: names of files, or images."""
    if not config.synthetic:
        return folders.folders(config.data_path, config.seed)
    y = np.arange(32, dtype=np.int32) % 8
    stripes = np.arange(SIZE) // (y[:, None] + 2) % 2 * 100
    noise = np.random.RandomState(0).randint(0, 150, [len(y), SIZE, SIZE, 3])
    x = (noise + stripes[:, None, :, None]).astype(np.uint8)
    return DataSet(Split(x[:24], y[:24]), Split(x[24:], y[24:]), numbered(8))


def load_one(x, y, seed):
    """An image [SIZE, SIZE, 3] of the bytes of a file."""
    del seed
    image = images.square(images.decode(x), SIZE) if x.dtype == tf.string else x
    return tf.ensure_shape(image, [SIZE, SIZE, 3]), y


def net(x, is_training, classes):
    """Logits [n, classes] of images [n, SIZE, SIZE, 3]."""
    def conv(x, channels, size, strides=1, activation=tf.nn.relu):
        return layers.batch_norm(layers.conv2d(x, channels, size, strides), is_training, activation=activation)
    with tf.variable_scope('resnet50', reuse=tf.AUTO_REUSE):
        x = tf.nn.max_pool2d(conv(x, 64, 7, 2), 3, 2, 'SAME')
        for stage, (channels, blocks) in enumerate(STAGES):
            for block in range(blocks):
                strides = 2 if stage and not block else 1
                shortcut = x if block else conv(x, 4 * channels, 1, strides, None)
                residual = conv(conv(conv(x, channels, 1), channels, 3, strides), 4 * channels, 1, 1, None)
                x = tf.nn.relu(shortcut + residual)
        return layers.dense(layers.global_average_pool(x), classes)


PLAIN = dict.fromkeys(('train', 'test'), lambda x, y, seed: (normalize(x), y))
RECIPE = Recipe(
    defaults=dict(train_epochs=90, batch_size=32, learning_rate=.0125, momentum=.9, weight_decay=1e-4, display_step=1,
                  val_epoch=1),
    on_synthetic=dict(batch_size=4, train_epochs=2), load=load, **inputs.of_data_set(**PLAIN, load_one=load_one),
    model=heads.model(net, heads.top_k(5), layers.l2_loss), learning_rate=schedules.constant,
    optimizer=optimizers.nesterov)
