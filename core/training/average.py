"""Averages of the weights, which replace the last iterate after the last step of a run.

An average is saved as a checkpoint in a directory of its own under ckpt/, with batch-norm statistics computed anew on
the training data, and evaluated. The one here is exponential: --ema_decay (Polyak and Juditsky 1992). The graph of a
step keeps it, nets/blocks/chosen.py. core/training/swa.py has another.
"""
import os
from typing import Callable, Mapping

import tensorflow as tf

from core.log import say
from core.recipe import Recipe
from core.reporting.report import Reporter
from core.run import Run
from core.settings.config import Config
from core.training import checkpoints, evaluation, weights


class Average(tf.train.SessionRunHook):
    """Saves, evaluates and reports an average of the weights after the last step.

    averages: of each weight; members: of how many iterates they are, a whole number. Without any the weights stay.
    """
    words = method = ''                # what the average, and the method, is called
    folder = ''                        # of the average's checkpoint, in the directory of the others

    def __init__(self, run: Run, renewal: evaluation.Renewal, averages: Mapping[tf.Variable, tf.Tensor],
                 members: tf.Tensor):
        self._run, self._renewal = run, renewal
        self._saver = checkpoints.Checkpoints(os.path.join(run.config.ckpt_dir, self.folder), run.config.network,
                                              weights.for_inference(run))
        self._install = members, tf.group(*[weight.assign(tf.where(members > 0, average, weight))
                                            for weight, average in averages.items()])

    @staticmethod
    def check(config: Config) -> None:
        """Raises InputError when the flags of the average contradict each other; needs no data."""

    @staticmethod
    def scheduled(recipe: Recipe, config: Config, epochs: int, steps_per_epoch: int) -> Recipe:
        """`recipe` with the learning rate of the averaging in a run of `epochs`."""
        del config, epochs, steps_per_epoch
        return recipe

    def update(self, session: tf.Session) -> None:
        """Called once after each step, before it is saved."""

    def finish(self, session: tf.Session, save: Callable[[tf.Session, checkpoints.Checkpoints], None],
               reporter: Reporter) -> None:
        """Replaces the weights by the average, saves, evaluates and reports it."""
        run = self._run
        members, _ = session.run(self._install)
        self._say('final model weights set to ' + self.words)
        if self._renewal.is_needed:
            self._say('reinitializing batch normalization layers')
            self._say('running forward pass to adjust batch normalization')
            self._renewal.over(session, 0, run.train_input.batches)
        save(session, self._saver)
        last, average = reporter.report.evaluation, run.evaluate(session)
        name = run.headline
        say('%s: %s %.4f for the last iterate, %.4f for the average of %d; loss %.4f and %.4f' % (
            self.method, name, last[name], average[name], max(members, 1), last['loss'], average['loss']))
        reporter.average(average)

    def _say(self, words, epoch=None):
        if self._run.config.verbose:
            say('Epoch %05d: %s' % ((self._run.clock.epoch if epoch is None else epoch) + 1, words))


class Exponential(Average):
    """The exponential moving average of --ema_decay."""
    words, method, folder = 'exponential moving average', 'exponential moving average', 'ema'

    def __init__(self, run: Run, renewal: evaluation.Renewal):
        name = tf.train.ExponentialMovingAverage(run.config.ema_decay).name
        by_name = {v.op.name: v for v in tf.global_variables()}
        averages = {v: by_name['%s/%s' % (v.op.name, name)] for v in tf.moving_average_variables()}
        super().__init__(run, renewal, averages, run.step.global_step)
