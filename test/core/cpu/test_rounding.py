"""The kernel that rounds has the bits of the emulation's own form in TensorFlow's operators, and sees what leaves the
range."""
import numpy as np
import pytest
import tensorflow as tf

from core.ascend.diagnostics import overflow_search
from core.ascend.emulation import emulation, precision_rules
from core.ascend.emulation.loss_scale import scaled_optimizer
from core.cpu import kernels

compiled = pytest.mark.skipif(not kernels.library(), reason='the kernels are not compiled on this machine')
EDGES = [0, 0x80000000, 1, 0x7fffff, 0x800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x7f7fffff]


def values():
    """float32 of every kind: all of float16 and bfloat16, ties and their neighbours, the limits, arbitrary bits."""
    kept = np.concatenate([np.arange(2 ** 16, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32),
                           np.arange(2 ** 16, dtype=np.uint32) << 16])
    ties = [kept + np.uint32(below) for below in (0, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001)]
    limits = np.float32(list(emulation.LARGEST.values())).view(np.uint32)
    near = [limits + np.uint32(step) for step in (0, 1, 2 ** 32 - 1, 0xfff, 0x1000, 0x7fff, 0x8000)]
    arbitrary = np.random.RandomState(0).randint(0, 2 ** 32, 10 ** 5, np.uint64).astype(np.uint32)
    return np.concatenate([np.uint32(EDGES), *ties, *near, arbitrary]).view(np.float32)


@compiled
@pytest.mark.parametrize('saturates', [True, False])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'hf32'])
def test_a_rounded_tensor_has_the_bits_of_tensorflows_operators(dtype, saturates):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None])
        expected = emulation.round_to(x, dtype, saturates)
        with kernels.used(False):
            rounded = emulation.round_to(x, dtype, saturates)
        assert rounded.op.type == 'RoundTo' and expected.op.type != 'RoundTo'
        for x_value in values(), values()[:7], np.float32([]):     # by several threads, by one, none
            one, other = session.run([rounded, expected], {x: x_value})
            np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


def test_tensorflows_sums_round_as_numpys_float16():
    with tf.Graph().as_default(), tf.Session() as session:
        x = values()
        limited = np.where(np.isnan(x), np.copysign(np.float32(0), x), np.clip(x, -65504, 65504))
        rounded = session.run(emulation.round_to(tf.constant(x), 'float16', True))
        np.testing.assert_array_equal(
            rounded.view(np.uint32), limited.astype(np.float16).astype(np.float32).view(np.uint32))


@compiled
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'hf32'])
def test_a_value_beyond_the_range_is_seen_wherever_it_is(dtype):
    largest = np.float32(emulation.LARGEST[dtype])
    beyond = np.nextafter(largest, np.float32(np.inf))
    with tf.Graph().as_default(), tf.Session() as session, kernels.used(False):
        x = tf.placeholder(tf.float32, [None])
        leaves = emulation.round_to(x, dtype, True).op.outputs[1]
        for size in 1, 9, 10 ** 5:
            for value, leaving in (largest, False), (-largest, False), (beyond, True), (-np.inf, True), (np.nan, True):
                for index in 0, size // 2, size - 1:
                    given = np.full(size, .1, np.float32)
                    given[index] = value
                    assert session.run(leaves, {x: given}) == leaving


@compiled
@pytest.mark.parametrize('may_be_largest', [True, False])
def test_a_look_at_a_range_is_that_of_tensorflows_operators(may_be_largest):
    largest = np.float32(65504)
    edges = [0, largest, -largest, np.nextafter(largest, np.float32(0)), np.nextafter(largest, np.float32(np.inf)),
             np.inf, -np.inf, np.nan]
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None])
        expected = overflow_search._all_within(x, largest, may_be_largest)
        with emulation.operators.own_operators({'is_within': kernels.library().is_within}):
            own = overflow_search._all_within(x, largest, may_be_largest)
        assert own.op.type == 'IsWithin' and expected.op.type != 'IsWithin'
        for size in 1, 9, 10 ** 5:
            for value in edges:
                for index in 0, size // 2, size - 1:
                    given = np.full(size, .1, np.float32)
                    given[index] = value
                    assert len(set(session.run([own, expected], {x: given}))) == 1


@compiled
@pytest.mark.parametrize('mode', ['force_fp16', 'allow_mix_precision', 'allow_mix_precision_bf16', 'origin'])
@pytest.mark.parametrize('saturates', [True, False])
def test_an_emulated_training_has_the_same_bits_with_the_kernel(mode, saturates):
    def trained(context):
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            w = tf.get_variable('w', [3, 3, 2, 4], initializer=tf.random_normal_initializer())
            x = tf.constant(np.random.RandomState(0).normal(size=[4, 5, 5, 2]).astype(np.float32))
            loss = tf.reduce_mean(tf.square(tf.sigmoid(tf.nn.conv2d(x, w, 1, 'SAME'))))
            optimizer = scaled_optimizer(tf.train.MomentumOptimizer(.1, .9), True)
            with tf.control_dependencies([optimizer.minimize(loss)]):
                train_op = tf.assign_add(tf.train.get_or_create_global_step(), 1).op
            with context():
                emulation.emulate(graph, precision_rules.rules(mode, '910B', saturates), train_op)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                for _ in range(4):
                    session.run(train_op)
                return session.run(tf.global_variables()), {op.type for op in graph.get_operations()}

    (expected, plain_types), (actual, types) = trained(emulation_alone), trained(rounded_by_kernel)
    assert 'RoundTo' in types - plain_types
    for one, other in zip(expected, actual):
        np.testing.assert_array_equal(one, other)


def emulation_alone():
    """The context of a machine without compiled kernels."""
    return emulation.operators.own_operators({})


def rounded_by_kernel():
    """The context in which the kernel rounds, and TensorFlow's kernels do all else."""
    return emulation.operators.own_operators({'round_to': kernels.library().round_to})
