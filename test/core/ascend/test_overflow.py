"""Steps that overflow on an NPU, in both of its overflow modes: they are skipped, with either kind of loss scale."""
import os

import numpy as np
import pytest
import tensorflow as tf
import toy

from core.errors import InputError
from core.ascend import bridge


@pytest.fixture(params=[False, True], ids=['saturation', 'INF and NaN'])
def mode(request, npu):
    npu.inf_nan = request.param
    return request.param


@pytest.fixture(params=[1, 8])
def ranks(request, monkeypatch):
    monkeypatch.setenv('RANK_SIZE', str(request.param))
    monkeypatch.setenv('JOB_ID', '10087')
    return request.param


def train(loss_scale, ranks, slopes, **options):
    """The weight after each step of loss slope * weight, and how many steps were applied."""
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable('weight', initializer=1.0)
        applied = tf.get_variable('applied', initializer=0, trainable=False)
        slope = tf.placeholder(tf.float32, [])
        optimizer = bridge.distributed_optimizer(tf.train.GradientDescentOptimizer(0.5), loss_scale, ranks, **options)
        step = optimizer.apply_gradients(optimizer.compute_gradients(slope * weight), global_step=applied)
        session.run(tf.global_variables_initializer())
        weights = []
        for value in slopes:
            session.run(step, {slope: value})
            weights.append(session.run(weight))
        return weights, session.run(applied)


@pytest.mark.parametrize('loss_scale', [128., True])
def test_a_step_with_an_infinite_gradient_never_reaches_the_weights(mode, ranks, loss_scale):
    weights, applied = train(loss_scale, ranks, [1., np.inf, np.nan, 1.])
    assert weights == [.5, .5, .5, 0.] and applied == 2


@pytest.mark.parametrize('loss_scale', [128., True])
def test_tailing_optimization_trains_on_one_rank_and_on_many(mode, ranks, loss_scale):
    assert train(loss_scale, ranks, [1.], is_tailing_optimization=True) == ([.5], 1)


def test_a_dynamic_scale_falls_after_two_overflows_in_both_modes(mode, npu):
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable('weight', initializer=1.0)
        step = bridge.distributed_optimizer(tf.train.GradientDescentOptimizer(0.5), True, 1).minimize(weight * np.inf)
        scale, = [v for v in tf.global_variables() if v.op.name.endswith('loss_scale')]
        session.run(tf.global_variables_initializer())
        session.run(step)
        session.run(step)
        assert session.run(scale) == 2 ** 31


def test_an_adapter_that_knows_no_mode_is_asked_for_the_status(npu, monkeypatch):
    from npu_bridge.estimator.npu import npu_plugin
    monkeypatch.delattr(npu_plugin, 'is_inf_nan_enabled')
    train(128., 1, [1.])
    assert 'NPUOptimizer' in [call[0] for call in npu.calls]


@pytest.mark.slow
def test_the_mode_is_set_before_the_graph_is_built(npu, tmp_path):
    assert toy.run('--output_path=%s' % tmp_path, '--train_steps=1', '--npu_sat_mode=1', '--loss_scale=128') == 0
    names = [call[0] for call in npu.calls]
    assert npu.calls[0] == ('set_device_sat_mode', 1) and 'NPUOptimizer' not in names


def test_a_mode_that_the_adapter_cannot_set_is_refused(npu, tmp_path, monkeypatch, capfd):
    from npu_bridge.estimator.npu import npu_plugin
    monkeypatch.delattr(npu_plugin, 'set_device_sat_mode')
    assert toy.run('--output_path=%s' % tmp_path, '--npu_sat_mode=0') == 2
    assert '--npu_sat_mode=0: this npu_bridge has no set_device_sat_mode' in capfd.readouterr().err
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.slow
def test_conditions_around_the_weights_are_left_as_they_are_unless_the_user_asks(npu, tmp_path, monkeypatch):
    monkeypatch.delenv('ENABLE_FORCE_V2_CONTROL', raising=False)
    assert toy.run('--output_path=%s' % tmp_path, '--train_steps=1', '--loss_scale=True') == 0
    assert 'ENABLE_FORCE_V2_CONTROL' not in os.environ


def test_a_library_that_is_missing_is_one_line(npu, monkeypatch):
    monkeypatch.setenv('FAKE_LIBHCOMM', 'missing')
    with pytest.raises(InputError, match=r'npu_bridge is installed but cannot be imported \(load hccl lib error\)'):
        bridge.load('auto')
