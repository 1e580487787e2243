"""Elementwise operators of an emulated step that are computed in one pass have the bits of those that they replace."""
import numpy as np
import pytest
import tensorflow as tf
from both_kernels import AS_BUILT, compiled, numbers

from core import operators
from core.ascend.diagnostics import step_graph
from core.ascend.emulation import emulation, precision_rules
from core.ascend.emulation.loss_scale import scaled_optimizer
from core.cpu import kernels
from core.cpu.kernels import chains
from core.operators import own_operators
from nets import layers, mlp

SHAPE = 7, 4, 150              # more numbers than a block, in rows that fill none
EDGES = np.float32([0, -0., np.nan, -np.nan, np.inf, -np.inf, 1e-40, -1e-40, 7e4, -7e4, 65504, 1e-7, -6e-8, 3e38])


def joined(build):
    """[(a tensor, the chain that has its values)] of what build(x, y, z, vector, scalar) adds to a graph."""
    placeholders = [tf.placeholder(tf.float32, shape) for shape in (SHAPE, SHAPE, SHAPE, SHAPE[-1:], [])]
    with own_operators({name: getattr(kernels.library(), name) for name in ('round_to', 'is_within')}):
        ends = build(*placeholders)
    for op in tf.get_default_graph().get_operations():
        if op.type == 'MatMul':
            op._set_attr('_kernel', kernels._LABEL)
    chains.join(tf.group(*[tf.negative(end, name='used') for end in ends]), kernels.library().chain)
    found = [op for op in tf.get_default_graph().get_operations() if op.type == 'Chain']
    return placeholders, [(operators.of_operator(op.outputs[0]), op) for op in found]


def values():
    random = np.random.RandomState(0)
    for _ in range(3):
        x = random.choice([1e-6, 1., 3e4], SHAPE) * random.randn(*SHAPE)
        x.flat[random.permutation(x.size)[:99]] = random.choice(EDGES, 99)
        yield x.astype(np.float32)
    yield random.randn(SHAPE[-1]).astype(np.float32)
    yield np.float32(.3)


def half(x):
    return emulation.round_to(x, 'float16', True)


def product(x, weights, few, columns, transpose_b=False):
    """The product of [1050 * 4 / few, few] and a matrix of the first weights."""
    size = [columns, few] if transpose_b else [few, columns]
    return tf.matmul(tf.reshape(x, [-1, few]), tf.reshape(weights[:few * columns], size), transpose_b=transpose_b)


@compiled
@pytest.mark.parametrize('build', [
    lambda x, y, z, vector, scalar: [half(half(x) * half(y))],
    lambda x, y, z, vector, scalar: [half(tf.nn.relu(half(tf.nn.bias_add(half(x), vector))))],
    lambda x, y, z, vector, scalar: [half(tf.add_n([half(scalar * x), y, z])) - scalar],
    lambda x, y, z, vector, scalar: [-half(tf.raw_ops.TanhGrad(y=half(x), dy=tf.raw_ops.SigmoidGrad(y=y, dy=z)))],
    lambda x, y, z, vector, scalar: [half(tf.raw_ops.ReluGrad(gradients=half(x), features=y)) + (x - y) * z],
    lambda x, y, z, vector, scalar: [emulation.round_to(half(x) + y, 'bfloat16', False) * z, half(x * y) + half(x * z)],
    lambda x, y, z, vector, scalar: [half(tf.reshape(half(tf.reshape(x, [28, 150]) * scalar), SHAPE) + y)],
    lambda x, y, z, vector, scalar: [half(half(x * tf.reduce_max(y, -1, keepdims=True)) + z)],
    lambda x, y, z, vector, scalar: [half(tf.nn.relu(half(product(half(x), vector, 4, 30))))],
    lambda x, y, z, vector, scalar: [half(tf.nn.relu(half(product(half(x), vector, 2, 50, True)) - scalar))],
    lambda x, y, z, vector, scalar: [half(tf.add_n([
        tf.matmul(half(tf.reshape(of, [-1, 4])), weights, transpose_b=of is y)
        for weights in [tf.reshape(vector[:16], [4, 4])] for of in (x, y)]))],
], ids=['times', 'bias and relu', 'sum', 'slopes', 'relu gradient', 'several types and chains', 'reshaped',
        'a number for each row', 'product', 'product by transposed weights', 'products by a matrix and its transpose'])
@pytest.mark.parametrize('threads', [1, 2])
def test_a_chain_has_the_bits_of_its_operators(build, threads):
    config = tf.ConfigProto()
    config.CopyFrom(AS_BUILT)
    config.intra_op_parallelism_threads, config.use_per_session_threads = threads, True
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        placeholders, pairs = joined(build)
        assert pairs
        for tensor, chain in pairs:
            expected, actual = session.run([tensor, chain.outputs[0]], dict(zip(placeholders, values())))
            np.testing.assert_array_equal(actual, expected)     # -0 is 0: the sign of NaN, which becomes 0, is free
            assert step_graph.before_rounding(chain.outputs[0]) is step_graph.before_rounding(tensor)


