"""The blocks that a user chooses by a switch: what they make of the learning rate, the optimizer and the labels."""
import os
import re

import numpy as np
import pytest
import tensorflow as tf
import toy
from launching import ROOT

from core.settings import config
from launchers import command, train
from launchers.networks.registry import RECIPES
from nets.blocks import chosen

STEPS = 30


def rates(**given):
    """The learning rate of each step of a run of STEPS of cutmix, in which it is 1."""
    given = dict(given, learning_rate=1.)
    recipe = chosen.recipe(RECIPES['cutmix'], given)
    settled = config.resolve(recipe, dict(given, case='performance'), {})
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        rate = tf.convert_to_tensor(recipe.learning_rate(settled, step, STEPS))
        return np.array([session.run(rate, {step: number}) for number in range(STEPS)])


def test_the_learning_rate_falls_as_asked_and_rises_at_first():
    done = np.arange(STEPS) / STEPS
    np.testing.assert_allclose(rates(learning_rate_decay='cosine'), (1 + np.cos(np.pi * done)) / 2, atol=1e-6)
    np.testing.assert_allclose(rates(learning_rate_decay='linear'), 1 - done, atol=1e-6)
    np.testing.assert_allclose(rates(learning_rate_decay='stepwise'), [1] * 11 + [.1] * 10 + [.01] * 9, rtol=1e-6)
    np.testing.assert_allclose(rates(learning_rate_decay='stepwise', learning_rate_steps=(5, 20)),
                               [1] * 5 + [.1] * 15 + [.01] * 10, rtol=1e-6)
    np.testing.assert_allclose(rates(learning_rate_decay='polynomial', lr_decay_power=.5), (1 - done) ** .5, atol=1e-6)
    np.testing.assert_allclose(rates(learning_rate_decay='polynomial'), (1 - done) ** 2, atol=1e-6)
    np.testing.assert_allclose(rates(warmup=4), [.25, .5, .75] + [1] * 27, rtol=1e-6)
    np.testing.assert_allclose(rates(learning_rate_decay='linear', warmup=4)[:4],
                               [.25, .5 * 29 / 30, .75 * 28 / 30, 27 / 30], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('optimizer', ['momentum', 'nesterov'])
def test_a_network_trains_with_an_optimizer_that_is_not_its_own(optimizer, tmp_path, capfd):
    assert toy.run('--output_path=%s' % tmp_path, '--optimizer=' + optimizer, '--train_epochs=3') == 0
    losses = [float(loss) for loss in re.findall('^step .* mean (.*)', capfd.readouterr().out, re.M)]
    assert losses[-1] < losses[0]


def test_label_smoothing_without_classes_is_refused(capfd):
    path = os.path.join(ROOT, 'docs', 'examples', 'regression.py')
    assert command.run(train.act, ['--network=' + path, '--label_smoothing=0.1', '--case=performance'], {}) == 2
    assert 'no labels to smooth' in capfd.readouterr().err
