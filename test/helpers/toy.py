"""A network that trains in a second, for the tests of the trainer: `python test/helpers/toy.py --flag=value ...`.

32 features, two classes, batch normalisation and dropout, so that everything a checkpoint must hold is there.
"""
import os
import sys
import types

import numpy as np
import tensorflow as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from core.log import say  # noqa: E402
from core.recipe import Recipe  # noqa: E402
from core.run import Log  # noqa: E402
from nets.blocks import heads, optimizers, schedules  # noqa: E402
from data import pipeline  # noqa: E402
from data.dataset import DataSet, Split  # noqa: E402
from launchers import command, train  # noqa: E402
from launchers import plan as planner  # noqa: E402
from launchers.networks import cifar10  # noqa: E402
from nets import layers  # noqa: E402

TRAIN, TEST, BATCH = 80, 21, 8
STEPS_PER_EPOCH = TRAIN // BATCH


def load(config):
    del config
    random = np.random.RandomState(0)
    y = np.arange(TRAIN + TEST, dtype=np.int32) % 2
    x = (random.normal(size=[TRAIN + TEST, 32]) + y[:, None]).astype(np.float32)
    return DataSet(Split(x[:TRAIN], y[:TRAIN]), Split(x[TRAIN:], y[TRAIN:]), ('zero', 'one'))


def train_input(data, config):
    return pipeline.train_input(data.train, config.batch_size, config.seed, rank=config.rank, ranks=config.ranks)


def test_input(data, config):
    return pipeline.test_input(data.test, config.batch_size, rank=config.rank, ranks=config.ranks)


def net(x, is_training, dropout):
    with tf.variable_scope('toy', reuse=tf.AUTO_REUSE):
        hidden = tf.nn.relu(layers.batch_norm(layers.dense(x, 16), is_training))
        return layers.dense(dropout(hidden, .25), 2)


def plain_net(x, is_training, dropout):
    """The same without noise, its batch norm on frozen statistics: alike however its batch is shared out."""
    del is_training, dropout
    with tf.variable_scope('plain', reuse=tf.AUTO_REUSE):
        return layers.dense(tf.nn.relu(layers.batch_norm(layers.dense(x, 16), False)), 2)


class ToyLog(Log):
    def step(self, report):
        say('step %d loss %.9g mean %.9g' % (report.step, report.metrics['loss'], report.epoch_metrics['loss']))

    def epoch(self, report):
        if report.evaluation:
            say('test accuracy %.9g loss %.9g' % (report.evaluation['accuracy'], report.evaluation['loss']))


RECIPE = Recipe(
    defaults=dict(train_epochs=3, batch_size=BATCH, learning_rate=1e-2, weight_decay=1e-4, display_step=1,
                  val_epoch=1, task='cifar10'),
    cases=dict(full={}, performance=dict(train_epochs=2)),
    load=load, train_input=train_input, test_input=test_input, model=heads.classifier(net),
    learning_rate=schedules.constant, optimizer=optimizers.adam, log=ToyLog, evaluation_lines=cifar10.top_1)

# Two networks as if their files lay in launchers/networks/; their recipes are these modules' RECIPE.
PLAIN = types.SimpleNamespace(__file__=__file__, RECIPE=RECIPE._replace(
    model=heads.classifier(plain_net), optimizer=lambda rate, config: tf.train.MomentumOptimizer(rate, .9)))
sys.modules.update({'launchers.networks.toy': sys.modules[__name__], 'launchers.networks.plain': PLAIN})


def run(*flags, act=train.act, **environ):
    """The exit status of the toy's trainer with these flags."""
    return command.run(act, ('--network=toy', '--case=performance') + flags, environ)


def plan(*flags, **environ):
    """The exit status of the toy's plan with these flags."""
    return planner.main(('--network=toy', '--case=performance') + flags, environ)


if __name__ == '__main__':
    sys.exit(run(*sys.argv[1:], **os.environ))
