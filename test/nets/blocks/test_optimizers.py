"""The optimizers and what stands before and behind them, against NumPy: a regression of a few steps."""
import numpy as np
import pytest
import tensorflow as tf

from core.errors import InputError
from core.settings import config
from launchers.devices import CPU
from launchers.networks.registry import RECIPES
from nets.blocks import chosen

ROWS, RATE, STEPS = 6, .1, 5
RANDOM = np.random.RandomState(0)
X, Y = RANDOM.normal(size=[STEPS, ROWS, 3]), RANDOM.normal(size=[STEPS, ROWS, 2])
START = RANDOM.normal(size=[3, 2]), RANDOM.normal(size=[2])


def settled(**given):
    """(Recipe, Config) of swa with these flags."""
    given = dict(dict(given, learning_rate=RATE))
    recipe = chosen.recipe(RECIPES['swa'], given)
    return recipe, config.resolve(recipe, given, {})


def trained(x=X, y=Y, **given):
    """[(w, b) after each step], and the graph's variables by name, of the regression of y[step] on x[step]."""
    recipe, ours = settled(**given)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = [tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 2])]
        w, b = (tf.get_variable(name, initializer=tf.constant(value, tf.float32)) for name, value in zip('wb', START))
        loss = tf.reduce_mean(tf.reduce_sum(tf.square(tf.matmul(fed[0], w) + b - fed[1]), 1))
        optimizer = CPU.optimizer(recipe.optimizer(tf.constant(RATE), ours), ours, {})
        applied = tf.get_variable('applied', [], tf.int64, tf.zeros_initializer(), trainable=False)
        train_op = optimizer.apply_gradients(optimizer.compute_gradients(loss, [w, b]), global_step=applied)
        session.run(tf.global_variables_initializer())
        after = []
        for rows in zip(x, y):
            session.run(train_op, dict(zip(fed, rows)))
            after.append(session.run([w, b]))
        return after, {v.op.name: session.run(v) for v in tf.global_variables()}


def gradients(weights, x, y):
    errors = x @ weights[0] + weights[1] - y
    return [2 * x.T @ errors / len(x), 2 * errors.sum(0) / len(x)]


def expected(update, x=X, y=Y):
    """[(w, b) after each step]: update(number of the step from 1, index, weight, gradient, state) -> new weight."""
    weights, states, after = list(START), [{}, {}], []
    for number, rows in enumerate(zip(x, y), 1):
        grads = gradients(weights, *rows)
        weights = [update(number, *each) for each in zip(weights, grads, states)]
        after.append(weights)
    return after


def of_adam(number, gradient, state, epsilon):
    state['m'] = .9 * state.get('m', 0) + .1 * gradient
    state['v'] = .999 * state.get('v', 0) + .001 * gradient ** 2
    return state['m'] / (1 - .9 ** number), np.sqrt(state['v'] / (1 - .999 ** number)) + epsilon


def momentum(number, weight, gradient, state):
    state['a'] = .9 * state.get('a', 0) + gradient
    return weight - RATE * state['a']


def nesterov(number, weight, gradient, state):
    momentum(number, weight, gradient, state)
    return weight - RATE * (gradient + .9 * state['a'])


def adamw(number, weight, gradient, state):
    mean, root = of_adam(number, gradient, state, 1e-7)
    return weight * (1 - RATE * .04 * (weight.ndim > 1)) - RATE * mean / root


def lamb(number, weight, gradient, state):
    mean, root = of_adam(number, gradient, state, 1e-6)
    if weight.ndim == 1:
        return weight - RATE * mean / root
    step = mean / root + .04 * weight
    return weight - RATE * np.linalg.norm(weight) / np.linalg.norm(step) * step


def lars(number, weight, gradient, state):
    if weight.ndim > 1:
        length = np.linalg.norm(weight)
        trust = .001 * length / (np.linalg.norm(gradient) + .04 * length)
        gradient = trust * (gradient + .04 * weight)
    return momentum(number, weight, gradient, state)


def ftrl(number, weight, gradient, state):
    squares = state.get('n', .1)
    state['n'] = squares + gradient ** 2
    state['z'] = state.get('z', 0) + gradient - (np.sqrt(state['n']) - np.sqrt(squares)) / RATE * weight
    return -RATE * state['z'] / np.sqrt(state['n'])


@pytest.mark.parametrize('update', [momentum, nesterov, adamw, lamb, lars, ftrl])
def test_an_optimizer_updates_as_numpy_does(update):
    found, _ = trained(optimizer=update.__name__, weight_decay=.04, momentum=.9)
    for ours, theirs in zip(found, expected(update)):
        for one, other in zip(ours, theirs):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('optimizer', ['momentum', 'adam', 'lamb'])
