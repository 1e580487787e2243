"""Frozen graphs: they compute what the network does, without variables, batch norms and operators that do nothing."""
import collections

import numpy as np
import pytest
import tensorflow as tf

from core.inference import frozen
from nets import layers


def frozen_and_outputs(net, shape):
    """(nodes by operator, outputs of the graph, outputs of the frozen one) of net(x) with random statistics."""
    random = np.random.RandomState(0)
    batch = random.normal(size=shape).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, shape, 'input')
        y = net(x)
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables('.*(gamma|beta|moving|bias)'):
            variable.load(random.uniform(.5, 1.5, variable.shape.as_list()), session)
        expected = session.run(y, {x: batch})
        graph_def = frozen.freeze(session, y, 'logits')
    with tf.Graph().as_default(), tf.Session() as session:
        output, = tf.import_graph_def(graph_def, return_elements=['logits:0'], name='')
        found = session.run(output, {'input:0': batch})
    return collections.Counter(node.op for node in graph_def.node), expected, found


def plain(x):
    return layers.dense(layers.global_average_pool(layers.batch_norm(layers.conv2d(x, 4, 3), False)), 3)


def with_bias(x):
    return layers.batch_norm(layers.conv2d(x, 4, 3, use_bias=True), False)


def after_a_sum(x):
    y = layers.conv2d(x, 4, 3) + 1
    return layers.batch_norm(y, False) + y


def read_twice(x):
    y = layers.conv2d(x, 4, 3)
    return layers.batch_norm(y, False) + y


def shared_kernel(x):
    with tf.variable_scope('shared', reuse=tf.AUTO_REUSE):
        return layers.batch_norm(layers.conv2d(x, 4, 3, name='c'), False) + layers.conv2d(2 * x, 4, 3, name='c')


@pytest.mark.parametrize('net, products', [
    (plain, 0), (with_bias, 0), (after_a_sum, 1), (read_twice, 1), (shared_kernel, 1)])
def test_a_batch_norm_becomes_part_of_the_convolution_before_it_or_a_product_and_a_sum(net, products):
    operators, expected, found = frozen_and_outputs(net, [2, 6, 6, 3])
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert not any('BatchNorm' in name or 'Variable' in name or 'Identity' in name for name in operators)
    assert operators['Mul'] == products and operators['Placeholder'] == 1


def test_what_depends_on_no_input_is_a_constant_and_identities_leave_nothing_behind():
    def net(x):
        return layers.mish(tf.stop_gradient(x) * (tf.constant([1., 2.]) + tf.get_variable('v', [2])) / tf.constant(3.))
    operators, expected, found = frozen_and_outputs(net, [2, 2])
    assert found == pytest.approx(expected, rel=1e-6)
    assert not set(operators) & {'Identity', 'IdentityN', 'StopGradient'}
    assert operators['Placeholder'] == 1


def test_an_operator_with_several_outputs_keeps_them_apart():
    def net(x):
        first, second = tf.split(x, 2, 1)
        return first - 2 * second + tf.split(tf.constant([[1., 5.]]), 2, 1)[1]
    _, expected, found = frozen_and_outputs(net, [3, 4])
    assert found.tolist() == expected.tolist()


@pytest.mark.slow
def test_a_deep_network_is_frozen():
    def net(x):
        for _ in range(1200):
            x = tf.nn.relu(x)
        return x
    operators, _, _ = frozen_and_outputs(net, [1, 2])
    assert operators['Relu'] == 1200
