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

import tensorflow as tf

from core.errors import InputError
from core.recipe import Recipe
from core.run import Run
from core.settings.config import Config
from core.training import average, evaluation


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
        config, steps_per_epoch, step = run.config, run.clock.steps_per_epoch, run.step.global_step
        self._start = start_epoch(config, run.clock.epochs) * steps_per_epoch
        self._cycle = config.swa_freq * steps_per_epoch
        with tf.variable_scope('swa'):
            means = {w: tf.get_variable(w.op.name, w.shape, w.dtype.base_dtype, tf.zeros_initializer(), trainable=False)
                     for w in tf.trainable_variables()}
            count = tf.get_variable('count', [], tf.int64, tf.zeros_initializer(), trainable=False)
        # --swa_start_epoch=0.75 of a longer run starts later: up to its first cycle a shorter run's mean is no member.
        first = self._start + self._cycle
        entered = count * tf.cast(step > first, tf.int64) + 1
        self._enter = tf.group(count.assign(entered), *[
            mean.assign(mean + (w - mean) / tf.cast(entered, tf.float32)) for w, mean in means.items()])
        super().__init__(run, renewal, means, count * tf.cast(step >= first, tf.int64))

    def update(self, session: tf.Session) -> None:
        steps = self._run.clock.step - self._start
        if steps > 0 and steps % self._cycle == 0:
            session.run(self._enter)

    def before_run(self, run_context):
        clock = self._run.clock
        if clock.step == self._start:
            self._say('starting stochastic weight averaging', clock.step // clock.steps_per_epoch)
