"""The compiled CPU kernels compute what TensorFlow's own do, on every form of input, and stay out of other graphs."""
import functools
import os

import numpy as np
import pytest
import shares
import tensorflow as tf
import toy
from both_kernels import AS_BUILT, assert_same, both, compiled, numbers, with_gradients

import core.operators
from core.cpu import kernels
from core.cpu.device import fast
from launchers.devices import CPU, GPU
from core.ascend.device import NPU
from core.settings import config as settings
from nets import layers, mlp


@compiled
@pytest.mark.parametrize('padding', ['SAME', 'VALID', [[0, 0], [2, 0], [1, 3], [0, 0]]], ids=str)
@pytest.mark.parametrize('strides', [1, 2, 4])
@pytest.mark.parametrize('taps', [1, 2, 3, 5, 11])
def test_a_convolution_and_its_gradients_are_those_of_tensorflow(taps, strides, padding):
    def build():
        results = []
        for height, width in (12, 13), (7, 4), (2, 2), (1, 3), (1, 1):
            rows, columns = {'SAME': (taps, taps), 'VALID': (height, width)}.get(str(padding), (height + 2, width + 4))
            if min(rows, columns) >= taps:
                x, kernel = numbers(3, height, width, 4), numbers(taps, taps, 4, 5, seed=1)
                results += with_gradients(tf.nn.conv2d(x, kernel, strides, padding), [x, kernel])
        return results
    assert_same(build)


@compiled
@pytest.mark.parametrize('padding', ['SAME', 'VALID', [[0, 0], [4, 0], [1, 3], [0, 0]]], ids=str)
@pytest.mark.parametrize('size, taps, strides', [(1, 3, 1), (2, 3, 1), (2, 3, 2), (4, 3, 2), (2, 2, 1), (5, 4, 3)])
def test_a_convolution_of_many_small_images_is_that_of_tensorflow(size, taps, strides, padding):
    def build():
        x, kernel = numbers(16, size, size, 6), numbers(taps, taps, 6, 7, seed=1)
        return with_gradients(tf.nn.conv2d(x, kernel, strides, padding), [x, kernel])
    if padding != 'VALID' or size >= taps:
        assert_same(build)


@compiled
@pytest.mark.parametrize('padding', ['SAME', 'VALID', [[0, 0], [2, 0], [1, 3], [0, 0]]], ids=str)
@pytest.mark.parametrize('size', [(16, 18), (17, 15), (9, 3)], ids=str)
@pytest.mark.parametrize('inputs, outputs', [(16, 16), (16, 32), (64, 48), (256, 288)])
def test_a_convolution_in_fewer_products_and_its_gradients_are_those_of_tensorflow(inputs, outputs, size, padding):
    def build():
        x, kernel = numbers(8, *size, inputs), numbers(3, 3, inputs, outputs, seed=1)
        return with_gradients(tf.nn.conv2d(x, kernel, 1, padding), [x, kernel])
    assert_same(build)


@compiled
def test_a_dilated_convolution_is_that_of_tensorflow():
    def build():
        x, kernel = numbers(2, 9, 9, 3), numbers(3, 3, 3, 4)
        return tf.nn.conv2d(x, kernel, 1, 'SAME', dilations=2)
    assert_same(lambda: [build()])


@compiled
@pytest.mark.parametrize('shape', [(8, 6, 6, 16), (64, 1, 1, 50), (3, 5, 7, 33)])
@pytest.mark.parametrize('is_training', [True, False])
def test_batch_norm_and_its_gradients_are_those_of_tensorflow(shape, is_training):
    def build():
        x = numbers(*shape, scale=3, offset=50)   # far from 0, where a variance can get lost
        gamma, beta, mean, variance = (tf.abs(numbers(shape[-1], seed=i)) + i for i in range(1, 5))
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(
            x, gamma, beta, *(() if is_training else (mean, variance)), is_training=is_training)
        return with_gradients(y, [x, gamma, beta]) + ([batch_mean, batch_variance] if is_training else [])
    assert_same(build)


