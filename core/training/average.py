"""Averages of the weights, which replace the last iterate after the last step of a run.

An average is saved as a checkpoint in a directory of its own under ckpt/, with batch-norm statistics computed anew on
the training data, and evaluated. The one here is exponential: --ema_decay (Polyak and Juditsky 1992). The graph of a
step keeps it, nets/blocks/chosen.py. core/training/swa.py has another.
"""
import os
from typing import Dict, Mapping, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.log import say
from core.recipe import Recipe
from core.reporting.report import Reporter
from core.run import Run
from core.settings.config import Config
from core.training import checkpoints, evaluation, weights


class Average(tf.train.SessionRunHook):
    """Saves, evaluates and reports an average of the weights after the last step.

    `changes` are made where the checkpoints' State is read, because each further set of fetches
    would be a graph to compile for an NPU; `install` is the switch that replaces the weights by the average.
    """
    words = method = ''                # what the average, and the method, is called
    folder = ''                        # of the average's checkpoint, in the directory of the others
    has_to_read = False                # whether the average needs the state of this step
    changes = checkpoints.Changes()

    def __init__(self, run: Run, renewal: evaluation.Renewal):
        self._run, self._renewal, self._install = run, renewal, tf.placeholder(tf.bool, [])

    @staticmethod
    def check(config: Config) -> None:
        """Raises InputError when the flags of the average contradict each other; needs no data."""

    @staticmethod
    def scheduled(recipe: Recipe, config: Config, epochs: int, steps_per_epoch: int) -> Recipe:
        """`recipe` with the learning rate of the averaging in a run of `epochs`."""
        del config, epochs, steps_per_epoch
        return recipe

    def read(self, session: tf.Session, state: checkpoints.State) -> Dict[tf.Variable, np.ndarray]:
        """state.read() with the changes that are due."""
        return state.read(session)

    def finish(self, session: tf.Session, state: checkpoints.State, values: Mapping[tf.Variable, np.ndarray],
               reporter: Reporter) -> None:
        """Replaces the weights by the average, saves, evaluates and reports it.

        values: those that read() gave after the last step.
        """
        run, members = self._run, self._members(values)
        if members:
            state.read(session, [self._install])
        self._say('final model weights set to ' + self.words)
        if self._renewal.is_needed:
            self._say('reinitializing batch normalization layers')
            self._say('running forward pass to adjust batch normalization')
            self._renewal.over(session, 0, run.train_input.batches)
        saved = checkpoints.Checkpoints(os.path.join(run.config.ckpt_dir, self.folder), run.config.network, state,
                                        weights.for_inference(run))
        saved.save(session, run.clock.step, state.read(session))
        last, average = reporter.report.evaluation, run.evaluate(session)
        name = run.headline
        say('%s: %s %.4f for the last iterate, %.4f for the average of %d; loss %.4f and %.4f' % (
            self.method, name, last[name], average[name], max(members, 1), last['loss'], average['loss']))
        reporter.average(average)

    def _members(self, values):
        """How many iterates the average is of."""
        return self._run.clock.step

    def _say(self, words, epoch=None):
        if self._run.config.verbose:
            say('Epoch %05d: %s' % ((self._run.clock.epoch if epoch is None else epoch) + 1, words))


class Exponential(Average):
    """The exponential moving average of --ema_decay."""
    words, method, folder = 'exponential moving average', 'exponential moving average', 'ema'

    def __init__(self, run: Run, renewal: evaluation.Renewal):
        super().__init__(run, renewal)
        name = tf.train.ExponentialMovingAverage(run.config.ema_decay).name
        by_name = {v.op.name: v for v in tf.global_variables()}
        self.changes = changed({v: tf.where(self._install, by_name['%s/%s' % (v.op.name, name)], v)
                                for v in tf.moving_average_variables()}, (self._install,))


def changed(after: Dict[tf.Variable, tf.Tensor], switches: Sequence[tf.Tensor],
            read_by_all_ranks: Tuple[tf.Variable, ...] = ()) -> checkpoints.Changes:
    """The Changes that give variables the values `after`; see checkpoints.Changes."""
    # Everything is computed before the first update, and read from the updates, because TensorFlow 1.15 may read a
    # reference variable before or after an update that the reading op has a control dependency on.
    with tf.control_dependencies(list(after.values())):
        values = {v: tf.identity(v.assign(value)) for v, value in after.items()}
    return checkpoints.Changes(values, tuple(switches), read_by_all_ranks)
