"""A training of four steps on a tiny graph, for the tests of the diagnostics."""
import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

IMAGES = np.random.RandomState(0).normal(size=[4, 2, 6]).astype(np.float32)


class Clock(tf.train.SessionRunHook):
    """Counts finished steps, as the training's own clock does."""

    def __init__(self):
        self.step, self.steps_per_run = 0, 1

    def after_run(self, run_context, run_values):
        self.step += 1


class Input:
    """The batch of a step, from an iterator that can start at any of them."""

    def __init__(self):
        self._first = tf.placeholder_with_default(np.int64(0), [])
        data = tf.data.Dataset.from_tensor_slices(tf.constant(IMAGES)).repeat()
        self._iterator = tf.data.make_initializable_iterator(data.skip(self._first))
        self.batch = self._iterator.get_next('batch')

    def initialize(self, session, step=0):
        session.run(self._iterator.initializer, {self._first: step})


@pytest.fixture
def training():
    """training(factor) -> a Run, in a graph of its own, whose operator `net/scaled` multiplies by `factor`."""
    with contextlib.ExitStack() as graphs:
        def build(factor=1.):
            graphs.enter_context(tf.Graph().as_default())
            number = tf.train.get_or_create_global_step()
            train_input = Input()
            with tf.variable_scope('net'):
                w = tf.get_variable('kernel', [6, 3], initializer=tf.random_normal_initializer(seed=1))
                hidden = tf.matmul(train_input.batch, w, name='MatMul')
                scaled = tf.multiply(hidden, factor, name='scaled')
                loss = tf.reduce_mean(tf.tanh(scaled), name='loss')
            update = tf.train.MomentumOptimizer(.1, .9).minimize(loss)
            with tf.control_dependencies([update]):
                train_op = tf.assign_add(number, 1).op
            return SimpleNamespace(clock=Clock(), train_input=train_input, weights=w,
                                   step=SimpleNamespace(train_op=train_op, loss=loss))
        yield build


@pytest.fixture
def train():
    """train(run, hooks) -> (losses of four steps, the weights at the end)."""
    def steps(run, *hooks):
        class Start(tf.train.SessionRunHook):
            def after_create_session(self, session, coord):
                run.train_input.initialize(session)
        losses = []
        with tf.train.SingularMonitoredSession([Start(), run.clock, *hooks]) as session:
            while run.clock.step < 4:
                losses.append(session.run([run.step.loss, run.step.train_op])[0])
            return losses, session.raw_session().run(run.weights)
    return steps
