"""The 13-layer max-pooling network of SESEMI (Tran, arXiv 1906.10343), without its classifier.

Nine convolutions and two poolings; average pooling and a softmax layer, which the caller adds, make 13 layers.
"""
import functools
from typing import Callable, Sequence

import tensorflow as tf

from nets.layers import batch_norm, conv2d

# (filters, kernel size, padding) of the convolutions of each stage; between two stages comes 2x2 max-pooling
STAGES = (((128, 3, 'SAME'), (128, 3, 'SAME'), (128, 3, 'SAME')),
          ((256, 3, 'SAME'), (256, 3, 'SAME'), (256, 3, 'SAME')),
          ((512, 3, 'VALID'), (256, 1, 'SAME'), (128, 1, 'SAME')))
SLOPE = 0.1  # of the leaky ReLU below 0


def convnet(images: tf.Tensor, is_training: bool, dropout: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Features [n, 6, 6, 128] of images [n, 32, 32, 3]; dropout(x) is applied to the output of each pooling."""
    with tf.variable_scope('convnet', reuse=tf.AUTO_REUSE):
        return conv_stages(images, STAGES, functools.partial(tf.nn.leaky_relu, alpha=SLOPE), is_training, dropout)


def conv_stages(x: tf.Tensor, stages: Sequence, activation: Callable, is_training: bool,
                dropout: Callable) -> tf.Tensor:
    """The maps of x after stages of convolution, batch normalisation and activation, for a table such as STAGES."""
    for number, stage in enumerate(stages):
        if number:
            x = dropout(tf.nn.max_pool2d(x, 2, 2, 'VALID'))
        for filters, size, padding in stage:
            x = conv2d(x, filters, size, padding=padding, use_bias=True)
            x = batch_norm(x, is_training, activation=activation)
    return x
