"""Stochastic weight averaging with any network, and the SWA system."""
import os
import re
from types import SimpleNamespace

import numpy as np
import margins
import pytest
import tensorflow as tf
import toy

from core.run import Clock, Report
from core.settings.config import resolve
from core.training import swa
from launchers import command, evaluate, train
from launchers.networks.registry import RECIPES

REPORT = Report(step=800, steps=800, epoch=99, steps_per_epoch=8, batch_size=16384,
                metrics={'loss': .31, 'accuracy': .5}, epoch_metrics={'loss': .30214, 'accuracy': .4},
                learning_rate=1e-3,
                skipped=0, seconds=62., run_seconds=51.2, seconds_per_step=16384 * .6218e-6)


def weights(path, kinds='kernel|bias|gamma|beta'):
    """{variable: value} of a checkpoint, without optimizer slots and running means."""
    reader = tf.train.NewCheckpointReader(str(path))
    names = [name for name in reader.get_variable_to_shape_map() if re.match(r'toy/[^/]*/(%s)$' % kinds, name)]
    assert names
    return {name: reader.get_tensor(name) for name in names}


@pytest.fixture
def averaged(tmp_path, capfd):
    """averaged(flag...) -> (directory of the checkpoints, log) of a run of the toy network."""
    def act(*flags, name='run'):
        output = tmp_path / name
        assert toy.run('--output_path=%s' % output, *flags) == 0
        return output / '0' / 'ckpt', capfd.readouterr().out
    return act


@pytest.mark.parametrize('start, freq, steps', [
    (0, 1, [10, 20, 30, 40, 50]), (1, 1, [20, 30, 40, 50]), (1, 2, [30, 50]), (0, 3, [30])])
def test_the_weights_enter_the_mean_once_at_the_end_of_every_cycle(start, freq, steps):
    clock, entered = Clock(50, 10), []
    averaging = SimpleNamespace(_run=SimpleNamespace(clock=clock), _start=start * 10, _cycle=freq * 10, _enter=None)
    session = SimpleNamespace(run=lambda op: entered.append(clock.step))
    for clock.step in range(1, 51):
        swa.Averaging.update(averaging, session)
    assert entered == steps


@pytest.mark.slow
def test_the_average_is_that_of_the_weights_at_the_ends_of_the_cycles(averaged):
    saved, log = averaged('--train_epochs=5', '--swa_start_epoch=2', '--swa_freq=2')
    ends = [weights(saved / ('model.ckpt-%d' % step)) for step in (30, 50)]
    average = weights(saved / 'swa' / 'model.ckpt-50')
    for name, value in average.items():
        np.testing.assert_allclose(value, (ends[0][name] + ends[1][name]) / 2, rtol=1e-5, atol=1e-7)
    assert re.findall(r'Epoch 0.*', log) == [
        'Epoch 00002: starting stochastic weight averaging',
        'Epoch 00005: final model weights set to stochastic weight average',
        'Epoch 00005: reinitializing batch normalization layers',
        'Epoch 00005: running forward pass to adjust batch normalization']


