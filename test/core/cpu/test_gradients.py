"""The CPU gradient of a convolution equals TensorFlow's own, and is used where it is asked for."""
import contextlib
import itertools

import numpy as np
import pytest
import tensorflow as tf

from core.ascend.emulation import emulation, precision_rules
from core.cpu.gradients import fast_cpu_gradients

SIZES = [(12, 13), (7, 4), (1, 3), (2, 2), (1, 1)]


def both_gradients(x, kernel, strides, padding, **options):
    """[dx, dk] of the same loss by TensorFlow and by fast_cpu_gradients."""
    results = []
    for context in contextlib.nullcontext(), fast_cpu_gradients():
        with context:
            y = tf.nn.conv2d(x, kernel, strides, padding, **options)
            results.append([tf.identity(gradient) for gradient in tf.gradients(tf.sin(y), [x, kernel])])
    return results


def tensors(height, width, taps, dtype=tf.float32, filters=5):
    values = np.random.RandomState(0)
    return (tf.constant(values.randn(3, height, width, 4), dtype),
            tf.constant(values.randn(taps, taps, 4, filters) / taps, dtype))


def assert_close(results, tolerance):
    for expected, actual in zip(*results):
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
        assert actual.shape == expected.shape
        assert error <= tolerance * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize('strides', [1, 2, 4])
@pytest.mark.parametrize('taps', [1, 2, 3, 5, 11])
def test_agrees_with_tensorflow(taps, strides):
    with tf.Graph().as_default(), tf.Session() as sess:
        cases = [(size, padding) for size, padding in itertools.product(SIZES, ['SAME', 'VALID'])
                 if padding == 'SAME' or min(size) >= taps]
        results = sess.run([both_gradients(*tensors(*size, taps=taps), strides, padding)
                            for size, padding in cases])
    for result in results:
        assert_close(result, 1e-5)


def test_agrees_on_maps_too_large_for_the_swapped_convolution():
    with tf.Graph().as_default(), tf.Session() as sess:
        assert_close(sess.run(both_gradients(*tensors(33, 40, 3), 2, 'SAME')), 1e-5)
        assert_close(sess.run(both_gradients(*tensors(33, 40, 3, filters=64), 1, 'SAME')), 1e-5)


@pytest.mark.parametrize('strides', [1, 2])
def test_agrees_in_half_precision(strides):
    with tf.Graph().as_default(), tf.Session() as sess:
        assert_close(sess.run(both_gradients(*tensors(6, 6, 3, tf.float16), strides, 'SAME')), 1e-2)


@pytest.mark.parametrize('strides', [1, 2])
def test_the_batch_may_be_unknown_until_the_run(strides):
    with tf.Graph().as_default(), tf.Session() as sess:
        values, kernel = tensors(6, 6, 3)
        x = tf.placeholder(tf.float32, [None, 6, 6, 4])
        results = both_gradients(x, kernel, strides, 'SAME')
        assert_close(sess.run(results, {x: sess.run(values)}), 1e-5)


@pytest.mark.parametrize('options', [
    dict(strides=1, padding='SAME', dilations=2),
    dict(strides=[1, 2, 1, 1], padding='SAME'),
    dict(strides=1, padding=[[0, 0], [2, 1], [0, 2], [0, 0]]),
    dict(strides=1, padding='SAME', data_format='NCHW')])
def test_what_it_does_not_cover_keeps_tensorflows_gradient(options):
    with tf.Graph().as_default() as graph:
        both_gradients(tf.zeros([3, 4, 8, 4]), tf.zeros([3, 3, 4, 5]), **options)
        types = [op.type for op in graph.get_operations()]
    assert types.count('Conv2DBackpropInput') == types.count('Conv2DBackpropFilter') == 2


def test_only_convolutions_built_inside_the_context_are_changed():
    with tf.Graph().as_default() as graph:
        results = both_gradients(*tensors(8, 8, 3), 1, 'SAME')
        own, fast = [{node.op for node in tf.graph_util.extract_sub_graph(
            graph.as_graph_def(), [gradient.op.name for gradient in gradients]).node} for gradients in results]
    gradients = {'Conv2DBackpropInput', 'Conv2DBackpropFilter'}
    assert own >= gradients and not fast & gradients


@pytest.mark.parametrize('dtype, tolerance', [(tf.float32, 1e-5), (tf.float16, 1e-2)])
def test_the_gradient_of_lrn_agrees(dtype, tolerance):
    values = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as sess:
        x, dy = (tf.constant(5 * values.randn(2, 3, 4, 9), dtype) for _ in range(2))
        results = []
        for context in contextlib.nullcontext(), fast_cpu_gradients():
            with context:
                y = tf.nn.lrn(x, 2, bias=2, alpha=.1, beta=.75)
                results.append(tf.identity(tf.gradients(y, x, dy)[0]))
        assert_close(sess.run(results), tolerance)


def test_what_waits_for_a_gradient_waits_for_its_fast_form():
    with tf.Graph().as_default():
        with fast_cpu_gradients():
            x, kernel = tensors(8, 8, 3)
            dx, dk = tf.gradients(tf.nn.conv2d(x, kernel, 1, 'SAME'), [x, kernel])
            with tf.control_dependencies([dx, dk, x]):
                update = tf.no_op()
    assert sorted(op.type for op in update.control_inputs) == ['Const', 'Conv2D', 'Pad']


def test_an_emulated_gradient_without_kernels_is_a_fast_one_that_is_rounded():
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        with fast_cpu_gradients():
            x, kernel = tensors(8, 8, 3)
            gradient, = tf.gradients(tf.nn.conv2d(x, kernel, 1, 'SAME'), x)
            doubled = 2 * gradient
            emulation.emulate(graph, precision_rules.rules('force_fp16', '910', True))
        nodes = tf.graph_util.extract_sub_graph(graph.as_graph_def(), [doubled.op.name]).node
        assert not {node.op for node in nodes} & {'Conv2DBackpropInput', 'Conv2DBackpropFilter'}
        operand = sess.run(doubled.op.inputs[1])
    assert (operand == operand.astype(np.float16)).all() and operand.any()
