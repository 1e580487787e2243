"""The exponential moving average of the weights at the end of a run, and what stands between gradients and weights."""
import re

import numpy as np
import pytest
import tensorflow as tf
import toy

from launchers import evaluate

FLAGS = ('--optimizer=lamb', '--clip_norm=0.5', '--accumulate_steps=2', '--ema_decay=0.5', '--loss_scale=True')


def variables(path):
    reader = tf.train.NewCheckpointReader(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
def test_a_run_that_was_stopped_between_two_updates_ends_bit_for_bit_and_its_average_is_evaluated(tmp_path, capfd):
    for output, steps in ('whole', 9), ('stopped', 5), ('stopped', 9):
        resume = ['--resume'] if steps == 9 and output == 'stopped' else []
        assert toy.run('--output_path=%s' % (tmp_path / output), '--train_steps=%d' % steps, *FLAGS, *resume) == 0
    whole, resumed = (tmp_path / output / '0' / 'ckpt' for output in ('whole', 'stopped'))
    for path in 'model.ckpt-9', 'ema/model.ckpt-9':
        one, other = variables(whole / path), variables(resumed / path)
        assert set(one) == set(other) and len(one) > 10
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    last, average = variables(whole / 'model.ckpt-9'), variables(whole / 'ema' / 'model.ckpt-9')
    assert last['accumulated/count'] == 1 and last['accumulated/toy/dense/kernel'].any()
    for name in 'toy/dense/kernel', 'toy/dense_1/bias':
        np.testing.assert_array_equal(average[name], last[name + '/ExponentialMovingAverage'])
        assert (average[name] != last[name]).any()
    found = re.findall('exponential moving average: accuracy .* (.*) for the average of 9', capfd.readouterr().out)
    assert toy.run('--ckpt_path=%s' % (whole / 'ema'), act=evaluate.act) == 0
    assert 'Top-1: %s' % found[0] in capfd.readouterr().out


@pytest.mark.slow
def test_the_average_without_any_other_switch_is_the_sum_that_its_paper_has(tmp_path):
    assert toy.run('--output_path=%s' % tmp_path, '--train_steps=3', '--save_steps=1', '--ema_decay=0.75') == 0
    before, after, final = (variables(tmp_path / '0' / 'ckpt' / path) for path in (
        'model.ckpt-2', 'model.ckpt-3', 'ema/model.ckpt-3'))
    for name in 'toy/dense/kernel', 'toy/dense_1/bias':
        average = name + '/ExponentialMovingAverage'
        np.testing.assert_allclose(after[average], .75 * before[average] + .25 * after[name], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(final[name], after[average])


def test_a_run_makes_one_average(capfd):
    assert toy.run('--ema_decay=0.9', '--swa_start_epoch=1') == 2
    assert 'not together with stochastic weight averaging' in capfd.readouterr().err
