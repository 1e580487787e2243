"""Operators that are joined to one have the values of those that they replace, and nobody misses what lies between."""
import functools

import numpy as np
import pytest
import tensorflow as tf
from both_kernels import AS_BUILT, assert_same, both, compiled, numbers, with_gradients

from core.cpu import device as cpu
from core.cpu import kernels
from core.device import cpu_session
from core.inference import frozen
from nets import layers, mlp


LAYERS = {'in fewer products': ((4, 17, 16, 32), 3, 1, 16), 'of two vectors': ((3, 18, 13, 16), 3, 1, 64),
          'strided': ((4, 9, 9, 5), 3, 2, 6), 'of few positions': ((16, 2, 2, 6), 3, 1, 7),
          'of one tap': ((2, 8, 8, 4), 1, 1, 8)}


def inferred(shape, taps, strides, channels, parts, activation, padding='SAME'):
    """A convolution of random numbers and the `parts` behind it."""
    y = tf.nn.conv2d(numbers(*shape), numbers(taps, taps, shape[-1], channels, seed=1), strides, padding)
    if 'bias' in parts:
        y = tf.nn.bias_add(y, numbers(channels, seed=2))
    if 'batch norm' in parts:
        gamma, beta, mean, variance = (tf.abs(numbers(channels, seed=i)) + .5 for i in range(3, 7))
        y, _, _ = tf.nn.fused_batch_norm(y, gamma, beta, mean, variance, is_training=False)
    if 'shortcut' in parts:
        y = numbers(*y.shape.as_list(), seed=7) + y
    return tf.identity(activation(y) if activation else y)


@compiled
@pytest.mark.parametrize('activation', [None, tf.nn.relu, functools.partial(tf.nn.leaky_relu, alpha=.1), layers.mish],
                         ids=['no activation', 'relu', 'leaky relu', 'mish'])
@pytest.mark.parametrize('parts', ['bias', 'batch norm', 'bias, batch norm', 'batch norm, shortcut', 'shortcut'])
def test_a_layer_that_only_infers_is_one_operator_with_the_values_of_tensorflow(parts, activation):
    joined = []

    def build():
        results = [inferred(*layer, parts, activation) for layer in LAYERS.values()]
        results.append(inferred((4, 18, 17, 16), 3, 1, 16, parts, activation, 'VALID'))
        joined.append(results)
        return results
    assert_same(build)
    assert [y.op.inputs[0].op.type for y in joined[1]] == ['ConvolutionActivation'] * 6


@compiled
@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_a_layer_that_only_infers_has_the_same_bits_for_any_number_of_threads(layer):
    with tf.Graph().as_default() as graph, kernels.used(True):
        y = inferred(*layer, 'batch norm, shortcut', layers.mish)
    found = []
    for threads in 1, 2, 3:
        config = tf.ConfigProto()
        config.CopyFrom(AS_BUILT)
        config.intra_op_parallelism_threads, config.use_per_session_threads = threads, True
        with tf.Session(graph=graph, config=config) as session:
            found.append(session.run(y))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@compiled
@pytest.mark.parametrize('activation', [tf.nn.relu, functools.partial(tf.nn.leaky_relu, alpha=.1)],
                         ids=['relu', 'leaky relu'])
@pytest.mark.parametrize('parts', ['bias', 'bias, batch norm', 'shortcut'])
def test_a_layer_of_which_gradients_take_tensors_between_keeps_them(parts, activation):
    def build():
        y = inferred(*LAYERS['in fewer products'], parts, activation)
        kernel = next(op for op in tf.get_default_graph().get_operations() if op.type == 'Conv2D').inputs[1]
        return with_gradients(y, [kernel])
    assert_same(build)


@compiled
def test_a_convolution_in_a_branch_stays_there():
    def build():
        layer = functools.partial(inferred, *LAYERS['strided'], 'bias', tf.nn.relu)
        return [tf.cond(tf.placeholder_with_default(True, []), layer, layer)]
    assert_same(build)


@compiled
@pytest.mark.parametrize('is_exported', [False, True], ids=['live', 'exported'])
def test_a_perceptron_that_only_infers_is_one_operator_with_the_values_of_tensorflow(is_exported):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        mlp.mlp(numbers(5, 2), False)
        averages = [v for v in tf.global_variables() if 'moving' in v.name]
        output = mlp.mlp(tf.placeholder(tf.float32, [None, 2], 'x'), False)
        session.run(tf.global_variables_initializer())
        session.run([v.assign(abs(numbers(50, seed=i)) + .5) for i, v in enumerate(averages)])
        exported = frozen.freeze(session, output, 'logits')

    def build():
        if not is_exported:
            return [tf.identity(mlp.mlp(numbers(5000, 2), False))]
        y, = tf.import_graph_def(exported, {'x': numbers(5000, 2)}, ['logits:0'])
        return [tf.identity(y)]
    assert_same(build)
    with tf.Graph().as_default(), kernels.used(True):
        y, = build()
    assert y.op.inputs[0].op.type == 'Perceptron'


def scored(logits, classes, depth):
    """(losses, 1. where the largest logit is right) as nets/blocks/heads.py has them."""
    losses = tf.nn.softmax_cross_entropy_with_logits_v2(tf.stop_gradient(tf.one_hot(classes, depth)), logits)
    right = tf.equal(tf.argmax(logits, 1, output_type=tf.int32), classes)
    return tf.identity(losses), tf.identity(tf.cast(right, tf.float32))


