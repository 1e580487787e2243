"""What a graph computes with TensorFlow's own kernels and with the compiled ones of a CPU."""
import contextlib

import numpy as np
import pytest
import tensorflow as tf

from core.cpu import kernels

compiled = pytest.mark.skipif(not kernels.library(), reason='the kernels are not compiled on this machine')
# without constant folding, which would compute the whole test with TensorFlow's kernels; two threads share an operator
AS_BUILT = tf.ConfigProto(intra_op_parallelism_threads=2,
                          graph_options=tf.GraphOptions(optimizer_options=tf.OptimizerOptions(opt_level=-1)))
AS_BUILT.graph_options.rewrite_options.disable_meta_optimizer = True


def numbers(*shape, seed=0, scale=1., offset=0.):
    return tf.constant(np.random.RandomState(seed).randn(*shape) * scale + offset, tf.float32)


def with_gradients(y, inputs):
    """[y and the gradients of its inputs] for a gradient of y that is not the same everywhere."""
    return [y] + tf.gradients(y, inputs, numbers(*y.shape.as_list(), seed=9))


def both(build):
    """What build() -> tensors computes with TensorFlow's kernels and with the compiled ones."""
    results = []
    for context in contextlib.nullcontext(), kernels.used(True):
        with tf.Graph().as_default() as graph, context:
            tf.set_random_seed(1)
            tensors, initializer = build(), tf.global_variables_initializer()
        with tf.Session(graph=graph, config=AS_BUILT) as session:
            session.run(initializer)
            results.append(session.run(tensors))
    return results


def assert_same(build, tolerance=1e-5):
    for expected, actual in zip(*both(build)):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1e-30))