def test_accumulated_steps_are_one_step_of_a_batch_of_their_size(optimizer):
    x, y = RANDOM.normal(size=[6, ROWS, 3]), RANDOM.normal(size=[6, ROWS, 2])
    small, _ = trained(x, y, optimizer=optimizer, accumulate_steps=3, clip_norm=1.)
    large, _ = trained(x.reshape(2, -1, 3), y.reshape(2, -1, 2), optimizer=optimizer, clip_norm=1.)
    for number, weights in enumerate(small, 1):
        for one, other in zip(weights, (START, *large)[number // 3]):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        if number % 3:
            assert (weights[0] == small[number - 2][0]).all() if number > 1 else True


@pytest.mark.parametrize('loss_scale', [False, True])
def test_gradients_are_clipped_to_the_norm_of_all_together(loss_scale):
    found, _ = trained(X[:1], Y[:1], optimizer='momentum', momentum=0., clip_norm=.5, loss_scale=loss_scale)
    grads = gradients(START, X[0], Y[0])
    length = np.sqrt(sum((g ** 2).sum() for g in grads))
    assert length > .5
    for weight, start, gradient in zip(found[0], START, grads):
        np.testing.assert_allclose(weight, start - RATE * gradient * .5 / length, rtol=1e-5)


@pytest.mark.parametrize('loss_scale', [False, True])
def test_the_average_of_the_weights_is_exponential_and_starts_from_the_first_ones(loss_scale):
    found, variables = trained(optimizer='nesterov', ema_decay=.7, loss_scale=loss_scale)
    for index, name in enumerate('wb'):
        average = START[index]
        for weights in found:
            average = .7 * average + .3 * weights[index]
        np.testing.assert_allclose(variables[name + '/ExponentialMovingAverage'], average, rtol=1e-5)


def test_a_skipped_step_neither_accumulates_nor_averages():
    x = X.copy()
    x[2] = np.inf
    found, variables = trained(x, optimizer='momentum', loss_scale=True, ema_decay=.7, accumulate_steps=2)
    kept = [0, 1, 3, 4]
    alone, others = trained(X[kept], Y[kept], optimizer='momentum', ema_decay=.7, accumulate_steps=2)
    for name in 'w', 'b', 'w/ExponentialMovingAverage', 'accumulated/b':
        np.testing.assert_allclose(variables[name], others[name], rtol=1e-5, atol=1e-6)
    assert variables['applied'] == others['applied'] == 4


def test_without_a_switch_nothing_stands_around_an_optimizer():
    _, ours = settled(optimizer='momentum')
    sgd = tf.train.GradientDescentOptimizer(RATE)
    assert ours.accumulate_steps == 1 and chosen.around(sgd, ours) is sgd
    assert chosen.around(sgd, ours._replace(accumulate_steps=2)) is not sgd


@pytest.mark.parametrize('names, words', [('^x$', 'freezes none of the variables of this network, such as w'),
                                          ('.', 'freezes all of the variables of this network, such as w')])
def test_a_pattern_that_freezes_nothing_or_everything_is_refused(names, words):
    with pytest.raises(InputError) as caught:
        trained(optimizer='momentum', freeze=names)
    assert str(caught.value) == '--freeze=%s: %s' % (names, words)


def test_frozen_variables_stay_as_they_are():
    found, variables = trained(optimizer='adam', freeze='^w$')
    assert (found[-1][0] == START[0].astype(np.float32)).all()
    assert (found[-1][1] != START[1]).all() and 'w/Adam' not in variables


def test_an_embedding_has_the_norm_of_its_summed_rows():
    recipe, ours = settled(optimizer='momentum', momentum=0., clip_norm=1e-3)
    with tf.Graph().as_default(), tf.Session() as session:
        table = tf.get_variable('table', initializer=tf.zeros([4, 2]))
        optimizer = recipe.optimizer(tf.constant(1.), ours)
        loss = tf.reduce_sum(tf.nn.embedding_lookup(table, [1, 1, 1, 2]))
        train_op = optimizer.apply_gradients(optimizer.compute_gradients(loss, [table]))
        session.run(tf.global_variables_initializer())
        session.run(train_op)
        rows = np.array([[0], [3], [1], [0]]) * np.ones([1, 2])
        np.testing.assert_allclose(-session.run(table), rows * 1e-3 / np.sqrt(20), rtol=1e-5)
