"""Wide residual network 28-2 as SESEMI uses it (Zagoruyko and Komodakis, arXiv 1605.07146; Tran, arXiv 1906.10343).

The first block of a group widens, and max-pooling after it halves the maps, where the original strides. Only that
block takes its shortcut from the normalised input, through a 1x1 convolution.
"""
from typing import Callable

import tensorflow as tf

from nets.layers import batch_norm, conv2d

WIDTHS = (32, 64, 128)  # 16, 32, 64 widened by 2
BLOCKS = 4              # in each group: 6 * 4 + 4 = 28 layers


def wrn(images: tf.Tensor, is_training: bool, dropout: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Features [n, 8, 8, 128] of images [n, 32, 32, 3]; dropout(x) is applied between the convolutions of a block."""
    def normalised(x):
        return batch_norm(x, is_training, activation=tf.nn.relu)

    def widening(x, width):
        x = normalised(x)
        return conv2d(normalised(conv2d(x, width, 3)), width, 3) + conv2d(x, width, 1)

    def residual_block(x, width):
        y = dropout(conv2d(normalised(x), width, 3))
        return x + conv2d(normalised(y), width, 3)

    with tf.variable_scope('wrn', reuse=tf.AUTO_REUSE):
        x = conv2d(images, 16, 3)
        for group, width in enumerate(WIDTHS):
            x = widening(x, width)
            if group:
                x = tf.nn.max_pool2d(x, 2, 2, 'VALID')
            for _ in range(BLOCKS - 1):
                x = residual_block(x, width)
        return normalised(x)
