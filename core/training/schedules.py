"""The learning-rate schedules that recipes choose from: Recipe.learning_rate functions of (Config, step, steps).

`step` is the scalar tensor of the steps finished so far, `steps` the number of steps of the run; the result is the
scalar learning rate of the next step. A schedule that depends on how the run goes keeps its state in variables, so
that checkpoints hold it, and has a hook.
"""
import tensorflow as tf

from core.log import say
from core.settings.config import Config

PLATEAU_EPOCHS = 10            # between two looks at the accuracy
PLATEAU_RISE = 0.02            # of the accuracy: enough to go on at the same rate
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
    """Variables: the part of the learning rate that is left, and the accuracies of the nine epochs before."""
    with tf.variable_scope('plateau', reuse=tf.AUTO_REUSE):
        return [tf.get_variable(name, shape, initializer=tf.constant_initializer(value), trainable=False)
                for name, shape, value in (('left', [], 1), ('accuracies', [PLATEAU_EPOCHS - 1], 0))]


class FallOnPlateau(tf.train.SessionRunHook):
    """Makes plateau() fall by the rule of the vendor whose network learns by plateaus.

    Every ten epochs: the rises of the training accuracy from each of the nine epochs before to this one are less than
    two points in the mean. run: core.training.loop.Run.
    """

    def __init__(self, run):
        self._clock, self._accuracy_of_epoch = run.clock, run.step.epoch_metrics['accuracy']

    def begin(self):
        left, accuracies = _plateau_state()
        self._accuracy = tf.placeholder(tf.float32, [])
        self._stalled = tf.reduce_mean(self._accuracy - accuracies) < PLATEAU_RISE
        self._fall = tf.assign(left, left * PLATEAU_FACTOR).op
        self._remember = tf.assign(accuracies, tf.concat([accuracies[1:], [self._accuracy]], 0)).op

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._accuracy_of_epoch)

    def after_run(self, run_context, run_values):
        clock, session, accuracy = self._clock, run_context.session, {self._accuracy: run_values.results}
        if clock.passed(clock.steps_per_epoch):
            if clock.epoch and clock.epoch % PLATEAU_EPOCHS == 0 and session.run(self._stalled, accuracy):
                session.run(self._fall)
                say('[learning rate reducing]')
            session.run(self._remember, accuracy)
