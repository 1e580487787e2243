"""What the search says of an operator, without a run: which unit overflowed, and which operator updates a variable."""
from types import SimpleNamespace

import pytest
import tensorflow as tf

from core.ascend.diagnostics import overflow_search, step_graph
from core.ascend.diagnostics.overflow_files import CUBE_ACCUMULATION, FLOATING_POINT, TO_FLOAT16
from core.ascend.emulation import emulation


def test_an_overflow_is_the_cubes_one_of_a_narrow_value_or_one_of_float32():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2, 2])
        product, narrow, wide = tf.matmul(x, x), tf.nn.relu(x), tf.nn.relu(x)
        kept, other = (tf.get_variable(name, [2, 2], use_resource=False) for name in 'ab')
        updates = [tf.assign_add(variable, x).op for variable in (kept, other)]
        done = SimpleNamespace(types={step_graph.updated(updates[0]): tf.float16}, limits={narrow: 65504.})
        status = [overflow_search.OverflowSearch._status(SimpleNamespace(_done=done), op)
                  for op in (product.op, narrow.op, wide.op, *updates)]
    assert status == [CUBE_ACCUMULATION, TO_FLOAT16, FLOATING_POINT, TO_FLOAT16, FLOATING_POINT]


def test_of_several_operators_that_write_a_variable_the_optimizers_updates_it():
    with tf.Graph().as_default() as graph:
        trained, counted = (tf.get_variable(name, [], use_resource=False) for name in ('trained', 'counted'))
        tf.train.GradientDescentOptimizer(1.).apply_gradients([(tf.constant(1.), trained)])
        first, _ = (tf.assign_add(variable, 1.).op for variable in (counted, counted))
        tf.assign(trained, 0.)
        ops = [op for op in graph.get_operations() if not op.name.endswith('/Assign')]
        found = overflow_search._updates(ops)
    assert {variable.name: op.type for variable, op in found.items()} == dict(
        trained='ApplyGradientDescent', counted='AssignAdd')
    assert found[counted.op] is first


@pytest.mark.parametrize('in_branch', [False, True])
@pytest.mark.parametrize('use_resource', [False, True])
def test_the_state_before_a_step_is_fetched_in_the_run_of_the_step(use_resource, in_branch):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable('slow_to_copy', [2 ** 22], initializer=tf.zeros_initializer(), use_resource=use_resource)
        count = tf.get_variable('count', [1], initializer=tf.zeros_initializer(), use_resource=use_resource)
        step = (tf.cond(count[0] < 9, lambda: count.assign_add([1.]), lambda: count + 0.) if in_branch
                else count.assign_add([1.])).op
        before = step_graph.Replay(None).state_before(step_graph.operators([step]))
        session.run(tf.global_variables_initializer())
        assert [session.run([before, step])[0][0][-1] for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize('saturates', [True, False])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'hf32'])
def test_an_operand_is_known_behind_its_rounding_by_tensorflows_operators(dtype, saturates):
    with tf.Graph().as_default():
        made = tf.exp(tf.placeholder(tf.float32, [3]))
        user = tf.sqrt(emulation.round_to(made, dtype, saturates)).op
    assert overflow_search._sources(user, {made.op}) == {made.op}
