"""The learning-rate schedules that recipes choose from: Recipe.learning_rate functions of (Config, step, steps).

`step` is the scalar tensor of the steps finished so far, `steps` the number of steps of the run; the result is the
scalar learning rate of the next step. A schedule that depends on how the run goes keeps its state in variables, so
that checkpoints hold it, and has a hook.
"""
from typing import Callable

import tensorflow as tf

from core.log import say
from core.run import Run
from core.settings.config import Config

POWER = 2.                     # of polynomial(), where a network has none: that of LARS
PLATEAU_EPOCHS = 10            # between two looks at the headline metric
PLATEAU_RISE = 0.02            # of the metric: enough to go on at the same rate
PLATEAU_FACTOR = 0.1


def constant(config: Config, step: tf.Tensor, steps: int) -> float:
    """--learning_rate from the first step to the last."""
    del step, steps
    return config.learning_rate


def polynomial(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate * (1 - step / steps) ** --lr_decay_power."""
    return tf.train.polynomial_decay(config.learning_rate, step, steps, 0., config.lr_decay_power)


def cosine(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate * (1 + cos(pi * step / steps)) / 2 (Loshchilov and Hutter, arXiv 1608.03983)."""
    return tf.train.cosine_decay(config.learning_rate, step, steps)


def linear(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate * (1 - step / steps)."""
    return tf.train.polynomial_decay(config.learning_rate, step, steps, 0.)


def stepwise(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate, a tenth of it after each of --learning_rate_steps; unset: after each third of the run."""
    falls = [number - 1. for number in config.learning_rate_steps] or [steps / 3, 2 * steps / 3]
    rates = [config.learning_rate / 10 ** number for number in range(len(falls) + 1)]
    return tf.train.piecewise_constant(tf.cast(step, tf.float32), falls, rates)


def warmed_up(rate: Callable) -> Callable:
    """The schedule `rate` that rises linearly to its value in the first --warmup steps (Goyal et al., arXiv 1706.02677).
    """
    def learning_rate(config, step, steps):
        part = (tf.cast(step, tf.float32) + 1) / config.warmup
        return tf.convert_to_tensor(rate(config, step, steps), tf.float32) * tf.minimum(1., part)
    return learning_rate


def plateau(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """--learning_rate, divided by ten whenever FallOnPlateau finds that the training has stalled."""
    del step, steps
    return config.learning_rate * _plateau_state()[0]


def _plateau_state():
    """Variables: the part of the learning rate that is left, and the metrics of the nine epochs before."""
    with tf.variable_scope('plateau', reuse=tf.AUTO_REUSE):
        return [tf.get_variable(name, shape, initializer=tf.constant_initializer(value), trainable=False)
                for name, shape, value in (('left', [], 1), ('accuracies', [PLATEAU_EPOCHS - 1], 0))]


class FallOnPlateau(tf.train.SessionRunHook):
    """Makes plateau() fall by the rule of the vendor whose network learns by plateaus.

    Every ten epochs: the rises of the headline metric in training from each of the nine epochs before to this one are
    less than two points in the mean.
    """

    def __init__(self, run: Run):
        self._clock, self._step, self._headline = run.clock, run.step, run.headline

    def begin(self):
        left, earlier = _plateau_state()
        self._may_fall, self._epoch_ends = (tf.placeholder(tf.bool, []) for _ in range(2))
        metric = self._step.epoch_metrics[self._headline]
        self._falls = tf.logical_and(self._may_fall, tf.reduce_mean(metric - earlier) < PLATEAU_RISE)
        # Part of the training step's run, because a run of its own would be a further graph.
        with tf.control_dependencies([self._step.train_op, self._falls]):
            self._update = tf.group(
                tf.assign(left, tf.where(self._falls, left * PLATEAU_FACTOR, left)),
                tf.assign(earlier, tf.where(
                    self._epoch_ends, tf.concat([earlier[1:], [metric]], 0), earlier)))

    def before_run(self, run_context):
        clock = self._clock
        epochs = (clock.step + clock.steps_per_run) // clock.steps_per_epoch
        ends = epochs > clock.step // clock.steps_per_epoch
        may_fall = ends and epochs > 1 and (epochs - 1) % PLATEAU_EPOCHS == 0
        return tf.train.SessionRunArgs((self._falls, self._update), {
            self._epoch_ends: ends, self._may_fall: may_fall})

    def after_run(self, run_context, run_values):
        falls, _ = run_values.results
        if falls:
            say('[learning rate reducing]')
