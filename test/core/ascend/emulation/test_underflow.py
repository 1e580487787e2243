"""What a narrow type loses of the gradients, counted by the hook and by NumPy."""
import math

import numpy as np
import pytest
import tensorflow as tf

from core.ascend.emulation import emulation, gradients, precision_rules, underflow
from core.ascend.emulation.loss_scale import scaled_optimizer

X = np.random.RandomState(0).normal(size=[64, 8]).astype(np.float32)
SHRINK = 3e-8


def measured(mode, factor=SHRINK, scale=False, rows=False):
    """(Found, gradient by the product in float64) of a dense layer with a gradient of about `factor`."""
    with tf.Graph().as_default() as graph:
        if rows:
            table = tf.get_variable('kernel', initializer=tf.constant(X))
            x = tf.nn.embedding_lookup(table, np.arange(0, 64, 2, np.int32))
            y = tf.matmul(x, tf.constant(np.ones([8, 4], np.float32)))
        else:
            kernel = tf.get_variable('kernel', [8, 4], initializer=tf.ones_initializer())
            y = tf.matmul(tf.constant(X), kernel, name='product')
        weights = np.random.RandomState(1).normal(size=y.shape.as_list()).astype(np.float32) * factor
        loss = tf.reduce_sum(y * tf.constant(weights))
        optimizer = gradients.Watched(scaled_optimizer(tf.train.GradientDescentOptimizer(1.), scale))
        train = optimizer.apply_gradients(optimizer.compute_gradients(loss))
        done = emulation.emulate(graph, precision_rules.rules(mode, '910B', False), train)
        looked_at = underflow.Gradients(loss, done)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return looked_at.found(session.run(looked_at.fetches), scale or 1.), weights, looked_at


def test_the_share_that_becomes_0_is_what_numpy_counts():
    found, weights, looked_at = measured('allow_mix_precision')
    half = weights.astype(np.float16)
    lost = ((half == 0) & (weights != 0)).mean()
    assert .4 < lost < .8 and found.lost['kernel'] >= lost
    assert found.beyond['kernel'] == 0
    dy = [one for one in looked_at.of_variables['kernel'] if one.shape.as_list() == [64, 4]]
    assert len(dy) == 1


def test_the_recommended_scale_saves_them():
    found, *_ = measured('allow_mix_precision')
    assert found.scale > 1 and math.log2(found.scale).is_integer()
    scaled, *_ = measured('allow_mix_precision', scale=found.scale)
    assert scaled.lost['kernel'] <= underflow.ENOUGH and scaled.beyond['kernel'] == 0
    half, *_ = measured('allow_mix_precision', scale=found.scale / 2)
    assert half.lost['kernel'] > underflow.ENOUGH


def test_a_gradient_that_fits_needs_no_scale_and_one_that_does_not_is_counted():
    found, *_ = measured('allow_mix_precision', factor=.1)
    assert found.lost['kernel'] < underflow.ENOUGH and found.scale is None
    found, *_ = measured('allow_mix_precision', factor=.1, scale=2. ** 22)
    assert found.beyond['kernel'] > .1
    assert underflow.lines(found, 3, 2. ** 22, 'float16')[-1].endswith(': try --loss_scale=False')


def test_the_rows_of_a_table_are_looked_at_too():
    found, *_ = measured('allow_mix_precision', factor=1e-9, rows=True)
    assert found.lost['kernel'] > .9


def test_bfloat16_loses_nothing():
    found, *_ = measured('allow_mix_precision_bf16')
    assert found.lost == {'kernel': 0} and found.scale is None


def test_the_shares_at_another_scale_are_those_of_the_shifted_values():
    values = np.abs(np.random.RandomState(0).normal(size=10000).astype(np.float32)) * 1e-7
    exponents = np.bincount(values.view(np.int32) >> 23, minlength=256)
    counts = underflow.Counts(exponents, 0, 0)
    for shift in 0, 1, 5, 10:
        expected = (values * 2. ** shift < 2. ** -25).mean()
        assert counts.lost_at(shift, -25) == pytest.approx(expected)
    assert underflow.recommended([counts], float('nan'), 1., -25, 65504.) is None
    assert underflow.recommended([counts], 1e4, 1., -25, 65504.) is None     # no room
    assert underflow.recommended([counts], 1e-6, 1., -25, 65504.) == 2 ** 8


def test_what_matters_is_told_with_what_to_do():
    found = underflow.Found({'a/kernel': .384, 'b/kernel': .06, 'c': .01}, {'a/kernel': 0}, 1024.)
    assert underflow.lines(found, 7, 1., 'float16') == [
        'Step 7: 38 % of the gradient of a/kernel became 0 in float16 (and of 1 more variables 5 % or more): '
        'try --loss_scale=1024']
    assert 'no loss scale helps' in underflow.lines(found._replace(scale=None), 7, 1., 'float16')[0]
    assert underflow.lines(found._replace(lost={'a/kernel': .01}), 7, 1., 'float16') == []
