"""The CutMix system: ResNet-20, its recipe and log lines, and --cutmix_alpha elsewhere."""
import re

import numpy as np
import pytest
import tensorflow as tf

from core.run import Report
from core.settings.config import resolve
from data import synthetic
from data.dataset import DataSet, Split, numbered
from launchers import command, evaluate, train
from launchers.networks import cifar10, cutmix, image_sets
from launchers.networks.registry import RECIPES
from nets import resnet
from nets.resnet import resnet20

REPORT = Report(step=50, steps=120, epoch=0, steps_per_epoch=60, batch_size=32,
                metrics={'loss': 2., 'accuracy': .5}, epoch_metrics={'loss': 1.98764, 'accuracy': .321},
                learning_rate=1e-3,
                skipped=0, seconds=2., run_seconds=1.25, seconds_per_step=.02, first_step=0, timed_steps=45)


def small_data():
    """Nine training images and nine for tests."""
    random = np.random.RandomState(0)
    split = Split(random.randint(0, 256, [9, 32, 32, 3]).astype(np.uint8), np.arange(9, dtype=np.int32))
    return DataSet(split, split, numbered(10))


def batches_of(config):
    """(training batch, weights of the test batches) that the recipe's network gets of small_data."""
    with tf.Graph().as_default(), tf.Session() as sess:
        train, test = cifar10.train_input(small_data(), config), cifar10.test_input(small_data(), config)
        train.initialize(sess)
        test.initialize(sess)
        weights = [sess.run(test.batch[-1]).tolist() for _ in range(test.batches)]
        return sess.run(train.batch), weights


def config_of(network, **given):
    return resolve(RECIPES[network], dict(given, case='performance'), {})


@pytest.mark.slow
def test_resnet20_has_the_published_size_and_shares_its_variables():
    with tf.Graph().as_default():
        images = tf.zeros([2, 32, 32, 3])
        logits = resnet20(images, True)
        count = len(tf.global_variables())
        resnet20(images, False)
        assert logits.shape.as_list() == [2, 10] and len(tf.global_variables()) == count
        # Of the Keras example's 273,066 those but the 784 biases of its convolutions.
        biases = 16 + 3 * 2 * (16 + 32 + 64) + 32 + 64
        assert sum(np.prod(v.shape.as_list()) for v in tf.trainable_variables()) == 273066 - biases


@pytest.mark.slow
def test_the_penalty_is_the_sum_of_squares_of_the_convolutions():
    with tf.Graph().as_default(), tf.Session() as sess:
        resnet20(tf.zeros([2, 32, 32, 3]), True)
        sess.run(tf.global_variables_initializer())
        kernels = [v for v in tf.trainable_variables() if v.shape.ndims == 4]
        assert len(kernels) == 21
        assert sess.run(cutmix.penalty()) == pytest.approx(sum((k ** 2).sum() for k in sess.run(kernels)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('network', ['cutmix', 'cspnet'])
def test_cutmix_alpha_mixes_the_training_images_of_any_cifar_network(network):
    (plain, labels), _ = batches_of(config_of(network, batch_size=9, cutmix_alpha=0.))
    (mixed, soft), _ = batches_of(config_of(network, batch_size=9, cutmix_alpha=1.))
    assert sorted(labels.argmax(1)) == list(range(9)) and set(np.unique(labels)) == {0, 1}
    changed = (mixed != plain).any(-1).mean((1, 2))
    assert changed.max() > .1
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(1 - (soft * labels).sum(1), changed, atol=1e-6)


@pytest.mark.slow
def test_a_static_evaluation_leaves_the_partial_batch_out_and_a_dynamic_one_does_not():
    _, dynamic = batches_of(config_of('cutmix', batch_size=4))
    _, static = batches_of(config_of('cutmix', batch_size=4, eval_static=True))
    assert dynamic == [[1] * 4, [1] * 4, [1, 0, 0, 0]] and static == [[1] * 4, [1] * 4]


def test_the_recipe_is_the_vendors():
    config = resolve(RECIPES['cutmix'], {'data_path': 'x'}, {})
    assert (config.train_epochs, config.batch_size, config.learning_rate, config.cutmix_alpha,
            config.weight_decay, config.display_step, config.eval_static) == (15, 32, 1e-3, .25, 1e-4, 50, False)
    cases = [resolve(RECIPES['cutmix'], {'case': case}, {}) for case in ('static_eval', 'dynamic_eval')]
    assert [(case.train_epochs, case.eval_static) for case in cases] == [(5, True), (2, False)]


def test_the_lines_are_the_vendors_and_keep_loss_and_accuracy(capfd):
    lines = RECIPES['cutmix'].log()
    lines.epoch_start(0, 2)
    lines.step(REPORT)
    lines.epoch(REPORT._replace(step=60, evaluation={'loss': 1.5432, 'accuracy': .4567}))
    lines.step(REPORT._replace(step=100, run_seconds=2.25))
    lines.end(REPORT._replace(step=120, seconds_per_step=.0256, timed_steps=115))
    log = capfd.readouterr().out
    assert log.splitlines() == [
        'Epoch 1/2',
        'TimeHistory: 1.25 seconds, 1280.00 examples/second between steps 0 and 50',
        '60/60 - 0s - loss: 1.9876 - accuracy: 0.3210 - val_loss: 1.5432 - val_accuracy: 0.4567',
        'TimeHistory: 1.00 seconds, 1600.00 examples/second between steps 50 and 100',
        'TimeHistory: 2.94 seconds, 1250.00 examples/second between steps 5 and 120']
    assert (lines.losses, lines.accuracy) == ([(60, '1.9876')], '0.4567')


def test_a_run_resumed_in_between_counts_its_windows_from_there(capfd):
    lines = RECIPES['cutmix'].log()
    lines.step(REPORT._replace(first_step=25))
    assert capfd.readouterr().out.endswith('640.00 examples/second between steps 25 and 50\n')


@pytest.mark.slow
def test_a_run_learns_averages_its_weights_and_is_evaluated(tmp_path, capfd, monkeypatch):
    small = image_sets.TASKS['cifar10']._replace(synthesize=lambda: synthetic.cifar10(320, 64))
    monkeypatch.setitem(image_sets.TASKS, 'cifar10', small)
    monkeypatch.setattr(resnet, 'BLOCKS', 1)
    flags = ['--network=cutmix', '--output_path=%s' % tmp_path]
    assert command.run(train.act, flags + ['--case=dynamic_eval', '--swa_start_epoch=2'], {}) == 0
    log = capfd.readouterr().out
    losses = re.findall(r'10/10 - \d+s - loss: (\S+) - accuracy: \S+ - val_loss: \S+ - val_accuracy: (\S+)$', log, re.M)
    assert len(losses) == 2 and float(losses[1][0]) < float(losses[0][0])
    assert [line for line in log.splitlines() if not line.startswith('class ')][-1].startswith('TimeHistory: ')
    flags += ['--case=performance', '--ckpt_path=%s' % (tmp_path / '0' / 'ckpt' / 'swa')]
    assert command.run(evaluate.act, flags, {}) == 0
    average = re.search('(.*) for the average of 1', log).group(1).split()[-1]
    assert re.match(r'val_loss: \S+ - val_accuracy: %s$' % average, capfd.readouterr().out.splitlines()[-1])


def test_a_negative_alpha_is_refused(capfd):
    assert command.run(train.act, ['--network=cutmix', '--case=performance', '--cutmix_alpha=-0.5'], {}) == 2
    assert '--cutmix_alpha=-0.5: must be a number >= 0' in capfd.readouterr().err
