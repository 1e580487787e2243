"""CSPDarknet53 (Wang et al., CSPNet, CVPR Workshops 2020, arXiv 1911.11929).

Darknet-53 made cross-stage partial: in each stage two 1x1 convolutions make two halves of the maps; one half goes
through the residual blocks, then both are concatenated and fused. As in the authors' Darknet configuration the halves
of the first stage keep the full width, a 1x1 convolution ends the blocks of each stage (the partial transition of the
paper), and every convolution is followed by batch norm and activation. Differences:
- Paper: 224x224 images and leaky ReLU; here Mish, as the vendor's, and 32x32 where --image_size is not another. The
  stem and the strides are those of the authors' configuration for ImageNet at every size
  (github.com/WongKinYiu/CrossStagePartialNetworks, cfg/csdarknet53.cfg, which trains on crops of 128 to 448): a 3x3
  convolution of stride 1, then five down-samplings, which end at 7x7 for 224 and at 1x1 for 32.
- Paper: does not say how the kernels start, and trains at 0.1; here, as the vendor's, they are drawn from a truncated
  normal distribution of standard deviation 0.01, to which the vendor's learning rate of 1e-3 belongs: behind each
  kernel w comes batch norm, so that a step turns w by learning_rate / |w|^2, and He's initialisation makes |w|^2 17
  times as large over the whole network.
- Vendor: normalises over the batch axis alone and tests on batch statistics; here batch norm has learned scale and
  offset and tests on averages, so that an image is classified alike alone and in a batch. A block of the vendor's adds
  its input to its output in the first stage alone; here, as in Darknet-53, in every stage.
"""
from typing import NamedTuple

import tensorflow as tf

from nets.layers import batch_norm, conv2d, dense, global_average_pool, mish


class Stage(NamedTuple):
    """A row of the table of stages; widths in channels."""
    width: int
    blocks: int
    half: int
    bottleneck: int


STAGES = [Stage(64, 1, 64, 32),
          Stage(128, 2, 64, 64),
          Stage(256, 8, 128, 128),
          Stage(512, 8, 256, 256),
          Stage(1024, 4, 512, 512)]


INITIAL = tf.truncated_normal_initializer(stddev=0.01)


def cspdarknet53(images: tf.Tensor, is_training: bool, classes: int = 10) -> tf.Tensor:
    """Logits [n, classes] of normalised images [n, height, width, 3]."""
    def conv(x, width, size, strides=1, name=None):
        with tf.variable_scope(name, 'conv'):
            x = conv2d(x, width, size, strides, kernel_initializer=INITIAL)
            return batch_norm(x, is_training, activation=mish)

    def residual_block(x, stage):
        return x + conv(conv(x, stage.bottleneck, 1), stage.half, 3)

    with tf.variable_scope('cspdarknet53', reuse=tf.AUTO_REUSE):
        x = conv(images, 32, 3, name='stem')
        for number, stage in enumerate(STAGES, 1):
            with tf.variable_scope('stage%d' % number):
                x = conv(x, stage.width, 3, strides=2, name='down')
                shortcut = conv(x, stage.half, 1, name='shortcut')
                x = conv(x, stage.half, 1, name='main')
                for block in range(1, stage.blocks + 1):
                    with tf.variable_scope('block%d' % block):
                        x = residual_block(x, stage)
                x = conv(x, stage.half, 1, name='partial_transition')
                x = conv(tf.concat([x, shortcut], -1), stage.width, 1, name='transition')
        return dense(global_average_pool(x), classes, kernel_initializer=INITIAL)
