"""The training graph, before its first step."""
import numpy as np
import pytest
import tensorflow as tf
import toy

from core import recipe as recipes
from core.ascend.emulation.overflow_flag import _reached as reached, _users as users
from core.run import Communicator
from launchers.devices import CPU
from core.settings import config, flags
from core.training import step
from nets import layers


def initial_weights(seed, operators_before=0, net=toy.net):
    """{name: value} of the trainable variables of `net`, trained by the toy's recipe, before the first step."""
    recipe = toy.RECIPE._replace(model=toy.heads.classifier(net))
    given = flags.parse(['--network=toy', '--case=performance', '--seed=%d' % seed])
    data, settled = recipes.load(recipe, config.resolve(recipe, given, {}))
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(settled.seed)
        for _ in range(operators_before):
            tf.no_op()
        batch = recipe.train_input(data, settled).batch
        step.build(recipe, settled, CPU, Communicator(), batch, steps=1, steps_per_epoch=1, options={})
        session.run(tf.global_variables_initializer())
        return {v.op.name: session.run(v) for v in tf.trainable_variables()}


def test_initial_weights_follow_from_the_seed_and_are_the_same_whatever_other_operators_the_graph_has():
    weights, others = initial_weights(seed=1), initial_weights(seed=1, operators_before=3)
    assert len(weights) == 6 and sorted(weights) == sorted(others)
    # And in every version, so that a run can be repeated.
    assert weights['toy/dense/kernel'].ravel()[:3] == pytest.approx([.07028419, -.43038148, -.08342082])
    for name in weights:
        np.testing.assert_array_equal(weights[name], others[name])
    assert (initial_weights(seed=2)['toy/dense/kernel'] != weights['toy/dense/kernel']).all()


def test_kernels_of_one_shape_start_from_different_weights():
    def net(x, is_training, dropout):
        del is_training, dropout
        for name in ('first', 'second'):
            x = layers.dense(x, 32, name=name)
        return layers.dense(x, 2)
    weights = initial_weights(seed=1, net=net)
    assert (weights['first/kernel'] != weights['second/kernel']).all()


class Doubling(Communicator):
    """Two ranks, of which the mean of anything is twice what this one has."""
    ranks = 2

    def mean(self, tensors):
        return [2 * tensor for tensor in tensors]


def steps(communicator, count):
    """(losses, means of the epoch so far, {variable: value}) of `count` steps, two of which are an epoch."""
    settled = config.resolve(toy.RECIPE, {'case': 'performance', 'seed': 1}, {})._replace(class_names=('a', 'b'))
    random = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        batch = tf.placeholder(tf.float32, [8, 32]), tf.placeholder(tf.int32, [8])
        built = step.build(toy.RECIPE, settled, CPU, communicator, batch, steps=count, steps_per_epoch=2, options={})
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        losses, means = [], []
        for _ in range(count):
            fed = {batch[0]: random.normal(size=[8, 32]), batch[1]: random.randint(0, 2, [8])}
            loss, mean, applied, _ = session.run(
                [built.loss, built.epoch_metrics['loss'], built.applied_steps, built.train_op], fed)
            losses.append(loss)
            means.append(mean)
        assert applied == session.run(built.global_step) == count
        return losses, means, {v.op.name: session.run(v) for v in built.model_variables}


def test_the_means_of_an_epoch_start_anew_with_its_first_step():
    losses, means, _ = steps(Communicator(), 5)
    assert len(set(losses)) == 5
    assert means == [np.float32(mean) for mean in (
        losses[0], (losses[0] + losses[1]) / 2, losses[2], (losses[2] + losses[3]) / 2, losses[4])]


def test_of_several_ranks_losses_and_statistics_are_the_means_and_weights_are_as_the_optimizer_leaves_them():
    (loss,), _, alone = steps(Communicator(), 1)
    (twice,), _, together = steps(Doubling(), 1)
    assert twice == 2 * loss
    averaged = [name for name in alone if (together[name] == 2 * alone[name]).all() and together[name].any()]
    assert sorted(averaged) == ['toy/batch_norm/moving_mean', 'toy/batch_norm/moving_variance']
    for name in set(alone) - set(averaged):
        np.testing.assert_array_equal(together[name], alone[name])


def test_whatever_reads_a_weight_in_a_step_is_done_before_its_update_or_waits_for_it():
    settled = config.resolve(toy.RECIPE, {'case': 'performance', 'seed': 1}, {})._replace(class_names=('a', 'b'))
    with tf.Graph().as_default() as graph:
        batch = tf.placeholder(tf.float32, [8, 32]), tf.placeholder(tf.int32, [8])
        with CPU.graph(settled, {}):       # which leaves out gradients that an update would have waited for
            built = step.build(toy.RECIPE, settled, CPU, Communicator(), batch, steps=3, steps_per_epoch=3, options={})
    of_step = reached([built.train_op, built.loss.op, *(each.op for each in built.epoch_metrics.values())])
    updates = [op for op in graph.get_operations() if op.type == 'ApplyAdam']
    assert len(updates) == len(built.model_variables) - 2         # batch norm's averages
    for update in updates:
        ordered = reached([update]) | reached([update], users)
        values = reached([update.inputs[0].op], lambda op: [user for user in users(op) if user.type == 'Identity'])
        readers = {user for value in values for user in users(value)} & of_step
        assert readers and readers <= ordered, update.name
