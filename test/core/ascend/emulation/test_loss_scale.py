"""Loss scaling off an NPU."""
import numpy as np
import pytest
import tensorflow as tf

from core.ascend.emulation import loss_scale as precision
from core.settings import kinds

OPTIMIZERS = {
    'sgd': lambda: tf.train.GradientDescentOptimizer(0.1),
    'momentum': lambda: tf.train.MomentumOptimizer(0.1, 0.9),
    'nesterov': lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    'adam': lambda: tf.train.AdamOptimizer(0.1),
}


def test_the_flag_is_off_dynamic_or_a_number():
    parse = kinds.loss_scale().parse
    assert parse('True') is True and parse('false') is False
    assert parse('128') == 128 and parse('1') is not True


@pytest.mark.parametrize('text', ['0.5', 'inf', 'on', ''])
def test_any_other_loss_scale_is_refused(text):
    with pytest.raises(ValueError) as refusal:
        kinds.loss_scale().parse(text)
    assert str(refusal.value) == 'must be False, True (dynamic) or a number from 1 to 4294967296 (static)'


def _train(name, scale, slopes):
    """Weight after each step on loss = slope * weight^2, and every other variable at the end."""
    with tf.Graph().as_default():
        weight = tf.get_variable('weight', initializer=1.0)
        applied = tf.get_variable('applied', initializer=0, trainable=False)
        slope = tf.placeholder(tf.float32, [])
        optimizer = precision.scaled_optimizer(OPTIMIZERS[name](), scale)
        gradients = optimizer.compute_gradients(slope * weight * weight)
        step = optimizer.apply_gradients(gradients, global_step=applied)
        weights = []
        with tf.train.SingularMonitoredSession() as session:
            for value in slopes:
                session.run(step, {slope: value})
                weights.append(session.run(weight))
            others = {v.op.name: session.run(v) for v in tf.global_variables()}
    return weights, others


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('scale', [128.0, True])
def test_a_loss_scale_does_not_change_the_training(name, scale):
    slopes = [0.5, 1.0, 0.25, 0.125]
    plain, _ = _train(name, False, slopes)
    scaled, _ = _train(name, scale, slopes)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


@pytest.mark.parametrize('slope', [np.inf, np.nan])
def test_a_static_scale_skips_a_step_whose_gradients_overflow(slope):
    weights, variables = _train('momentum', 128., [0.5, slope, 0.5])
    assert weights[1] == weights[0] and variables['applied'] == 2
    assert weights[2] == _train('momentum', 128., [0.5, 0.5])[0][1]


@pytest.mark.slow
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_a_step_with_an_infinite_gradient_is_skipped_and_halves_the_scale(name):
    weights, variables = _train(name, True, [0.5, np.inf, 0.5])
    assert weights[1] == weights[0]
    assert variables['applied'] == 2
    assert variables['current_loss_scale'] == 2 ** 14
    assert variables['good_steps'] == 1
    undisturbed, others = _train(name, True, [0.5, 0.5])
    assert weights[2] == undisturbed[1]
    slots = set(others) - {'current_loss_scale', 'good_steps'}
    assert {slot: variables[slot] for slot in slots} == {slot: others[slot] for slot in slots}


def test_every_step_is_counted_without_a_loss_scale():
    _, variables = _train('momentum', False, [0.5, 0.5, 0.5])
    assert variables['applied'] == 3
    assert 'current_loss_scale' not in variables


def test_the_scale_is_saved_and_restored_with_a_checkpoint(tmp_path):
    with tf.Graph().as_default():
        weight = tf.get_variable('weight', initializer=1.0)
        overflow = precision.scaled_optimizer(
            tf.train.GradientDescentOptimizer(0.1), True).minimize(weight * np.inf)
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(overflow)
            path = saver.save(session, str(tmp_path / 'model'))
        with tf.Session() as session:
            saver.restore(session, path)
            scale, = [v for v in tf.global_variables() if v.op.name == 'current_loss_scale']
            assert session.run(scale) == 2 ** 14