@compiled
@pytest.mark.parametrize('activation', [tf.nn.relu, functools.partial(tf.nn.leaky_relu, alpha=.1), layers.mish],
                         ids=['relu', 'leaky relu', 'mish'])
@pytest.mark.parametrize('use_bias', [True, False])
@pytest.mark.parametrize('use_shortcut', [True, False])
def test_batch_norm_with_its_activation_and_shortcut_trains_as_those_of_tensorflow(activation, use_bias, use_shortcut):
    def build():
        x, shortcut = numbers(5, 8, 8, 33) + 0, numbers(5, 8, 8, 33, seed=1) + 0 if use_shortcut else None
        x = tf.nn.bias_add(x, tf.get_variable('bias', [33])) if use_bias else x
        y = layers.batch_norm(x, True, activation=activation, shortcut=shortcut)
        gamma, beta = (next(v for v in tf.trainable_variables() if name in v.name) for name in ('gamma', 'beta'))
        sources = [x.op.inputs[0], gamma, beta] + ([shortcut] if use_shortcut else [])
        return with_gradients(y, sources) + tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    assert_same(build)


@compiled
@pytest.mark.parametrize('rows, inputs, classes', [(2, 2, 3), (37, 2, 3), (5000, 1, 4), (300, 9, 5)])
def test_the_perceptron_of_one_operator_trains_as_numpy_does_in_double_precision(rows, inputs, classes):
    random = np.random.RandomState(0)
    x, dy = random.randn(rows, inputs) * 2 + 3, random.randn(rows, classes)
    with tf.Graph().as_default() as graph, kernels.used(True):
        tf.set_random_seed(1)
        y = mlp.mlp(tf.constant(x, tf.float32), True, classes)
        weights = tf.trainable_variables()
        gradients = tf.gradients(y, weights, tf.constant(dy, tf.float32))
        updates = [op.name for op in tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
        averages = [v for v in tf.global_variables() if v not in weights]
        initializer = tf.global_variables_initializer()
    with tf.Session(graph=graph, config=AS_BUILT) as session:
        session.run(initializer)
        kernel, bias, gamma, beta, output_kernel, output_bias = (w.astype(float) for w in session.run(weights))
        found = session.run([y] + gradients)
        session.run(updates)                        # from 0 and 1, by 1 - 1/10
        averaged = session.run(averages)
    hidden = np.maximum(x @ kernel + bias, 0)
    mean, variance = hidden.mean(0), hidden.var(0)
    deviation = np.sqrt(variance + 1e-3)
    normalised = (hidden - mean) / deviation
    at_norm = dy @ output_kernel.T
    of_norm = gamma * at_norm
    at_hidden = (of_norm - of_norm.mean(0) - normalised * (of_norm * normalised).mean(0)) / deviation * (hidden > 0)
    norm, ones = gamma * normalised + beta, np.ones(rows)
    averages_now = [.9 * mean, .1 + .9 * variance * rows / (rows - 1)]
    assert len(found) == 7 and len(averaged) == 2
    for own, (left, right) in zip(found + averaged, [          # sums of products, which float32 adds up in steps
            (np.hstack([norm, np.ones([rows, 1])]), np.vstack([output_kernel, output_bias])), (x.T, at_hidden),
            (ones, at_hidden), (ones, at_norm * normalised), (ones, at_norm), (norm.T, dy), (ones, dy),
            *((1, average) for average in averages_now)]):
        most = np.dot(np.abs(left), np.abs(right)).max()
        np.testing.assert_allclose(own, np.dot(left, right), rtol=0, atol=1e-5 * most)
    assert {op.type for op in graph.get_operations()} >= {'Perceptron', 'PerceptronGrad'}


@compiled
def test_a_perceptron_with_a_frozen_batch_norm_normalises_with_its_averages_as_tensorflow_does():
    def build():
        with layers.frozen('batch_norm'):
            y = mlp.mlp(numbers(37, 2), True)
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        return with_gradients(y, tf.trainable_variables())
    assert_same(build)


@compiled
@pytest.mark.parametrize('function', [
    tf.nn.relu, tf.nn.softplus, lambda x: tf.nn.leaky_relu(x, .1), layers.mish,
    lambda x: tf.nn.lrn(x, 2, 2., 1e-2, .75), lambda x: tf.nn.lrn(x, 3, 1., .1, .5)], ids=[
        'relu', 'softplus', 'leaky relu', 'mish', 'lrn', 'lrn with another exponent'])
def test_an_activation_and_its_gradient_are_those_of_tensorflow(function):
    def build():
        x = tf.concat([numbers(3, 5, 7, 9, scale=3), numbers(3, 5, 7, 9, scale=60)], 0)
        return with_gradients(function(x), [x])
    assert_same(build)


@compiled
def test_softplus_is_right_to_six_digits_for_small_and_large_values():
    sizes = np.logspace(-30, 1.9, 5000).astype(np.float32)
    x = np.concatenate([-sizes, sizes])
    with tf.Graph().as_default(), tf.Session(config=AS_BUILT) as session:
        with kernels.used(False):
            y = tf.nn.softplus(tf.constant(x))
        np.testing.assert_allclose(session.run(y), np.logaddexp(0, x.astype(np.float64)), rtol=1e-6, atol=0)


@compiled
@pytest.mark.parametrize('size, strides, padding', [(2, 2, 'VALID'), (3, 2, 'VALID'), (3, 2, 'SAME'), (3, 1, 'SAME')])
def test_the_first_of_equal_maxima_gets_the_gradient_of_a_pooling(size, strides, padding):
    def build():
        x = tf.round(numbers(2, 9, 7, 5, scale=2))
        return with_gradients(tf.nn.max_pool2d(x, size, strides, padding), [x])
    assert_same(build)


@compiled
@pytest.mark.parametrize('rows, inputs, outputs', [
    (37, 2, 50), (3000, 2, 50), (3000, 50, 3), (2000, 4, 4), (1100, 150, 1), (1100, 3, 64)])
def test_a_dense_layer_and_its_gradients_are_those_of_tensorflow(rows, inputs, outputs):
    def build():
        x, kernel, bias = numbers(rows, inputs), numbers(inputs, outputs, seed=1), numbers(outputs, seed=2)
        return with_gradients(tf.nn.bias_add(tf.matmul(x, kernel), bias), [x, kernel, bias])
    assert_same(build)


@compiled
@pytest.mark.parametrize('classes', [1, 3, 10])
def test_the_cross_entropy_its_gradient_and_the_logarithms_are_those_of_tensorflow(classes):
    def build():
        logits = tf.concat([numbers(9, classes), numbers(9, classes, scale=200)], 0)
        labels = tf.nn.softmax(numbers(18, classes, seed=1))
        losses = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return with_gradients(losses, [logits]) + [tf.nn.log_softmax(logits)]
    assert_same(build)


@compiled
@pytest.mark.parametrize('shape', [(3, 7), (4, 9, 7, 33), (0, 5)], ids=str)
def test_the_gradient_of_a_bias_is_that_of_tensorflow(shape):
    def build():
        x, bias = numbers(*shape), numbers(shape[-1], seed=1)
        return with_gradients(tf.nn.bias_add(x, bias), [x, bias])
    assert_same(build)


@compiled
@pytest.mark.parametrize('dtype', [tf.int32, tf.int64])
@pytest.mark.parametrize('classes', [1, 3, 20])
def test_labels_are_made_of_classes_as_tensorflow_makes_them(classes, dtype):
    def build():
        rows = tf.range(-1, classes + 1, dtype=dtype)         # a class that there is not has no label
        return [tf.one_hot(rows, classes), tf.one_hot(rows, classes, .9, .1)]
    assert_same(build, tolerance=0)


@compiled
@pytest.mark.parametrize('dtype', [tf.int32, tf.int64])
@pytest.mark.parametrize('shape', [(40, 1), (40, 3), (7, 3), (33, 20), (0, 3), (5, 2, 4), (6,)], ids=str)
def test_the_largest_logit_is_that_of_tensorflow(shape, dtype):
    # Equal ones, infinities and what is no number.
    values = [0, 1, 1, 2, -np.inf, np.inf, np.nan, np.finfo(np.float32).min]
    logits = np.random.RandomState(1).choice(values, shape).astype(np.float32)

    def build():
        return [tf.argmax(tf.constant(logits), axis, output_type=dtype) for axis in (-1, len(shape) - 1)]
    assert_same(build, tolerance=0)


@compiled
def test_the_largest_of_another_axis_or_of_whole_numbers_is_left_to_tensorflow():
    with tf.Graph().as_default() as graph, fast():
        for x, axis in [(tf.ones([4, 3]), 0), (tf.ones([4, 3]), tf.placeholder(tf.int32)), (tf.ones([4], tf.int32), 0),
                        (tf.placeholder(tf.float32), -1)]:
            tf.argmax(x, axis)
    largest = [op for op in graph.get_operations() if op.type == 'ArgMax']
    assert [bool(op.node_def.attr['_kernel'].s) for op in largest] == [False] * 3 + [True]


@compiled
@pytest.mark.parametrize('numbers', [[], [5], [2, 7, 2, 0, 2 ** 63 - 1], list(range(99)) * 2,
                                     np.random.RandomState(1).randint(0, 2 ** 63 - 1, 5000),
                                     np.random.RandomState(1).randint(0, 2 ** 40 + 99, 5001)], ids=len)
def test_the_order_of_an_epoch_is_that_of_tensorflows_sorting(numbers):
    numbers = np.array(numbers, np.int64)
    with tf.Graph().as_default(), tf.Session() as session:
        expected, actual = session.run([tf.argsort(numbers, direction='DESCENDING', stable=True),
                                        kernels.library().descending_order(numbers)])
    np.testing.assert_array_equal(actual, expected)


@compiled
@pytest.mark.parametrize('index', [[], [2], [0, 2, 2, 1] * 20], ids=len)
@pytest.mark.parametrize('row', [[], [2], [3], [4, 5]], ids=str)
@pytest.mark.parametrize('dtype', ['float32', 'uint8', 'complex64'])
def test_the_rows_of_a_batch_are_those_that_tensorflow_gathers(dtype, row, index):
    table, index = np.arange(3 * np.prod(row, dtype=int)).reshape([3, *row]).astype(dtype), np.array(index, np.int64)
    with tf.Graph().as_default(), tf.Session() as session:
        taken = kernels.library().taken_rows(table, index)
        assert taken.shape == (len(index), *row)
        np.testing.assert_array_equal(session.run(taken), table[index])


@compiled
@pytest.mark.parametrize('index', [-1, 3])
def test_a_row_that_there_is_not_is_an_error(index):
    with tf.Graph().as_default(), tf.Session() as session:
        taken = kernels.library().taken_rows(np.zeros([3, 2]), np.array([0, index], np.int64))
        with pytest.raises(tf.errors.InvalidArgumentError, match='none of the 3 rows'):
            session.run(taken)


@compiled
def test_a_batch_without_images_has_a_gradient_of_zero():
    def build():
        x, kernel = tf.zeros([0, 4, 4, 3]), numbers(3, 3, 3, 2)
        return with_gradients(tf.nn.conv2d(x, kernel, 1, 'SAME'), [x, kernel])
    assert_same(build)


@compiled
@pytest.mark.parametrize('make', [lambda: tf.train.MomentumOptimizer(.1, .9), lambda: tf.train.AdamOptimizer(.1),
                                  lambda: tf.train.MomentumOptimizer(.1, .9, use_nesterov=True),
                                  lambda: tf.contrib.opt.NadamOptimizer(.1)],
                         ids=['momentum', 'adam', 'nesterov', 'nadam'])
def test_an_optimizer_with_weight_decay_updates_as_tensorflows(make):
    def build():
        weights = tf.get_variable('weights', initializer=numbers(3, 3, 7, 11))
        loss = tf.reduce_sum(weights * numbers(3, 3, 7, 11, seed=1)) + .3 * tf.nn.l2_loss(weights)
        optimizer = make()
        for _ in range(3):
            with tf.control_dependencies([optimizer.minimize(loss)]):
                result = weights.read_value()
                loss = tf.reduce_sum(result * numbers(3, 3, 7, 11, seed=2)) + .3 * tf.nn.l2_loss(result)
        return [result, loss]
    assert_same(build)


@compiled
def test_not_a_number_stays_one():
    def build():
        x = tf.constant([[[[float('nan'), 1, -1, float('inf')]]]])
        return [tf.nn.relu(x), layers.mish(x)]
    for expected, actual in zip(*both(build)):
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


def operators(device):
    """{(type, has a kernel of its own)} of a graph of `device`."""
    config = settings.resolve(toy.RECIPE, {'case': 'performance'}, {})
    with tf.Graph().as_default() as graph, device.graph(config, {}):
        x, kernel = tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1])
        tf.gradients(layers.mish(tf.nn.conv2d(x, kernel, 1, 'SAME')), [x, kernel])
        return {(op.type, '_kernel' in op.node_def.attr) for op in graph.get_operations()}


