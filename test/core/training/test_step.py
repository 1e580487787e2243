"""The training graph, before its first step."""
import numpy as np
import tensorflow as tf
import toy

from core import recipe as recipes
from launchers.devices import CPU
from core.ranks.communicator import Communicator
from core.settings import config, flags
from core.training import step
from nets import layers


def initial_weights(seed, operators_before=0, net=toy.net):
    """{name: value} of the trainable variables of `net`, trained by the toy's recipe, before the first step."""
    recipe = toy.RECIPE._replace(model=toy.classification.classifier(net))
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
