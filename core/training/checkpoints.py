"""Checkpoints: saving, and finding, checking and restoring the newest whole one.

A checkpoint holds every global variable: weights, optimizer slots, the step, the means of the epoch so far, the
loss scale; and the facts of its run (core/training/identity.py). Those of ckpt/swa/ hold the network's variables and
the facts.
TensorFlow writes the index last, so that a save cut short leaves no checkpoint, only temporary files.
"""
import contextlib
import fcntl
import glob
import os
import re
from typing import Dict

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.log import say
from core.settings.config import Config
from core.settings.table import MOST
from core.training import identity

_KEPT = 5
_PREFIX = 'model.ckpt'
_BROKEN = (tf.errors.DataLossError, tf.errors.OutOfRangeError, tf.errors.NotFoundError,
           tf.errors.InvalidArgumentError, tf.errors.InternalError)


def paths(directory):
    """Checkpoints of `directory`, newest first, told by their step and not by the state file."""
    found = glob.glob(os.path.join(glob.escape(directory), _PREFIX + '-*.index'))
    return sorted((path[:-len('.index')] for path in found), key=_step, reverse=True)


def newest_step(directory):
    """The step of the newest checkpoint of `directory`, whole or not; -1 without one."""
    return next(map(_step, paths(directory)), -1)


def _step(path):
    """The step in a checkpoint's name; -1 for a name that has none."""
    number = path.rpartition('-')[2]
    return int(number) if number.isdigit() else -1


