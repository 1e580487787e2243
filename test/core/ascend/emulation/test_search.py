"""The search for what has to stay in float32: its measure and its cuts."""
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from core.ascend import option_files
from core.ascend.diagnostics import step_graph
from core.ascend.emulation import emulation, precision_rules, search


@pytest.mark.parametrize('needed', [{3}, {0}, {7}, {0, 7}, {2, 3, 6}, set(range(8))])
def test_exactly_what_is_needed_is_found_and_in_few_tries(needed):
    tries = []

    def is_enough(some):
        tries.append(some)
        return needed <= set(some)
    assert set(search.fewest(range(8), is_enough)) == needed
    if len(needed) == 1:
        assert len(tries) <= 6


def test_of_two_cures_one_is_found_and_nothing_of_it_can_be_left_out():
    cures = [{1, 5}, {2, 6, 7}]

    def is_enough(some):
        return any(cure <= set(some) for cure in cures)
    found = search.fewest(range(9), is_enough)
    assert is_enough(found)
    assert not any(is_enough(some) for some in itertools.combinations(found, len(found) - 1))


def test_when_the_time_is_up_what_is_enough_so_far_is_left():
    tries = []

    def is_enough(some):
        tries.append(some)
        return {5} <= set(some)
    found = search.fewest(range(16), is_enough, lambda: len(tries) == 3)
    assert found == [4, 5, 6, 7] and search.fewest(range(16), is_enough) == [5]


def step(loss, **gradients):
    return search.Measured(loss, {name: np.asarray(value, np.float32) for name, value in gradients.items()})


def test_the_distance_is_the_largest_relative_one_of_loss_and_gradients():
    true = [step(2., a=[3, 4], b=[1, 0]), step(4., a=[3, 4], b=[1, 0])]
    found = search.distance([step(2., a=[3, 4], b=[1, 0]), step(5., a=[3, 4.5], b=[1, .3])], true)
    assert found == search.Distance(.25, pytest.approx(.3), 'b') and found.largest == found.gradient
    assert search.distance(true, true).largest == 0


def test_a_gradient_that_is_nothing_beside_the_others_counts_as_a_thousandth_of_them():
    true = [step(1., large=[100.], noise=[1e-9])]
    assert search.distance([step(1., large=[100.], noise=[2e-9])], true).gradient == pytest.approx(1e-8)


def test_what_is_not_finite_is_infinitely_far():
    true = [step(1., a=[1.])]
    assert search.distance([step(float('nan'), a=[1.])], true).loss == float('inf')
    assert search.distance([step(1., a=[float('inf')])], true).gradient == float('inf')


def test_rows_of_a_table_that_occur_twice_are_added():
    rows = SimpleNamespace(values=np.array([[1., 1.], [2., 2.], [4., 4.]]), indices=np.array([2, 0, 2]))
    np.testing.assert_array_equal(search.dense(rows, (3, 2)), [[2, 2], [0, 0], [5, 5]])


@pytest.fixture
def keeping():
    with tf.Graph().as_default() as graph:
        with tf.variable_scope('layer'):
            y = tf.square(tf.matmul(tf.placeholder(tf.float32, [4, 3]), tf.get_variable('kernel', [3, 2])), 'square')
        loss = tf.reduce_mean(y)
        gradient, = tf.gradients(loss, tf.trainable_variables())
        ops = step_graph.operators([loss.op, gradient.op])
        rules = precision_rules.rules('allow_mix_precision', '910B', False)
        yield search.Keeping(rules, emulation.emulate(graph, rules), ops)


def test_a_layer_is_its_operators_and_their_gradients(keeping):
    assert keeping.types == ['Square', 'Mul', 'MatMulV2'] and keeping.scopes(['Square', 'MatMulV2']) == ['layer']
    assert [op.name for op in keeping.operators(['MatMulV2'], ['layer'])] == [
        'layer/MatMul', 'gradients/layer/MatMul_grad/MatMul_1']


@pytest.mark.parametrize('enable_hf32, is_rounded', [(None, True), (True, True), (False, False)])
def test_a_convolution_that_is_kept_is_still_rounded_where_the_chip_takes_hf32(enable_hf32, is_rounded):
    with tf.Graph().as_default() as graph:
        y = tf.nn.conv2d(tf.placeholder(tf.float32, [1, 8, 8, 3]), tf.get_variable('kernel', [3, 3, 3, 2]), 1, 'SAME')
        rules = precision_rules.rules('allow_mix_precision', '910B', False, enable_hf32=enable_hf32)
        found = search.Keeping(rules, emulation.emulate(graph, rules), step_graph.operators([y.op]))
    assert found.hf32 == is_rounded


def test_the_files_say_what_the_search_tried(keeping, tmp_path):
    mix, types = tmp_path / 'mix.json', tmp_path / 'types.cfg'
    mix.write_text(search.mixlist(['Square', 'MatMulV2']))
    types.write_text(search.customized(keeping.operators(['MatMulV2'], ['layer'])))
    assert json.loads(mix.read_text()) == option_files.mixlist(str(mix)) == {
        'black-list': {'to-add': ['MatMulV2', 'Square']}}
    from_files = precision_rules.rules('allow_mix_precision', '910B', False, str(mix), str(types))
    assert from_files.colours == keeping.by_types(['Square', 'MatMulV2']).colours
    assert from_files.customized == keeping.by_operators(keeping.operators(['MatMulV2'], ['layer'])).customized
