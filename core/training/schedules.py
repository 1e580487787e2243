"""A learning rate that falls by ten when training accuracy stalls.

Every ten epochs the accuracy of the last one is compared with that of ten epochs before; the vendor takes
the mean of the nine epochs between for the latter. The state is in variables, so that a checkpoint holds it.
"""
import tensorflow as tf

from core.log import say

EPOCHS = 10
LEAST_RISE = 0.02
FACTOR = 0.1


def learning_rate(config, step, steps):
    """Recipe.learning_rate: --learning_rate times what is left of it."""
    del step, steps
    return config.learning_rate * _state()[0]


def _state():
    """Variables: the part of the learning rate that is left, and the accuracy ten epochs ago (-1: none yet)."""
    with tf.variable_scope('plateau', reuse=tf.AUTO_REUSE):
        return [tf.get_variable(name, [], initializer=tf.constant_initializer(value), trainable=False)
                for name, value in (('left', 1), ('accuracy', -1))]


class FallOnPlateau(tf.train.SessionRunHook):
    """Makes learning_rate() fall; run: core.training.Run."""

    def __init__(self, run):
        self._clock, self._mean = run.clock, run.step.means['accuracy']

    def begin(self):
        left, before = _state()
        self._accuracy = tf.placeholder(tf.float32, [])
        self._stalled = self._accuracy - before < LEAST_RISE
        with tf.control_dependencies([self._stalled]):
            self._update = tf.group(tf.assign(left, left * tf.where(self._stalled, FACTOR, 1.)),
                                    tf.assign(before, self._accuracy))

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._mean)

    def after_run(self, run_context, run_values):
        clock = self._clock
        if clock.passed(clock.steps_per_epoch) and clock.epoch % EPOCHS == 0:
            stalled, _ = run_context.session.run([self._stalled, self._update], {self._accuracy: run_values.results})
            if stalled:
                say('[learning rate reducing]')
