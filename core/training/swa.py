"""Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407) for any recipe: --swa_start_epoch.

From the start epoch on the learning rate is constant, or falls within each cycle, or stays the network's own. At the
end of each cycle the weights enter a running mean. After the last step the mean is saved as a checkpoint in ckpt/swa,
with batch-norm statistics computed anew on the training data. A run that ends within its first cycle saves its last
iterate there.

Log lines and the learning rate before the start epoch are as in the vendor's Keras callback. Differences from it:
- the weights enter the mean at the end of a cycle, as in the paper's algorithm 1; the vendor takes its first epoch;
- the last epoch trains, and the pass over the data for the statistics comes after it;
- --resume goes on from the last iterate, not from the average.
"""
import math
from typing import Dict

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.recipe import Recipe
from core.run import Run
from core.settings.config import Config
from core.training import average, checkpoints, evaluation


def check(config: Config) -> None:
    """Raises InputError when the numbers of the averaging contradict each other; needs no data."""
    if config.ema_decay:
        raise InputError('--ema_decay=%g: not together with stochastic weight averaging, for a run makes one average' %
                         config.ema_decay)
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
    """`recipe` with the learning rate of the averaging in a run of `epochs`.

    Between half and nine tenths of the way to the start epoch the network's own rate is faded into swa_lr.
    Raises InputError when the start is beyond the last epoch.
    """
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
    """The paper's equation for alpha(i): it falls linearly within a cycle and ends at swa_lr."""
    if config.swa_schedule == 'constant':
        return tf.constant(config.swa_lr)
    length = config.swa_freq * steps_per_epoch
    position = (steps_since_start % length + 1) / length
    return (1 - position) * config.swa_lr2 + position * config.swa_lr


class Averaging(average.Average):
    """Keeps the running mean of the weights in variables, which the checkpoints have to hold."""
    words, method, folder = 'stochastic weight average', 'stochastic weight averaging', 'swa'
    check, scheduled = staticmethod(check), staticmethod(scheduled)

    def __init__(self, run: Run, renewal: evaluation.Renewal):
        super().__init__(run, renewal)
        self._start = start_epoch(run.config, run.clock.epochs)
        self._on = []                  # switches of the next reading
        self._entered = None           # the step after which the weights last entered the mean
        self._restart, self._enter = (tf.placeholder(tf.bool, []) for _ in range(2))
        trained = tf.trainable_variables()
        with tf.variable_scope('swa'):
            means = [tf.get_variable(w.op.name, w.shape, w.dtype.base_dtype, tf.zeros_initializer(), trainable=False)
                     for w in trained]
            self._count = tf.get_variable('count', [], tf.int64, tf.zeros_initializer(), trainable=False)
        self.changes = self._changes(trained, means)

    def _changes(self, trained, means):
        """The count starts anew; the weights enter their means; the means replace the weights."""
        before = tf.where(self._restart, tf.zeros_like(self._count), self._count)
        count = tf.where(self._enter, before + 1, before)
        divisor = tf.cast(tf.maximum(count, 1), tf.float32)
        after = {self._count: count}
        for w, mean in zip(trained, means):
            after[mean] = tf.where(self._enter, mean + (w - mean) / divisor, mean)
            after[w] = tf.where(self._install, after[mean], w)
        return average.changed(after, (self._restart, self._enter, self._install), (self._count,))

    @property
    def has_to_read(self) -> bool:
        """Whether the weights of this step enter the mean, and the state has to be read for it."""
        clock = self._run.clock
        averaged = clock.step // clock.steps_per_epoch - self._start
        return (clock.passed(clock.steps_per_epoch) and averaged > 0 and averaged % self._run.config.swa_freq == 0
                and self._entered != clock.step)

    def read(self, session: tf.Session, state: checkpoints.State) -> Dict[tf.Variable, np.ndarray]:
        on, self._on = self._on, []
        if self.has_to_read:
            on.append(self._enter)
            self._entered = self._run.clock.step
        return state.read(session, on)

    def before_run(self, run_context):
        clock = self._run.clock
        if clock.step == self._start * clock.steps_per_epoch:
            # --swa_start_epoch=0.75 of a longer run starts later, so drop the mean that the shorter run had begun.
            self._on.append(self._restart)
            self._say('starting stochastic weight averaging', self._start)

    def _members(self, values):
        return values[self._count]
