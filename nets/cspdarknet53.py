"""CSPDarknet53 for 32x32 images (Wang et al., CSPNet, CVPR Workshops 2020, arXiv 1911.11929).

Darknet-53 made cross-stage partial: each stage halves its maps, sends one half through the
residual blocks, and fuses both again. Widths and depths are those of Darknet's
csdarknet53 configuration. Differences:
- Mish as in that configuration's YOLOv4 successor, and everywhere.
- 32x32 input: the five down-samplings end at 1x1, so the head averages over a single position.
- The vendor's variant normalises over the batch axis alone and tests on batch statistics; here
  batch normalisation has learned scale and offset and moving averages.
"""
import tensorflow as tf

from nets.layers import batch_norm, conv2d, dense, global_average_pool, mish

# channels, residual blocks, channels of each half, channels of a block's bottleneck
STAGES = ((64, 1, 64, 32),
          (128, 2, 64, 64),
          (256, 8, 128, 128),
          (512, 8, 256, 256),
          (1024, 4, 512, 512))
BN_MOMENTUM = 0.9


def cspdarknet53(images, is_training, classes=10):
    """Logits [n, classes] of normalised images [n, 32, 32, 3]; is_training is a Python bool."""
    def conv(x, filters, size, strides=1, name=None):
        with tf.variable_scope(name, 'conv'):
            x = conv2d(x, filters, size, strides)
            return mish(batch_norm(x, is_training, BN_MOMENTUM))

    def residual_block(x, bottleneck):
        return x + conv(conv(x, bottleneck, 1), x.shape[-1].value, 3)

    with tf.variable_scope('cspdarknet53', reuse=tf.AUTO_REUSE):
        x = conv(images, 32, 3, name='stem')
        for number, (channels, blocks, half, bottleneck) in enumerate(STAGES, 1):
            with tf.variable_scope('stage%d' % number):
                x = conv(x, channels, 3, strides=2, name='down')
                shortcut = conv(x, half, 1, name='shortcut')
                x = conv(x, half, 1, name='main')
                for block in range(1, blocks + 1):
                    with tf.variable_scope('block%d' % block):
                        x = residual_block(x, bottleneck)
                x = conv(x, half, 1, name='partial_transition')
                x = conv(tf.concat([x, shortcut], -1), channels, 1, name='transition')
        return dense(global_average_pool(x), classes)