@compiled
def test_a_chain_looks_at_what_its_operators_take_and_make():
    library, looks = kernels.library(), []

    def build(x, y, z, vector, scalar):
        product = x * y
        moved = tf.identity(product)
        result = moved + scalar
        looks.extend(library.is_within(tensor, largest=10., may_be_largest=True)
                     for tensor in (x, product, moved, result))
        flags.append(tf.stack(looks))
        return [result]
    flags = []
    with tf.Graph().as_default(), tf.Session(config=AS_BUILT) as session:
        placeholders, ((_, chain),) = joined(build)
        assert {x.op for x in flags[0].op.inputs} == {chain}
        assert flags[0].op.inputs[1] is flags[0].op.inputs[2] and chain.get_attr('m') == 3
        for x, y, scalar, expected in [(1, 1, 1, [1, 1, 1, 1]), (11, .1, 1, [0, 1, 1, 1]), (4, 3, -9, [1, 0, 0, 1]),
                                       (3, 3, 9, [1, 1, 1, 0]), (np.nan, 1, 1, [0, 0, 0, 0])]:
            x = np.where(np.arange(np.prod(SHAPE)) == 2345, x, 0).reshape(SHAPE)
            fed = dict(zip(placeholders, (x, np.full(SHAPE, y), x, np.zeros(SHAPE[-1]), scalar)))
            assert session.run(flags[0], fed).tolist() == [bool(one) for one in expected]


@compiled
@pytest.mark.parametrize('dtype, saturates', [('float16', True), ('float16', False), ('bfloat16', True),
                                              ('hf32', False)])
def test_a_look_before_or_after_a_rounding_finds_what_it_finds_alone(dtype, saturates):
    largest, library, looked, flags = 65504., kernels.library(), [], []

    def build(x, y, z, vector, scalar):
        first = x * scalar
        rounded = emulation.round_to(first, dtype, saturates)
        again = emulation.round_to(rounded, dtype, saturates)
        looked.extend([first, rounded, again])
        for may_be_largest in (True, False):
            flags.extend(library.is_within(tensor, largest=largest, may_be_largest=may_be_largest) for tensor in looked)
        flags[:] = [tf.stack(flags)]
        return [again + y]
    with tf.Graph().as_default(), tf.Session(config=AS_BUILT) as session:
        (x, y, _, _, scalar), ((_, chain),) = joined(build)
        assert {op.op for op in flags[0].op.inputs} == {chain}
        for some in [(value, other) for value in EDGES for other in (0, 65504, np.nan)]:
            numbers_of = np.zeros(SHAPE, np.float32)
            numbers_of.flat[[0, 2345]] = some
            fed = {x: numbers_of, y: numbers_of, scalar: 1.}
            magnitudes = [np.abs(made) for made in session.run(looked, fed)]
            assert session.run(flags[0], fed).tolist() == [
                bool(np.all(made <= largest)) for made in magnitudes] + [
                    bool(np.all(made < largest)) for made in magnitudes]


@compiled
def test_a_look_at_what_has_left_a_chain_is_in_the_chain():
    looks = []

    def build(x, y, z, vector, scalar):
        with tf.control_dependencies([tf.no_op()]):
            moved = tf.identity(x * y + z)
        looks.append(tf.identity(kernels.library().is_within(moved, largest=10., may_be_largest=True)))
        return [moved]
    with tf.Graph().as_default():
        _, (pair, *_) = joined(build)
        assert looks[0].op.inputs[0].op is pair[1]


@compiled
def test_what_others_take_from_the_middle_of_a_chain_is_still_there():
    with tf.Graph().as_default(), tf.Session(config=AS_BUILT) as session:
        x = numbers(*SHAPE)
        middle = -(x + 1.)
        with tf.control_dependencies([middle]):
            waiting = tf.constant(2.)
        last = tf.exp(-(middle + 1.))
        chains.join(tf.group(last, waiting), kernels.library().chain)
        assert [op.type for op in (last.op.inputs[0].op, *waiting.op.control_inputs)] == ['Chain', 'Chain']
        np.testing.assert_array_equal(*session.run([last, tf.exp(-(middle + 1.))]))


def network(x, kind):
    if kind == 'mlp':
        return mlp.mlp(x, True)
    y = layers.conv2d(tf.reshape(x, [4, 8, 8, 2]), 6, 3)
    y = layers.mish(layers.batch_norm(y, True))
    return layers.dense(tf.reshape(y, [64, 24]), 3)


@compiled
@pytest.mark.parametrize('kind', ['mlp', 'convolution'])
@pytest.mark.parametrize('loss_scale', [False, True])
@pytest.mark.parametrize('mode, saturates', [('force_fp16', True), ('force_fp16', False), ('allow_mix_precision', True),
                                             ('allow_mix_precision_bf16', False)])
def test_an_emulated_training_has_the_same_bits_with_chains(mode, saturates, loss_scale, kind):
    def trained(joins):
        rows = 1100 if kind == 'mlp' else 256
        with tf.Graph().as_default() as graph, kernels.used(False):
            tf.set_random_seed(1)
            logits = network(numbers(rows, 2), kind)
            classes = tf.one_hot(tf.range(logits.shape[0].value) % 3, 3)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(classes, logits)) + 1e-3 * tf.add_n(
                [tf.nn.l2_loss(v) for v in tf.trainable_variables()])
            optimizer = scaled_optimizer(tf.train.MomentumOptimizer(.1, .9), loss_scale)
            with tf.control_dependencies([optimizer.minimize(loss), *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]):
                train_op = tf.assign_add(tf.train.get_or_create_global_step(), 1).op
            emulation.emulate(graph, precision_rules.rules(mode, '910B', saturates), train_op)
        if joins:
            chains.join(train_op, kernels.library().chain)
        with tf.Session(graph=graph, config=AS_BUILT) as session:
            session.run([v.initializer for v in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)])
            for _ in range(4):
                session.run(train_op)
            return session.run(graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)), [
                op for op in graph.get_operations() if op.type == 'Chain']

    (expected, none), (actual, some) = trained(False), trained(True)
    assert some and not none
    for one, other in zip(expected, actual):
        np.testing.assert_array_equal(one, other)
