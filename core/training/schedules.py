"""The learning-rate schedules that recipes choose from: Recipe.learning_rate functions of (Config, step, steps).

`step` is the scalar tensor of the steps finished so far, `steps` the number of steps of the run; the result is the
scalar learning rate of the next step. A schedule that depends on how the run goes keeps its state in variables, so
that checkpoints hold it, and has a hook.
"""
import tensorflow as tf

from core.log import say
from core.settings.config import Config

PLATEAU_EPOCHS = 10            # between two looks at the accuracy
PLATEAU_RISE = 0.02            # of the accuracy that is enough to go on at the same rate
PLATEAU_FACTOR = 0.1


def constant(config: Config, step: tf.Tensor, steps: int) -> float:
    """--learning_rate from the first step to the last."""
    del step, steps
    return config.learning_rate


def polynomial(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate * (1 - step / steps) ** --lr_decay_power."""
    return tf.train.polynomial_decay(config.learning_rate, step, steps, 0., config.lr_decay_power)


def plateau(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate, divided by ten whenever FallOnPlateau finds that the training accuracy has stalled."""
    del step, steps
    return config.learning_rate * _plateau_state()[0]


def _plateau_state():
    """Variables: the part of the learning rate that is left, and the accuracy ten epochs ago (-1: none yet)."""
    with tf.variable_scope('plateau', reuse=tf.AUTO_REUSE):
        return [tf.get_variable(name, [], initializer=tf.constant_initializer(value), trainable=False)
                for name, value in (('left', 1), ('accuracy', -1))]


class FallOnPlateau(tf.train.SessionRunHook):
    """Makes plateau() fall. Every ten epochs it compares the training accuracy of the epoch with that of ten before.

    run: core.training.loop.Run.
    """

    def __init__(self, run):
        self._clock, self._mean = run.clock, run.step.epoch_metrics['accuracy']

    def begin(self):
        left, before = _plateau_state()
        self._accuracy = tf.placeholder(tf.float32, [])
        self._stalled = self._accuracy - before < PLATEAU_RISE
        with tf.control_dependencies([self._stalled]):
            self._update = tf.group(tf.assign(left, left * tf.where(self._stalled, PLATEAU_FACTOR, 1.)),
                                    tf.assign(before, self._accuracy))

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._mean)

    def after_run(self, run_context, run_values):
        clock = self._clock
        if clock.passed(clock.steps_per_epoch) and clock.epoch % PLATEAU_EPOCHS == 0:
            stalled, _ = run_context.session.run([self._stalled, self._update], {self._accuracy: run_values.results})
            if stalled:
                say('[learning rate reducing]')