@compiled
@pytest.mark.parametrize('depth', [1, 3, 10, 100])
def test_the_scores_of_classes_that_nobody_differentiates_are_one_operator_with_the_values_of_tensorflow(depth):
    classes = np.random.RandomState(1).randint(-1, depth + 1, 103).astype(np.int32)   # some are no classes

    def build():
        logits = tf.concat([numbers(50, depth), numbers(50, depth, scale=200), tf.zeros([3, depth])], 0)
        return scored(logits, tf.constant(classes), depth)
    assert_same(build)
    with tf.Graph().as_default(), kernels.used(True):
        losses, right = build()
    assert losses.op.inputs[0].op.type == right.op.inputs[0].op.type == 'ClassScores'


@compiled
def test_the_loss_of_logits_that_are_no_numbers_is_none_and_the_largest_of_the_others_may_be_right():
    def build():
        logits = [[np.nan, 1, 2], [np.nan] * 3, [-np.inf] * 3, [0, np.inf, 1]]
        return scored(tf.constant(logits), tf.constant([2, 0, 0, 1]), 3)
    (expected_losses, expected_right), (losses, right) = both(build)
    np.testing.assert_array_equal(np.isnan(losses), np.isnan(expected_losses))
    np.testing.assert_array_equal(right, expected_right)


@compiled
@pytest.mark.parametrize('on, dtype, is_trained', [(1., tf.int32, True), (.9, tf.int32, False), (1., tf.int64, False)],
                         ids=['with a gradient', 'of smoothed labels', 'of long numbers'])
def test_other_cross_entropies_are_not_joined(on, dtype, is_trained):
    def build():
        logits, classes = numbers(20, 3), tf.cast(numbers(20) * 3, dtype)
        losses = tf.nn.softmax_cross_entropy_with_logits_v2(tf.one_hot(classes, 3, on, 1 - on), logits)
        return with_gradients(losses, [logits]) if is_trained else [tf.identity(losses)]
    assert_same(build)
    with tf.Graph().as_default() as graph, kernels.used(True):
        build()
    assert 'ClassScores' not in {op.type for op in graph.get_operations()}


@compiled
def test_mish_of_an_exported_graph_is_one_operator():
    def build():
        with tf.Graph().as_default() as exported:
            layers.mish(tf.placeholder(tf.float32, [5, 8], name='x')) + tf.constant(1., name='one')
        x = numbers(5, 8) + 0
        y, = tf.import_graph_def(exported.as_graph_def(), {'x': x}, [exported.get_operations()[-1].outputs[0].name])
        return [tf.identity(y)]
    assert_same(build)
    with tf.Graph().as_default(), kernels.used(True):
        y, = build()
    assert y.op.inputs[0].op.inputs[0].op.type == 'Mish'


@compiled
def test_inference_on_a_cpu_keeps_the_kernels_where_tensorflow_would_join_operators():
    with tf.Graph().as_default():
        with cpu.fast() as configure:
            images = tf.placeholder(tf.float32, [2, 6, 6, 3])
            y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, numbers(3, 3, 3, 4), 1, 'SAME'), numbers(4)))
        run = tf.RunMetadata()
        with cpu_session(configure) as session:
            session.run(y, {images: np.ones([2, 6, 6, 3])}, tf.RunOptions(output_partition_graphs=True), run)
    nodes = [node for graph in run.partition_graphs for node in graph.node if 'Conv2D' in node.op]
    assert [(node.op, node.attr['_kernel'].s) for node in nodes] == [('Conv2D', b'fast')]


@compiled
def test_weight_decay_has_no_tensor_of_its_own_in_a_training_graph():
    with tf.Graph().as_default() as graph, kernels.used(True):
        weights = tf.get_variable('weights', initializer=numbers(5))
        loss = tf.reduce_sum(tf.square(weights)) + tf.nn.l2_loss(weights)
        update = tf.train.MomentumOptimizer(.1, .9).minimize(loss)
    gradient = next(op for op in graph.get_operations() if op.type == 'ApplyMomentum').inputs[3]
    assert update is not None and gradient.op.type == 'AddWeightDecay'


@compiled
@pytest.mark.parametrize('use_images', [False, True])
def test_the_gradient_of_the_images_is_computed_where_something_uses_it(use_images):
    with tf.Graph().as_default(), kernels.used(True):
        images, weights = numbers(2, 6, 6, 3), tf.get_variable('weights', initializer=numbers(3, 3, 3, 4))
        loss = tf.nn.l2_loss(tf.nn.conv2d(images, weights, 1, 'SAME'))
        optimizer = tf.train.GradientDescentOptimizer(.1)
        (of_images, _), (of_weights, _) = optimizer.compute_gradients(loss, [images, weights])
        result = tf.group(of_weights + 1., of_images + 1.) if use_images else tf.group(of_weights + 1.)
    needed, new = set(), {result}
    while new:
        needed |= new
        new = {before for op in new for before in [x.op for x in op.inputs] + op.control_inputs} - needed
    types = {op.type for op in needed}
    assert 'Conv2DBackpropFilter' in types and ('Conv2DBackpropInput' in types) == use_images