@pytest.mark.slow
def test_the_batch_norm_statistics_of_the_average_are_those_of_the_training_data(averaged):
    saved, _ = averaged('--train_epochs=3', '--swa_start_epoch=2')
    average = weights(saved / 'swa' / 'model.ckpt-30', '.*')
    data = toy.load(resolve(toy.RECIPE, {'case': 'performance'}, {})).train.x
    hidden = data @ average['toy/dense/kernel'] + average['toy/dense/bias']
    np.testing.assert_allclose(average['toy/batch_norm/moving_mean'], hidden.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_averaging_leaves_the_training_itself_as_it_is(averaged):
    plain, _ = averaged('--train_epochs=3', name='plain')
    with_average, _ = averaged('--train_epochs=3', '--swa_start_epoch=2', name='averaged')
    for name, value in weights(plain / 'model.ckpt-30', '.*').items():
        np.testing.assert_array_equal(weights(with_average / 'model.ckpt-30', '.*')[name], value)


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_average(averaged):
    flags = '--swa_start_epoch=2', '--swa_schedule=cyclic', '--swa_lr=0.001', '--swa_lr2=0.01', '--swa_freq=2'
    averaged('--train_steps=33', *flags)
    resumed, log = averaged('--train_steps=50', '--resume', *flags)
    whole, _ = averaged('--train_steps=50', *flags, name='whole')
    assert 'resumed' in log and 'starting stochastic' not in log
    for name, value in weights(whole / 'swa' / 'model.ckpt-50', '.*').items():
        np.testing.assert_array_equal(weights(resumed / 'swa' / 'model.ckpt-50', '.*')[name], value)


@pytest.mark.slow
def test_a_resumed_run_that_starts_to_average_later_starts_anew(averaged):
    averaged('--train_epochs=2', '--swa_start_epoch=0.5')
    saved, log = averaged('--train_epochs=4', '--swa_start_epoch=0.75', '--resume')
    ends = [weights(saved / ('model.ckpt-%d' % step)) for step in (30, 40)]
    assert 'for the average of 2' in log
    for name, value in weights(saved / 'swa' / 'model.ckpt-40').items():
        np.testing.assert_allclose(value, (ends[0][name] + ends[1][name]) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_the_average_is_a_checkpoint_to_evaluate_and_both_accuracies_are_told(averaged, capfd):
    saved, log = averaged('--train_epochs=3', '--swa_start_epoch=2')
    last, average = re.search('accuracy (.*) for the last iterate, (.*) for the average of 2', log).groups()
    for path, accuracy in ((saved / 'model.ckpt-30', last), (saved / 'swa', average)):
        assert toy.run('--ckpt_path=%s' % path, act=evaluate.act) == 0
        assert 'Top-1: %s' % accuracy in capfd.readouterr().out


@pytest.mark.slow
def test_verbose_0_prints_no_lines_of_the_callback(averaged):
    _, log = averaged('--train_epochs=1', '--swa_start_epoch=1', '--verbose=0')
    assert 'Epoch 0' not in log and 'for the average of 1' in log


def learning_rates(epochs, steps_per_epoch, **given):
    """The learning rate of every step."""
    config = resolve(toy.RECIPE, dict(given, case='performance', learning_rate=.1, train_epochs=epochs), {})
    with tf.Graph().as_default(), tf.Session() as sess:
        step = tf.placeholder(tf.int64, [])
        recipe = swa.scheduled(toy.RECIPE, config, epochs, steps_per_epoch)
        rate = recipe.learning_rate(config, step, epochs * steps_per_epoch)
        return [sess.run(rate, {step: number}) for number in range(epochs * steps_per_epoch)]


def test_the_manual_schedule_is_the_networks_own():
    config = resolve(toy.RECIPE, dict(case='performance', swa_start_epoch=1), {})
    with tf.Graph().as_default(), tf.Session() as sess:
        own = toy.RECIPE._replace(learning_rate=lambda config, step, steps: tf.cast(step, tf.float32) / steps)
        rate = swa.scheduled(own, config, 2, 10).learning_rate(config, tf.constant(15, tf.int64), 20)
        assert sess.run(rate) == pytest.approx(.75)


def test_the_constant_schedule_falls_to_swa_lr_before_the_start_epoch():
    rates = learning_rates(24, 1, swa_start_epoch=21, swa_schedule='constant', swa_lr=.02)
    assert rates[:11] == pytest.approx([.1] * 11)
    assert rates[10:19] == pytest.approx(np.linspace(.1, .02, 9))
    assert rates[18:] == pytest.approx([.02] * 6)


def test_the_cyclic_schedule_falls_from_swa_lr2_to_swa_lr_in_each_cycle():
    rates = learning_rates(7, 2, swa_start_epoch=2, swa_schedule='cyclic', swa_lr=.01, swa_lr2=.05, swa_freq=2)
    assert rates[2:] == pytest.approx([.04, .03, .02, .01] * 3)


def test_a_share_starts_with_the_epoch_in_which_it_is_reached():
    def start(share, epochs):
        return swa.start_epoch(resolve(toy.RECIPE, dict(case='performance', swa_start_epoch=share), {}), epochs) + 1
    assert [start(.75, epochs) for epochs in (100, 10, 1)] == [75, 8, 1]


@pytest.mark.parametrize('flags, words', [
    (['--swa_start_epoch=3'], '--swa_start_epoch=3: beyond the last epoch, 2'),
    (['--swa_start_epoch=3', '--train_steps=20'], '--swa_start_epoch=3: beyond the last epoch, 2'),
    (['--swa_start_epoch=0'], '--swa_start_epoch=0: must be'),
    (['--swa_start_epoch=1.5'], '--swa_start_epoch=1.5: must be'),
    (['--swa_freq=2'], '--swa_freq=2: needs --swa_start_epoch'),
    (['--swa_schedule=constant', '--swa_lr=0.1'], '--swa_schedule=constant: needs --swa_start_epoch'),
    (['--swa_start_epoch=1', '--swa_lr=0.1'], '--swa_lr=0.1: needs --swa_schedule=constant|cyclic'),
    (['--swa_start_epoch=1', '--swa_schedule=constant'], '--swa_schedule=constant: needs --swa_lr'),
    (['--swa_start_epoch=1', '--swa_schedule=cyclic', '--swa_lr=1', '--swa_freq=2'], 'needs --swa_lr2'),
    (['--swa_start_epoch=1', '--swa_schedule=cyclic', '--swa_lr=1', '--swa_lr2=2'], '--swa_freq=1: a cyclic'),
    (['--swa_start_epoch=1', '--swa_schedule=cyclic', '--swa_lr=2', '--swa_lr2=1', '--swa_freq=2'],
     '--swa_lr=2: must not be larger than --swa_lr2=1'),
    (['--swa_start_epoch=1', '--swa_schedule=linear'], '--swa_schedule=linear: must be one of manual'),
])
def test_flags_that_make_no_sense_are_refused_by_name(tmp_path, capfd, flags, words):
    assert toy.run('--output_path=%s' % tmp_path, *flags) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert words in error and not os.listdir(str(tmp_path))


def test_a_cycle_may_stay_at_one_learning_rate():
    flags = dict(swa_start_epoch=1, swa_schedule='cyclic', swa_lr=.02, swa_lr2=.02, swa_freq=2)
    swa.check(resolve(toy.RECIPE, dict(flags, case='performance'), {}))
    assert learning_rates(4, 2, **flags)[2:] == [np.float32(.02)] * 6


@pytest.mark.slow
@pytest.mark.margin
def test_the_blobs_are_learned_and_averaged(tmp_path, capfd):
    flags = ['--network=swa', '--case=performance', '--output_path=%s' % tmp_path, '--train_epochs=8']
    assert command.run(train.act, flags + [margins.SEED_FLAG], {}) == 0
    log = capfd.readouterr().out
    losses = [float(loss) for loss in re.findall(r'^131072/131072 \[=+\] - .*us/sample - loss: (.*)$', log, re.M)]
    assert len(losses) == 8
    margins.below('swa: last loss of the first', losses[-1] / losses[0], .9)
    assert 'Epoch 6/8\nEpoch 00006: starting stochastic weight averaging' in log
    accuracy = re.search('^Test accuracy: (.*)$', log, re.M).group(1)
    margins.above('swa: test accuracy', float(accuracy), .7)
    assert command.run(evaluate.act, flags[:3] + ['--ckpt_path=%s' % (tmp_path / '0' / 'ckpt' / 'swa')], {}) == 0
    assert capfd.readouterr().out.splitlines()[-1] == 'Test accuracy: %s' % accuracy


def test_the_lines_are_the_vendors_and_keep_loss_and_accuracy(capfd):
    lines = RECIPES['swa'].log()
    lines.epoch_start(99, 100)
    lines.epoch(REPORT)
    lines.average({'accuracy': .91234})
    lines.end(REPORT)
    log = capfd.readouterr().out
    assert log.splitlines() == [
        'Epoch 100/100',
        '131072/131072 [==============================] - 0s 1us/sample - loss: 0.3021',
        'Test accuracy: 0.9123',
        'end: seconds_per_step %.6f images_per_second %.4f' % (REPORT.seconds_per_step, REPORT.images_per_second)]
    assert (lines.losses, lines.accuracy) == ([(REPORT.step, '0.3021')], '0.9123')


def test_a_data_path_is_told_to_be_of_no_use(tmp_path, capfd):
    RECIPES['swa'].load(resolve(RECIPES['swa'], {'data_path': str(tmp_path)}, {}))
    assert capfd.readouterr().out.startswith('--data_path=%s is not used' % tmp_path)