@pytest.mark.parametrize('device', [GPU, NPU], ids=['gpu', 'npu'])
def test_graphs_of_other_devices_have_tensorflows_operators_and_kernels(device, npu):
    own_gradients = {(kind, False) for kind in ('Conv2D', 'Conv2DBackpropInput', 'Conv2DBackpropFilter', 'Softplus')}
    assert own_gradients <= operators(device)
    assert not any(has_own for _, has_own in operators(device))


def test_without_a_library_a_cpu_trains_on_tensorflows_kernels(monkeypatch):
    monkeypatch.setattr(kernels, 'library', lambda: None)
    assert not any(own for _, own in operators(CPU))
    assert CPU.session_config({}, None).inter_op_parallelism_threads == 0


def test_a_cpus_graph_tells_tensorflow_not_to_search_it_for_what_xla_could_compile():
    config = settings.resolve(toy.RECIPE, {'case': 'performance'}, {})
    with tf.Graph().as_default(), CPU.graph(config, {}):
        variable = tf.get_variable('variable', [])
    assert variable.op.get_attr('_XlaAlreadyClustered')      # at which MarkForCompilationPass ends


@compiled
@pytest.mark.parametrize('file, change', [('cpu', lambda text: 'flags : some other'),
                                          ('sources', lambda text: text.replace('  matmul.cc', '  matmul2.cc')),
                                          ('sources', lambda text: text[:text.rindex('\n', 0, -1) + 1])],
                         ids=['cpu', 'another source', 'a source less'])
