"""The overflow flag of an emulated chip that saturates: which steps a loss scale skips there."""
import numpy as np
import pytest
import tensorflow as tf

from core.ascend.emulation import emulation, precision_rules
from core.ascend.emulation.loss_scale import scaled_optimizer
from core.ranks.communicator import MeanGradients
from core.run import Communicator

BIG = 6e4                      # of two such numbers the sum, and the product, is beyond float16


def train(batches, scale, mode='force_fp16', saturates=True, ranks=False, rate=1e-3, net=None):
    """[(whether the step was applied, the loss scale after it)] of a step on each batch, an array [2]."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2])
        w = tf.get_variable('w', initializer=np.float32([[.5], [.25]]))
        loss = (net or (lambda x, w: tf.reduce_sum(tf.matmul(x[None, :], w))))(x, w)
        applied = tf.get_variable('applied', [], tf.int64, tf.zeros_initializer(), trainable=False)
        optimizer = tf.train.GradientDescentOptimizer(rate)
        optimizer = scaled_optimizer(MeanGradients(optimizer, Communicator()) if ranks else optimizer, scale)
        update = optimizer.minimize(loss, global_step=applied)
        with tf.control_dependencies([update, loss]):
            train_op = tf.assign_add(tf.train.get_or_create_global_step(), 1).op
        emulation.emulate(graph, precision_rules.rules(mode, '910', saturates), train_op)
        loss_scale, = graph.get_collection('loss_scale')
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            before, found = 0, []
            for batch in batches:
                session.run(train_op, {x: batch})
                now, value = session.run([applied, loss_scale])
                found.append((bool(now - before), float(value)))
                before = now
        return found


@pytest.mark.parametrize('mode', ['force_fp16', 'allow_mix_precision', 'allow_fp32_to_fp16'])
@pytest.mark.parametrize('ranks', [False, True], ids=['one rank', 'ranks'])
def test_a_chip_that_saturates_skips_the_steps_of_one_that_has_inf(mode, ranks):
    batches = [[1, 1], [3e4, 1], [1, 1], [1e3, 1], [1, 2]]

    def small_gradients(x, w):
        return tf.reduce_sum(tf.matmul(tf.matmul(x[None, :], w), [[4.]]))
    for scale in (8., 8192., True):
        saturating, infinite = (train(batches, scale, mode, saturates, ranks, net=small_gradients)
                                for saturates in (True, False))
        assert saturating == infinite
    assert {applied for applied, _ in saturating} == {True, False}


def test_the_flag_is_cleared_before_each_step_and_a_dynamic_scale_falls_with_it():
    found = train([[BIG, BIG]] * 3 + [[1, 1]] * 2, True, 'allow_mix_precision')
    assert [applied for applied, _ in found] == [False] * 3 + [True] * 2
    assert [scale for _, scale in found] == [2 ** 14, 2 ** 13, 2 ** 12, 2 ** 12, 2 ** 12]


def test_an_overflow_of_the_forward_pass_alone_skips_the_step():
    def flat(x, w):
        return tf.reduce_sum(tf.minimum(tf.matmul(x[None, :], w), 10.)) + tf.reduce_sum(w)
    assert [applied for applied, _ in train([[1, 1], [BIG, BIG]], 2., net=flat)] == [True, True]
    assert [applied for applied, _ in train([[1, 1], [BIG * 4, 1]], 2., net=flat)] == [True, False]


def test_a_value_that_is_not_a_number_skips_the_step():
    def root(x, w):
        return tf.reduce_sum(tf.sqrt(x)) + tf.reduce_sum(w * x[:, None])
    assert [applied for applied, _ in train([[1, 1], [-1, 1]], 2., net=root)] == [True, False]


def test_the_update_of_the_weights_does_not_count():
    assert [applied for applied, _ in train([[1, 1]], 2., rate=1e6)] == [True]


def test_without_a_loss_scale_and_on_a_chip_that_has_inf_nothing_is_added():
    def names(saturates, scale):
        with tf.Graph().as_default() as graph:
            w = tf.get_variable('w', initializer=np.float32([[.5], [.25]]))
            loss = tf.reduce_sum(tf.matmul([[1., 2.]], w))
            train_op = scaled_optimizer(tf.train.GradientDescentOptimizer(.1), scale).minimize(loss)
            emulation.emulate(graph, precision_rules.rules('force_fp16', '910', saturates), train_op)
            return [op.name for op in graph.get_operations() if 'overflow_flag' in op.name]
    assert names(True, 2.) and not names(True, False) and not names(False, 2.)
