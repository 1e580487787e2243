"""The layers compute what their papers define and share variables between two calls."""
import numpy as np
import pytest
import tensorflow as tf

from core.recipe import BATCH_STATISTICS
from nets import layers


@pytest.fixture
def sess():
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def initialize_and_run(sess, *tensors):
    sess.run(tf.global_variables_initializer())
    return sess.run(tensors)


def mish_by_definition(x):
    gate = np.tanh(np.logaddexp(0, x))
    return x * gate, gate + x * (1 - gate ** 2) / (1 + np.exp(-x))


def test_mish_and_its_gradient_agree_with_the_definition(sess):
    x = tf.constant(np.linspace(-60, 60, 48001), tf.float32)
    y = layers.mish(x)
    x, y, slope = sess.run([x, y, tf.gradients(y, x)[0]])
    expected, expected_slope = mish_by_definition(x.astype(np.float64))
    # TensorFlow computes softplus as log(exp(x) + 1), which loses the last digits of what is near 0.
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=5e-6)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-6, atol=5e-6)


def test_mish_has_the_operators_that_cann_fuses(sess):
    x = tf.placeholder(tf.float32, [4])
    layers.mish(x)
    assert [op.type for op in sess.graph.get_operations()] == ['Placeholder', 'Softplus', 'Tanh', 'Mul']


def test_a_nan_passes_through_mish(sess):
    assert np.isnan(sess.run(layers.mish(tf.constant([np.nan]))))[0]


@pytest.mark.parametrize('shape', [(16, 5, 4, 3), (64, 3)])
def test_batch_norm_normalises_over_all_axes_but_the_last(sess, shape):
    x = np.random.RandomState(0).normal(5, 3, shape).astype(np.float32)
    y, = initialize_and_run(sess, layers.batch_norm(tf.constant(x), True, epsilon=1e-3))
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(
        y, (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-3), rtol=1e-4, atol=1e-4)


def test_batch_norm_tests_on_moving_averages_even_a_single_image(sess):
    x = np.random.RandomState(0).normal(5, 3, [50, 4, 4, 3]).astype(np.float32)
    layers.batch_norm(tf.constant(x), True, name='bn')
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        y = layers.batch_norm(tf.constant(x[:1]), False, epsilon=1e-3, name='bn')
    initialize_and_run(sess, *updates)
    mean = 0.9 * x.mean((0, 1, 2))                       # of a first step: its momentum is 0.1
    variance = 0.1 + 0.9 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(sess.run(y), (x[:1] - mean) / np.sqrt(variance + 1e-3), rtol=1e-4)


@pytest.mark.parametrize('step, momentum', [(0, .1), (8, .5), (889, 890 / 899), (890, .99), (10 ** 6, .99)])
def test_the_momentum_of_batch_norm_warms_up_to_099_with_the_global_step(sess, step, momentum):
    number = tf.train.get_or_create_global_step()
    layers.batch_norm(tf.fill([4, 2], 3.), True, name='bn')
    mean = next(v for v in tf.global_variables() if v.op.name == 'bn/moving_mean')
    initialize_and_run(sess)
    number.load(step, sess)
    sess.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    np.testing.assert_allclose(sess.run(mean), 3 * (1 - momentum), rtol=1e-4)


def test_a_frozen_batch_norm_trains_as_it_tests_and_passes_gradients_on(sess):
    x = tf.constant(np.random.RandomState(0).normal(5, 3, [8, 4, 4, 3]), tf.float32)
    with layers.frozen('^net/bn/'):
        y = {name: layers.batch_norm(x, True, name=name, activation=tf.nn.relu) for name in ('net/bn', 'net/other')}
    initialize_and_run(sess, *tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    moving = [v.op.name for v, _ in tf.get_collection(BATCH_STATISTICS)]
    assert moving == ['net/other/moving_mean', 'net/other/moving_variance']
    frozen, slope, given = sess.run([y['net/bn'], tf.gradients(y['net/bn'], x)[0], x])
    np.testing.assert_allclose(frozen, np.maximum(given, 0) / np.sqrt(1 + 1e-3), rtol=1e-5)
    np.testing.assert_allclose(slope, (given > 0) / np.sqrt(1 + 1e-3), rtol=1e-5)


def test_batch_norm_scale_and_offset_are_learned(sess):
    layers.batch_norm(tf.zeros([2, 3]), True, name='bn')
    assert [v.op.name for v in tf.trainable_variables()] == ['bn/gamma', 'bn/beta']


def test_batch_norm_of_half_precision_keeps_float32_statistics(sess):
    x = 1000 + np.random.RandomState(0).randint(0, 2, [64, 3]) * 8.0
    y, = initialize_and_run(sess, layers.batch_norm(tf.constant(x, tf.float16), True))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-2)


def test_conv2d_slides_its_kernel_and_adds_its_bias(sess):
    x = np.random.RandomState(0).randn(2, 4, 5, 3).astype(np.float32)
    y = layers.conv2d(tf.constant(x), 6, (2, 3), padding='VALID', use_bias=True,
                      bias_initializer=tf.constant_initializer(1.0), name='conv')
    kernel, y = initialize_and_run(sess, tf.trainable_variables()[0], y)
    patches = np.stack([[x[:, i:i + 2, j:j + 3] for j in range(3)] for i in range(3)])
    np.testing.assert_allclose(y, 1 + np.einsum('ijnuvc,uvco->nijo', patches, kernel), atol=1e-5)


def test_dense_is_affine(sess):
    x = np.random.RandomState(0).randn(2, 4).astype(np.float32)
    y = layers.dense(tf.constant(x), 3, bias_initializer=tf.constant_initializer(1.0))
    kernel, y = initialize_and_run(sess, tf.trainable_variables()[0], y)
    np.testing.assert_allclose(y, x.dot(kernel) + 1, atol=1e-6)


def test_global_average_pool_is_the_mean_over_the_image(sess):
    x = np.random.RandomState(0).randn(2, 4, 5, 3).astype(np.float32)
    np.testing.assert_allclose(sess.run(layers.global_average_pool(tf.constant(x))),
                               x.mean((1, 2)), atol=1e-6)


def two_layers(x, is_training):
    with tf.variable_scope('net', reuse=tf.AUTO_REUSE):
        for _ in range(2):
            x = layers.batch_norm(layers.conv2d(x, 4, 3, use_bias=True), is_training)
        return layers.dense(layers.global_average_pool(x), 10)


def test_a_second_call_shares_variables_and_adds_no_updates(sess):
    x = tf.zeros([2, 8, 8, 3])
    two_layers(x, True)
    names = [v.op.name for v in tf.global_variables()]
    updates = len(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    two_layers(x, False)
    assert [v.op.name for v in tf.global_variables()] == names
    assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == updates == 4
    assert {'net/conv2d/kernel', 'net/conv2d_1/kernel', 'net/dense/bias'} <= set(names)


def test_l2_loss_is_over_kernels_only(sess):
    two_layers(tf.zeros([2, 8, 8, 3]), True)
    loss = layers.l2_loss()
    sess.run(tf.global_variables_initializer())
    sess.run([v.assign(tf.ones_like(v)) for v in tf.trainable_variables()])
    assert sess.run(loss) == (3 * 3 * 3 * 4 + 3 * 3 * 4 * 4 + 4 * 10) / 2
