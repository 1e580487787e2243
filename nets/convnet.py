"""The 13-layer max-pooling network of SESEMI (Tran, arXiv 1906.10343), without its classifier.

Nine convolutions, two poolings; average pooling and a softmax layer, the caller's, make 13 layers.
Differs from the vendor's: moving averages of batch normalisation have momentum 0.9 and not 0.99,
so that they are of use after a few hundred steps.
"""
import tensorflow as tf

from nets.layers import batch_norm, conv2d

# of each stage's convolutions: filters, kernel size, padding; between stages, 2x2 max-pooling
STAGES = (((128, 3, 'SAME'), (128, 3, 'SAME'), (128, 3, 'SAME')),
          ((256, 3, 'SAME'), (256, 3, 'SAME'), (256, 3, 'SAME')),
          ((512, 3, 'VALID'), (256, 1, 'SAME'), (128, 1, 'SAME')))
SLOPE = 0.1  # of the leaky ReLU's negative side


def convnet(images, is_training, dropout):
    """Features [n, 6, 6, 128] of images [n, 32, 32, 3]; dropout(x) works on each pooling's output."""
    with tf.variable_scope('convnet', reuse=tf.AUTO_REUSE):
        return conv_stages(images, STAGES, lambda x: tf.nn.leaky_relu(x, SLOPE), is_training, dropout)


def conv_stages(x, stages, activation, is_training, dropout):
    """Stages of convolution, batch normalisation and activation, for a table such as STAGES."""
    for number, stage in enumerate(stages):
        if number:
            x = dropout(tf.nn.max_pool2d(x, 2, 2, 'VALID'))
        for filters, size, padding in stage:
            x = conv2d(x, filters, size, padding=padding, use_bias=True)
            x = activation(batch_norm(x, is_training))
    return x
