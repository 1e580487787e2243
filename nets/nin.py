"""Network in Network as SESEMI uses it (Lin, Chen and Yan, arXiv 1312.4400; Tran, arXiv 1906.10343).

Max-pooling throughout, batch normalisation, no classifier.
"""
from typing import Callable

import tensorflow as tf

from nets.convnet import conv_stages

# as in convnet.py: filters, kernel size, padding
STAGES = (((192, 5, 'SAME'), (160, 1, 'SAME'), (96, 1, 'SAME')),
          ((192, 5, 'SAME'), (192, 1, 'SAME'), (192, 1, 'SAME')),
          ((192, 3, 'SAME'), (192, 1, 'SAME'), (192, 1, 'SAME')))


def nin(images: tf.Tensor, is_training: bool, dropout: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Features [n, 8, 8, 192] of images [n, 32, 32, 3]; dropout(x) is applied to the output of each pooling."""
    with tf.variable_scope('nin', reuse=tf.AUTO_REUSE):
        return conv_stages(images, STAGES, tf.nn.relu, is_training, dropout)