def _read_whole(path):
    """A reader of `path` after every tensor in it has been read against its checksum."""
    reader = tf.train.NewCheckpointReader(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    return reader


def newest_whole(directory):
    """(path, reader) of the newest checkpoint of `directory` that is whole, or (None, None).

    Says which ones it passes over.
    """
    for path in paths(directory):
        try:
            return path, _read_whole(path)
        except _BROKEN as error:
            say('Checkpoint %s is damaged and passed over: %s' % (path, str(error).splitlines()[0]))
    return None, None


def find(path):
    """(path, reader) of what --ckpt_path names: a checkpoint, one of its files, or a directory and so its newest one.

    Raises InputError when there is none, or it is damaged.
    """
    check_no_pattern('--ckpt_path', path)
    if os.path.isdir(path):
        prefix, reader = newest_whole(path)
        if not prefix:
            raise InputError('--ckpt_path=%s: no whole checkpoint (%s-STEP.index) in this directory' % (path, _PREFIX))
    else:
        prefix = re.sub(r'\.(index|meta|data-\d+-of-\d+)$', '', path)
        if not os.path.exists(prefix + '.index'):
            raise InputError('--ckpt_path=%s: no such checkpoint; give DIR/%s-STEP or the directory' % (path, _PREFIX))
        try:
            reader = _read_whole(prefix)
        except _BROKEN as error:
            raise InputError('--ckpt_path=%s: damaged: %s' % (path, str(error).splitlines()[0]))
    return prefix, reader


def check_no_pattern(flag, path):
    """Raises InputError for a path that TensorFlow, when it looks for or deletes checkpoints, takes for a pattern."""
    if set(path) & set('*?[\\'):
        raise InputError('%s: %s: the path of checkpoints must be without * ? [ and \\, which TensorFlow takes for '
                         'a pattern; choose another directory' % (flag, path))


def check_unused(directory):
    """Raises InputError when `directory` holds the checkpoints of an earlier run."""
    if paths(directory):
        raise InputError('%s: holds the checkpoints of another run; add --resume to continue it, or choose '
                         'another directory' % directory)


@contextlib.contextmanager
def claimed(directory, resume):
    """A context in which `directory` is this process's own, and free again however it ends.

    Raises InputError when another process has it, or it holds a run that is not to be resumed.
    """
    with open(os.path.join(directory, '.lock'), 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError('%s: another run is writing its checkpoints there; wait for it, or choose another '
                             'directory' % directory)
        if not resume:
            check_unused(directory)
        yield


def check_fits(path, reader, variables, network):
    """Raises InputError when the checkpoint lacks one of `variables` or has it in another shape."""
    shapes = reader.get_variable_to_shape_map()
    for variable in variables:
        name = variable.op.name
        if shapes.get(name) != variable.shape.as_list():
            raise InputError(
                '%s: not a checkpoint of this %s: %s is %s there, %s here; give the flags it was trained with, or '
                '--finetune for other classes' % (
                    path, network, name, shapes.get(name, 'missing'), variable.shape.as_list()))


def nothing_left(config, step, steps):
    """The line about a run that has done all of its steps."""
    return '--resume: the run in %s has already done %d steps of %d; raise --train_%s to go on' % (
        config.ckpt_dir, step, steps, 'steps' if config.train_steps else 'epochs')


def finished(config):
    """nothing_left() when the newest checkpoint says that --resume would train no step, else ''; reads no data."""
    for path in paths(config.ckpt_dir)[:1]:
        try:
            reader = _read_whole(path)
        except _BROKEN:
            return ''
        steps = config.train_steps or config.train_epochs * identity.fact(reader, 'steps_per_epoch', MOST)
        if identity.is_run_of(reader, config) and _step(path) >= steps:
            return nothing_left(config, _step(path), steps)
    return ''


class Checkpoints:
    """The checkpoints of one run in one directory. Rank 0 writes and reads them.

    variables: what they hold; None for all global variables.
    """

    def __init__(self, directory, network, communicator, variables=None):
        self._directory, self._network, self._rank = directory, network, communicator.rank
        self._variables = variables or tf.global_variables()
        # Relative paths in the state file: the directory may be copied elsewhere.
        self._saver = tf.train.Saver(self._variables, max_to_keep=_KEPT, save_relative_paths=True)
        definition = self._saver.saver_def
        saved = tf.get_default_graph().get_tensor_by_name(definition.save_tensor_name)
        with tf.control_dependencies([saved.op] if self._rank == 0 else []):
            self._written = communicator.barrier()
        with tf.control_dependencies([self._written]):
            # Rank 0 saves and reaches the barrier in one run, because a run of its own would be a further graph.
            definition.save_tensor_name = tf.identity(saved).name

    def save(self, session, number):
        """Saves step `number`, which every rank waits for.

        Raises InputError when it cannot be written (the earlier ones stay).
        """
        if self._rank == 0:
            self._save(session, number)
        else:
            session.run(self._written)

    def _save(self, session, number):
        target = os.path.join(self._directory, _PREFIX)
        try:
            os.makedirs(self._directory, exist_ok=True)
            path = self._saver.save(session, target, number, write_meta_graph=False)
        except (tf.errors.OpError, OSError, ValueError) as error:
            for part in glob.glob('%s-%d.*tempstate*' % (glob.escape(target), number)):
                os.remove(part)
            raise InputError('%s-%d: checkpoint not saved: %s; the ones before it are kept' % (
                target, number, str(error).splitlines()[0]))
        say('checkpoint saved in file: %s' % path)

    def resume(self, config: Config, facts: Dict[str, int]) -> Dict[tf.Variable, np.ndarray]:
        """{variable: value} of the newest whole checkpoint of the run that `config` asks for; {} without one.

        facts: those of this run. Raises InputError when the checkpoint belongs to another network or to another
        sequence of batches.
        """
        path, reader = newest_whole(self._directory)
        if not path:
            say('--resume: no checkpoint in %s: starting from the beginning' % self._directory)
            return {}
        check_fits(path, reader, self._variables, self._network)
        identity.check_checkpoint(path, reader, config, facts)
        self._saver.recover_last_checkpoints(
            [kept for kept in reversed(paths(self._directory)) if _step(kept) <= _step(path)])
        say('resumed from checkpoint: %s' % path)
        return {v: reader.get_tensor(v.op.name) for v in self._variables}