def test_a_library_that_was_compiled_for_another_cpu_or_of_other_sources_is_not_loaded(
        tmp_path, monkeypatch, file, change):
    for name in 'cpu', 'sources', 'kernels.so':
        os.symlink(os.path.join(kernels.DIRECTORY, name), str(tmp_path / name))
    monkeypatch.setattr(kernels, 'DIRECTORY', str(tmp_path))
    assert kernels.library.__wrapped__()
    text = (tmp_path / file).read_text()
    (tmp_path / file).unlink()
    (tmp_path / file).write_text(change(text))
    assert kernels.library.__wrapped__() is None


@compiled
@pytest.mark.parametrize('part, kept', [('Conv2D', {'Mish'}), ('Mish', {'Conv2D'}), (shares.HOST, {'Conv2D', 'Mish'}),
                                        (shares.ALL, set())])
def test_a_kernel_that_the_benchmark_leaves_out_is_in_no_graph_and_the_others_are(monkeypatch, part, kept):
    for name in ('_TYPES', 'own_operators', '_join_mish', 'library'):
        monkeypatch.setattr(kernels, name, getattr(kernels, name))
    monkeypatch.setattr(core.operators, '_of_host', list(core.operators._of_host))
    shares.leave_out(part)
    with tf.Graph().as_default() as graph, fast():
        x = layers.conv2d(tf.zeros([2, 8, 8, 3]), 4, 3)
        layers.mish(x)
    assert {'Conv2D', 'Mish'} & set(shares.used(graph)) == kept
