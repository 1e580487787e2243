"""Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407) for any recipe: --swa_start_epoch.

From the start epoch on the learning rate is constant, or falls within each cycle, or stays the network's own. At the
end of each cycle the weights enter a running mean. After the last step the mean is saved as a checkpoint in ckpt/swa,
with batch-norm statistics computed anew on the training data. A run that ends within its first cycle saves its last
iterate there.

Log lines and the learning rate before the start epoch are those of the vendor's Keras callback. Differences from it:
- the weights enter the mean at the end of a cycle, as in the paper's algorithm 1; the vendor takes its first epoch;
- the last epoch trains, and the pass over the data for the statistics comes after it;
- --resume goes on from the last iterate, not from the average.
"""
import math
import os
from typing import Any, List

import tensorflow as tf

from core.errors import InputError
from core.log import say
from core.recipe import Recipe
from core.reporting.report import Reporter
from core.settings.config import Config
from core.training import checkpoints, identity, statistics, weights


def check(config: Config) -> None:
    """Raises InputError when the numbers of the averaging contradict each other; needs no data."""
    if config.swa_start_epoch is None:
        return
    low, high = config.swa_lr, config.swa_lr2
    if config.swa_schedule == 'cyclic':
        if config.swa_freq == 1:
            raise InputError('--swa_freq=1: a cyclic schedule needs cycles of 2 epochs or more')
        if low > high:
            raise InputError('--swa_lr=%g: must not be larger than --swa_lr2=%g, with which a cycle starts' % (
                low, high))
    if not config.train_steps:
        start_epoch(config, config.train_epochs)


def start_epoch(config: Config, epochs: int) -> int:
    """Index, from 0, of the first epoch of the averaging in a run of `epochs`. Raises InputError beyond the last."""
    start = config.swa_start_epoch
    first = math.ceil(start * epochs) if start < 1 else start
    if first > epochs:
        raise InputError('--swa_start_epoch=%d: beyond the last epoch, %d' % (first, epochs))
    return first - 1


def scheduled(recipe: Recipe, config: Config, epochs: int, steps_per_epoch: int) -> Recipe:
    """`recipe` with the learning rate of the averaging in a run of `epochs`; without --swa_start_epoch as it is.

    Between half and nine tenths of the way to the start epoch the network's own rate is faded into swa_lr.
    Raises InputError when the start is beyond the last epoch.
    """
    if config.swa_start_epoch is None:
        return recipe
    start = start_epoch(config, epochs)

    def learning_rate(config, global_step, steps):
        own = tf.convert_to_tensor(recipe.learning_rate(config, global_step, steps), tf.float32)
        if config.swa_schedule == 'manual':
            return own
        epoch = tf.cast(global_step // steps_per_epoch, tf.float32)
        faded = tf.clip_by_value((epoch / max(start, 1) - 0.5) / 0.4, 0., 1.)
        before = own + (config.swa_lr - own) * faded
        steps_since_start = tf.cast(global_step - start * steps_per_epoch, tf.float32)
        return tf.where(steps_since_start < 0, before, _rate_in_cycle(config, steps_since_start, steps_per_epoch))
    return recipe._replace(learning_rate=learning_rate)


def _rate_in_cycle(config, steps_since_start, steps_per_epoch):
    """The paper's equation for alpha(i): it falls linearly within a cycle, whose last step has swa_lr."""
    if config.swa_schedule == 'constant':
        return tf.constant(config.swa_lr)
    length = config.swa_freq * steps_per_epoch
    position = (steps_since_start % length + 1) / length
    return (1 - position) * config.swa_lr2 + position * config.swa_lr


def averaging(run: Any, reporter: Reporter, renewal: statistics.Renewal) -> List[tf.train.SessionRunHook]:
    """The hooks of the averaging in a training.loop.Run; none without --swa_start_epoch.

    Makes variables that the checkpoints have to hold.
    """
    return [] if run.config.swa_start_epoch is None else [_Averaging(run, reporter, renewal)]


class _Averaging(tf.train.SessionRunHook):
    """Keeps the running mean of the weights in variables; saves, evaluates and reports it after the last step."""

    def __init__(self, run, reporter, renewal):
        self._run, self._reporter, self._renewal = run, reporter, renewal
        self._start = start_epoch(run.config, run.clock.epochs)
        self._weights = tf.trainable_variables()
        with tf.variable_scope('swa'):
            self._means = [tf.get_variable(w.op.name, w.shape, w.dtype.base_dtype, tf.zeros_initializer(),
                                           trainable=False) for w in self._weights]
            self._count = tf.get_variable('count', [], tf.int64, tf.zeros_initializer(), trainable=False)

    def begin(self):
        self._take = self._take_op()
        # One op puts the average and the last iterate in, because each set of fetches is a graph to compile.
        variables = self._run.step.model_variables
        self._values = {v: tf.placeholder(v.dtype.base_dtype, v.shape) for v in variables}
        self._put = tf.group(*[v.assign(value) for v, value in self._values.items()])
        self._saved = checkpoints.Checkpoints(os.path.join(self._run.config.ckpt_dir, 'swa'),
                                              self._run.config.network, self._run.communicator,
                                              variables + list(identity.facts().values()) + weights.notes())

    def _take_op(self):
        """The op by which the weights enter the mean."""
        # The count is read here and updated last: TensorFlow 1.15 may read a reference variable before or after an
        # update that the reading op has a control dependency on.
        count = self._count + 1
        updates = [mean.assign_add((w - mean) / tf.cast(count, w.dtype.base_dtype))
                   for w, mean in zip(self._weights, self._means)]
        with tf.control_dependencies(updates):
            return tf.assign_add(self._count, 1).op

    def before_run(self, run_context):
        clock = self._run.clock
        if clock.step == self._start * clock.steps_per_epoch:
            # A share of a longer run than the one that is resumed starts later: that run's mean must not count.
            run_context.session.run(self._count.initializer)
            self._say('starting stochastic weight averaging', self._start)

    def after_run(self, run_context, run_values):
        session, clock = run_context.session, self._run.clock
        averaged = clock.step // clock.steps_per_epoch - self._start
        if clock.passed(clock.steps_per_epoch) and averaged > 0 and averaged % self._run.config.swa_freq == 0:
            session.run(self._take)
        if clock.at_end:
            self._finish(session)

    def _finish(self, session):
        """Saves, evaluates and reports the average; then puts the weights of the last step back."""
        variables = list(self._values)
        values, means, count = session.run((variables, self._means, self._count))
        last_iterate = dict(zip(variables, values))
        if count:
            self._install(session, {**last_iterate, **dict(zip(self._weights, means))})
        self._say('final model weights set to stochastic weight average', self._run.clock.epoch)
        if self._renewal.is_needed:
            self._say('reinitializing batch normalization layers', self._run.clock.epoch)
            self._say('running forward pass to adjust batch normalization', self._run.clock.epoch)
            self._renewal.over(session, 0, self._run.train_input.batches)
        self._saved.save(session, self._run.clock.step)
        average = self._run.evaluate(session)
        say('stochastic weight averaging: accuracy %.4f for the last iterate, %.4f for the average of %d' % (
            self._reporter.report.evaluation['accuracy'], average['accuracy'], max(count, 1)))
        self._reporter.average(average)
        self._install(session, last_iterate)

    def _install(self, session, values):
        session.run(self._put, {self._values[v]: value for v, value in values.items()})

    def _say(self, words, epoch):
        if self._run.config.verbose:
            say('Epoch %05d: %s' % (epoch + 1, words))
