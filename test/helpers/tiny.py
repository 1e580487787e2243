"""A classifier of 32x32 images that trains in a second, as if its file lay in launchers/networks/: --network=tiny."""
import sys
import types

import tensorflow as tf
from pictures import write_class_folders

from core.inference import runner
from launchers import command, train
from launchers.networks import cifar10
from nets import layers

BATCH = 8


def tiny(images, is_training, classes=10):
    with tf.variable_scope('tiny', reuse=tf.AUTO_REUSE):
        x = tf.nn.relu(layers.batch_norm(layers.conv2d(images, 8, 5, strides=4, use_bias=True), is_training))
        return layers.dense(tf.reshape(x, [-1, 8 * 8 * 8]), classes)


def other(images, is_training, classes=10):
    """Another network: none of its variables is tiny()'s."""
    with tf.variable_scope('other', reuse=tf.AUTO_REUSE):
        return layers.dense(layers.global_average_pool(images), classes)


DEFAULTS = dict(train_epochs=1, batch_size=BATCH, learning_rate=0.02, momentum=0.9, weight_decay=1e-4)
for name, net in (('tiny', tiny), ('other', other)):
    sys.modules['launchers.networks.' + name] = types.SimpleNamespace(
        __file__=__file__, RECIPE=cifar10.recipe(net, DEFAULTS))


def run(*flags, network='tiny', act=train.act):
    """The exit status of the trainer, or of another command that is made of act(recipe, config)."""
    return command.run(act, ('--network=' + network, '--case=performance') + flags, {})


def train_on_colours(directory):
    """Trains the network, into `directory`, on class folders of three colours until it tells them apart."""
    write_class_folders(directory / 'data', {'red': 20, 'green': 20, 'blue': 20})
    assert run('--output_path=%s' % directory, '--data_path=%s' % (directory / 'data'), '--task=folder',
               '--train_epochs=6') == 0


class InProcess(runner.Runner):
    """A core.inference.runner.FreshRunner that is not fresh, for tests of something else."""

    def __init__(self, form, path, graph, shape):
        super().__init__(form, path, graph)
