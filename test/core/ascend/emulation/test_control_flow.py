"""Operators in loops and branches are emulated like all others."""
import numpy as np
import pytest
import tensorflow as tf

from core.ascend.emulation import emulation, precision_rules
from core.ascend.emulation.loss_scale import scaled_optimizer

X = np.random.RandomState(0).normal(size=[4, 3]).astype(np.float32)
W = np.random.RandomState(1).normal(size=[3, 3]).astype(np.float32)


def half(values):
    return np.asarray(values, np.float32).astype(np.float16).astype(np.float32)


def run(build, mode, saturates=True):
    """(what the tensors of build(x, w) are under a mode, what emulate() has done)."""
    with tf.Graph().as_default() as graph:
        x, w = tf.placeholder(tf.float32, X.shape), tf.placeholder(tf.float32, W.shape)
        fetches = build(x, w)
        done = emulation.emulate(graph, precision_rules.rules(mode, '910', saturates)) if mode else None
        with tf.Session() as session:
            return session.run(fetches, {x: X, w: W}), done


def twice(x, w):
    """x @ w @ w by a loop that stops by its values, too, and its gradient by w."""
    def go_on(i, y):
        return tf.logical_and(i < 2, tf.reduce_sum(tf.abs(y)) < 1e4)
    _, y = tf.while_loop(go_on, lambda i, y: (i + 1, tf.matmul(y, w)), [tf.constant(0), x])
    return [y, tf.gradients(tf.reduce_sum(y), w)[0]]


def chosen(x, w):
    """x @ w or x @ -w by a branch, and its gradient by w."""
    y = tf.cond(tf.reduce_sum(x) > -1e9, lambda: tf.matmul(x, w), lambda: tf.matmul(x, -w))
    return [y, tf.gradients(tf.reduce_sum(y), w)[0]]


@pytest.mark.parametrize('saturates', [True, False])
@pytest.mark.parametrize('mode', ['force_fp16', 'allow_mix_precision', 'allow_fp32_to_fp16'])
@pytest.mark.parametrize('build, steps', [(twice, 2), (chosen, 1)])
def test_a_product_in_a_loop_or_a_branch_has_the_bits_of_numpys_float16(build, steps, mode, saturates):
    (y, slope), done = run(build, mode, saturates)
    expected = X
    for _ in range(steps):
        expected = half(half(expected) @ half(W))
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)
    assert (half(slope) == slope).mean() > .3 and np.isfinite(slope).all()
    (plain, plain_slope), _ = run(build, None)
    assert abs(y - plain).max() > 1e-5
    np.testing.assert_allclose(slope, plain_slope, rtol=.02, atol=.02)
    assert done.cube >= 2 * steps - steps and not done.functions


def test_a_gray_operator_in_a_branch_follows_what_came_in():
    def build(x, w):
        y = tf.matmul(x, w)
        return tf.cond(tf.reduce_sum(x) > -1e9, lambda: tf.nn.tanh(y), lambda: y)
    y, done = run(build, 'allow_mix_precision')
    assert (half(y) == y).all()
    assert any(op.type == 'Tanh' and choice.gives for op, choice in done.choices.items())


def test_the_update_under_a_loss_scale_is_that_of_the_mode():
    def change(mode):
        with tf.Graph().as_default() as graph:
            w, x = tf.get_variable('w', initializer=np.zeros(2, np.float32)), tf.placeholder(tf.float32, [2])
            applied = tf.get_variable('applied', [], tf.int64, tf.zeros_initializer(), trainable=False)
            optimizer = scaled_optimizer(tf.train.GradientDescentOptimizer(1e3), 1024.)
            with tf.control_dependencies([optimizer.minimize(tf.reduce_sum(w * x), global_step=applied)]):
                train_op = tf.assign_add(tf.train.get_or_create_global_step(), 1).op
            emulation.emulate(graph, precision_rules.rules(mode, '910', True), train_op)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train_op, {x: [2e-8, 1]})
                return session.run(w).tolist()
    assert change('allow_mix_precision') == pytest.approx([-2e-5, -1e3])
    assert change('force_fp16') == [0., -1e3]          # float16 has no number between 0 and 6e-8


def test_what_runs_in_functions_is_counted_and_left_alone():
    def build(x, w):
        with tf.Graph().as_default():
            pass
        tf.compat.v1.enable_control_flow_v2()
        try:
            return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, tf.matmul(y, w)), [tf.constant(0), x])[1]
        finally:
            tf.compat.v1.disable_control_flow_v2()
    y, done = run(build, 'force_fp16')
    assert {op.type for op in done.functions} <= {'While', 'StatelessWhile'} and done.functions
