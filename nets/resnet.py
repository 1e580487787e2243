"""ResNet-20 v1 for 32x32 images (He et al. 2015, arXiv 1512.03385, section 4.2).

As in the vendor's variant, a shortcut between stages is a 1x1 convolution without batch normalisation, where the
paper pads with zeros. Differs from both: the convolutions have no biases, because batch normalisation subtracts them.
"""
import tensorflow as tf

from nets.layers import batch_norm, conv2d, dense, global_average_pool

# channels, strides of the first block
STAGES = ((16, 1),
          (32, 2),
          (64, 2))
BLOCKS = 3                     # of two convolutions, in each stage


def resnet20(images: tf.Tensor, is_training: bool, classes: int = 10) -> tf.Tensor:
    """Logits [n, classes] of normalised images [n, height, width, 3]."""
    def normalised(x, shortcut=None):
        return batch_norm(x, is_training, activation=tf.nn.relu, shortcut=shortcut)

    def block(x, channels, strides):
        residual = conv2d(normalised(conv2d(x, channels, 3, strides)), channels, 3)
        shortcut = x if x.shape[-1] == channels else conv2d(x, channels, 1, strides, name='shortcut')
        return normalised(residual, shortcut)

    with tf.variable_scope('resnet20', reuse=tf.AUTO_REUSE):
        x = normalised(conv2d(images, STAGES[0][0], 3))
        for stage, (channels, strides) in enumerate(STAGES, 1):
            for number in range(1, BLOCKS + 1):
                with tf.variable_scope('stage%d/block%d' % (stage, number)):
                    x = block(x, channels, strides if number == 1 else 1)
        return dense(global_average_pool(x), classes)
