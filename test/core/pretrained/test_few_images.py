"""Few photographs are learned better from weights that have seen other photographs than from random ones."""
import json
import sys
import types

import margins
import photographs
import pytest
import tensorflow as tf

from launchers import command, train
from launchers.networks import cifar10
from nets import layers

SEEN = ('brick.png', 'chelsea.png', 'coffee.png', 'coins.png', 'hubble_deep_field.jpg', 'ihc.png', 'page.png',
        'astronaut.png', 'motorcycle_left.png', 'text.png', 'cell.png', 'clock_motion.png')
OTHERS = ('gravel.png', 'grass.png', 'retina.jpg', 'moon.png', 'camera.png', 'rocket.jpg')
FEW, TESTED = 2, 30            # images of each of the others, in training and in the test


def net(images, is_training, classes=10):
    with tf.variable_scope('textures', reuse=tf.AUTO_REUSE):
        x = images
        for channels, size, strides in ((16, 5, 2), (32, 3, 1), (64, 3, 2)):
            x = tf.nn.relu(layers.batch_norm(layers.conv2d(x, channels, size, strides), is_training))
        return layers.dense(layers.global_average_pool(x), classes)


RECIPE = cifar10.recipe(net, dict(train_epochs=1, batch_size=12, learning_rate=.1, momentum=.9, weight_decay=1e-4))
sys.modules['launchers.networks.textures'] = types.SimpleNamespace(__file__=__file__, RECIPE=RECIPE)


def accuracies(directory, seed):
    """The accuracy on the test images of the OTHERS: (from random weights, from those of the photographs SEEN)."""
    photographs.write_textures(directory / 'seen', SEEN, 150, 1, seed)
    photographs.write_textures(directory / 'others', OTHERS, FEW, TESTED, seed + 100)

    def run(name, data, steps, *flags):
        assert command.run(train.act, (
            '--network=textures', '--case=performance', '--task=folder', '--seed=%d' % seed,
            '--data_path=%s' % (directory / data), '--output_path=%s' % (directory / name),
            '--train_steps=%d' % steps, '--val_epoch=1000', *flags), {}) == 0
        return json.loads((directory / name / '0' / 'metrics.json').read_text())['test']['accuracy']
    run('weights', 'seen', 1000, '--batch_size=32', '--learning_rate=0.05', '--learning_rate_decay=cosine')
    few = 'others', 8, '--learning_rate=0.1'
    start = '--ckpt_path=%s' % (directory / 'weights' / '0' / 'ckpt'), '--finetune'
    return run('random', *few), run('tuned', *few, *start)


@pytest.mark.slow
@pytest.mark.margin
def test_few_photographs_are_learned_better_from_the_weights_of_other_photographs_than_from_random_ones(tmp_path):
    from_random, from_weights = accuracies(tmp_path, margins.SEED)
    margins.above('few photographs: accuracy from weights less that from none', from_weights - from_random, 0)
