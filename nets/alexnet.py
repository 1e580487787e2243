"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012) in its two towers, as in the paper's figure 2.

A tower is what the paper put on one GPU. Layers 2, 4 and 5 see only the maps of their own tower; layer 3 and the
fully-connected layers see the maps of both. As in the vendor's variant the second fully-connected layer has 1000
units and the last one two. Differences from the vendor's, each as in the paper:
- ReLU comes before the response normalisation, not after the pooling.
- n = 5 neighbouring maps normalise each other; the vendor gives TensorFlow the 5 as a radius, 11 maps.
- The last layer's biases start from 0.
"""
from typing import Callable

import tensorflow as tf

from nets.layers import conv2d, dense

# filters of both towers together, kernel size, stride, padding, initial bias, then: has each tower for
# its input its own half of the maps, are responses normalised, are they pooled
LAYERS = ((96, 11, 4, 'VALID', 0, False, True, True),
          (256, 5, 1, 'SAME', 1, True, True, True),
          (384, 3, 1, 'SAME', 0, False, False, False),
          (384, 3, 1, 'SAME', 1, True, False, False),
          (256, 3, 1, 'SAME', 1, True, False, True))
HIDDEN = (4096, 1000)
NEIGHBOURS, BIAS, ALPHA, BETA = 5, 2., 1e-4, 0.75  # the paper's n, k, alpha and beta
GAUSSIAN = tf.random_normal_initializer(0, 0.01)


def alexnet(images: tf.Tensor, dropout: Callable[[tf.Tensor], tf.Tensor], classes: int = 2) -> tf.Tensor:
    """Logits [n, classes] of centred images [n, 227, 227, 3].

    dropout(x) is applied to the output of each hidden fully-connected layer.
    """
    with tf.variable_scope('alexnet', reuse=tf.AUTO_REUSE):
        towers = [images]
        for number, layer in enumerate(LAYERS, 1):
            with tf.variable_scope('conv%d' % number):
                towers = _layer(towers, *layer)
        x = tf.concat(towers, -1)
        x = tf.reshape(x, [-1, x.shape[1:].num_elements()])
        for units in HIDDEN:
            x = dropout(tf.nn.relu(_dense(x, units, bias=1)))
        return _dense(x, classes, bias=0)


def first_kernels() -> tf.Variable:
    """The kernels of layer 1, [11, 11, 3, 96]; alexnet() must have been called."""
    filters, size = LAYERS[0][:2]
    with tf.variable_scope('alexnet/conv1', reuse=True):
        return tf.get_variable('conv2d/kernel', [size, size, 3, filters])


def _layer(towers, filters, size, stride, padding, bias, own_half, normalised, pooled):
    def conv(x, filters):
        return conv2d(x, filters, size, stride, padding, use_bias=True, kernel_initializer=GAUSSIAN,
                      bias_initializer=tf.constant_initializer(bias))
    if own_half:
        towers = [conv(x, filters // 2) for x in towers]
    else:  # split before the ReLU, so that its outputs, which the gradients need, are not kept twice
        towers = tf.split(conv(tf.concat(towers, -1), filters), 2, -1)
    towers = [tf.nn.relu(x) for x in towers]
    if normalised:
        towers = [tf.nn.lrn(x, NEIGHBOURS // 2, BIAS, ALPHA, BETA) for x in towers]
    return [tf.nn.max_pool(x, 3, 2, 'VALID') for x in towers] if pooled else towers


def _dense(x, units, bias):
    return dense(x, units, kernel_initializer=GAUSSIAN, bias_initializer=tf.constant_initializer(bias))
