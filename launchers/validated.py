"""The validation part of a training: its best checkpoint, ckpt/best, and the end of a run that gets no better.

The best value and its step are variables of every checkpoint, so that a resumed run compares with them and counts on.
"""
import math
import os

import numpy as np
import tensorflow as tf

from core.device import keep_dtype
from core.errors import InputError, NothingLeft
from core.log import say
from core.recipe import Recipe
from core.reporting.report import in_words
from core.run import Run, Validation
from core.settings.config import Config
from core.training import checkpoints, weights

_SCOPE = 'validation/'
_SINCE = _SCOPE + 'evaluations_since'


class Best(tf.train.SessionRunHook):
    """Judges a run by its headline on the validation part.

    saving: the _Save of core/training/loop.py.
    """

    def __init__(self, run: Run, saving):
        self._run, self._saving = run, saving
        with keep_dtype():             # float16 counts to 2048 only
            self._known = [
                tf.get_variable(name, [], dtype, tf.zeros_initializer(), trainable=False) for name, dtype in (
                    (_SCOPE + 'best', tf.float32), (_SCOPE + 'step', tf.int64), (_SINCE, tf.int64))]
        saving.may_lack.update(self._known)
        directory = os.path.join(run.config.ckpt_dir, checkpoints.BEST)
        self._saver = checkpoints.Checkpoints(directory, run.config.network, weights.for_inference(run), kept=1)
        self._saver.count()

    def after_create_session(self, session, coord):
        config, since = self._run.config, session.run(self._known)[-1]
        if _is_over(config, since):
            raise NothingLeft(_nothing_left(config, since))

    def judge(self, session: tf.Session) -> Validation:
        """Evaluates the validation part after a step, saves the checkpoint if it is the best, and ends a run that gets
        no better. All ranks judge alike, because their metrics are of the same sums.
        """
        run, clock = self._run, self._run.clock
        metrics = run.validate(session)
        best, step, since = session.run(self._known)
        value, since = np.float32(metrics[run.headline]), since + 1
        is_better = not math.isnan(value) and (step == 0 or (value < best if run.smaller_is_better else value > best))
        if is_better:
            best, step, since = value, clock.step, 0
        weights.assign(session, dict(zip(self._known, (best, step, since))))
        if is_better:
            self._saving.save(session, self._saver)
        say('validation after step %d of %d: %s; the best %s is %.6f after step %d' % (
            clock.step, clock.steps, in_words(metrics), run.headline, best, step))
        if _is_over(run.config, since) and not clock.at_end:
            say('--early_stop=%d: the run ends, %d evaluations after its best one' % (run.config.early_stop, since))
            clock.finish()
        return Validation(metrics, float(best), int(step))


def with_parts(recipe: Recipe) -> Recipe:
    """`recipe` with data that has the validation part asked for; a line names samples that are in two parts.

    Its load() raises InputError for data of a form that has no parts.
    """
    def load(config):
        data = recipe.load(config)
        if config.validation and not hasattr(data, 'train'):
            raise InputError('--validation=%g: the data of this network has no training part to hold some out of; '
                             'leave it out' % config.validation)
        if config.validation and data.validation is not None:
            raise InputError('--validation=%g: the data has a validation part of its own; leave the flag out' %
                             config.validation)
        if config.validation:
            from data import validation        # which few runs need
            data = validation.held_out(data, config.validation, config.seed)
        if config.early_stop and getattr(data, 'validation', None) is None:
            raise InputError('--early_stop=%d: needs a validation part; add --validation=0.1, or a folder validation/ '
                             'beside train/ and test/' % config.early_stop)
        if config.rank or config.synthetic or not hasattr(data, 'validation'):
            return data
        from data import duplicates            # which built-in data does not have
        return data._replace(summary='; '.join(filter(None, (data.summary, duplicates.told(data)))))
    return recipe._replace(load=load)


def finished(config: Config) -> str:
    """The line about a run to resume that --early_stop has ended, as the newest checkpoint notes it, else ''."""
    reader = checkpoints.newest_whole(config.ckpt_dir)[1] if config.early_stop else None
    since = int(reader.get_tensor(_SINCE)) if reader and reader.has_tensor(_SINCE) else 0
    return _nothing_left(config, since) if _is_over(config, since) else ''


def _is_over(config, since):
    return config.early_stop is not None and since >= config.early_stop


def _nothing_left(config, since):
    return '--resume: the run in %s has ended %d evaluations after its best one; raise --early_stop to go on' % (
        config.ckpt_dir, since)
