"""Checkpoints: saving, and finding, checking and restoring the newest whole one.

A checkpoint holds every global variable: weights, optimizer slots, the step, the means of the epoch so far, the
loss scale; and the facts of its run (core/training/identity.py). The checkpoints in ckpt/swa/ hold the variables of
the network and the facts.
TensorFlow writes the index file last, so a save that is cut short leaves temporary files and no checkpoint.
"""
import contextlib
import fcntl
import glob
import os
import re
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.log import say
from core.ranks.communicator import Communicator
from core.settings.config import Config
from core.settings.table import MOST
from core.training import identity

_KEPT = 5
_PREFIX = 'model.ckpt'
_BROKEN = (tf.errors.DataLossError, tf.errors.OutOfRangeError, tf.errors.NotFoundError,
           tf.errors.InvalidArgumentError, tf.errors.InternalError)


def paths(directory: str) -> List[str]:
    """The checkpoints in `directory`, the one of the latest step first; the state file is not asked."""
    found = glob.glob(os.path.join(glob.escape(directory), _PREFIX + '-*.index'))
    return sorted((path[:-len('.index')] for path in found), key=_step, reverse=True)


def newest_step(directory: str) -> int:
    """The step of the newest checkpoint in `directory`, be it whole or damaged; -1 without one."""
    return next(map(_step, paths(directory)), -1)


def _step(path: str) -> int:
    """The step in the name of a checkpoint; -1 for a name without a step."""
    number = path.rpartition('-')[2]
    return int(number) if number.isdigit() else -1


def _read_whole(path: str) -> Any:
    """A tf.train.NewCheckpointReader of `path`, every tensor of which has been read and its checksum verified."""
    reader = tf.train.NewCheckpointReader(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    return reader


def newest_whole(directory: str) -> Tuple[Optional[str], Any]:
    """(path, reader) of the newest checkpoint in `directory` that is whole, or (None, None).

    A line of the log names each damaged checkpoint that is passed over.
    """
    for path in paths(directory):
        try:
            return path, _read_whole(path)
        except _BROKEN as error:
            say('Checkpoint %s is damaged and passed over: %s' % (path, str(error).splitlines()[0]))
    return None, None


def find(path: str) -> Tuple[str, Any]:
    """(path, reader) of the checkpoint that --ckpt_path names: itself, one of its files, or its directory.

    Of a directory the newest whole checkpoint counts. Raises InputError when there is no checkpoint, or the one that
    is named is damaged.
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


def check_no_pattern(flag: str, path: str) -> None:
    """Raises InputError for a path that TensorFlow takes for a pattern when it finds or deletes checkpoints."""
    if set(path) & set('*?[\\'):
        raise InputError('%s: %s: the path of checkpoints must be without * ? [ and \\, which TensorFlow takes for '
                         'a pattern; choose another directory' % (flag, path))


def check_unused(directory: str) -> None:
    """Raises InputError when `directory` holds the checkpoints of an earlier run."""
    if paths(directory):
        raise InputError('%s: holds the checkpoints of another run; add --resume to continue it, or choose '
                         'another directory' % directory)


@contextlib.contextmanager
def claimed(directory: str, resume: bool) -> Iterator[None]:
    """A context in which no other process may write checkpoints to `directory`.

    Raises InputError when another process writes there, or, without `resume`, when `directory` holds an earlier run.
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


def check_fits(path: str, reader: Any, variables: Sequence[tf.Variable], network: str) -> None:
    """Raises InputError when the checkpoint lacks one of `variables` or has it in another shape."""
    shapes = reader.get_variable_to_shape_map()
    for variable in variables:
        name = variable.op.name
        if shapes.get(name) != variable.shape.as_list():
            raise InputError(
                '%s: not a checkpoint of this %s: %s is %s there, %s here; give the flags it was trained with, or '
                '--finetune for other classes' % (
                    path, network, name, shapes.get(name, 'missing'), variable.shape.as_list()))


def nothing_left(config: Config, step: int, steps: int) -> str:
    """The line about a run that has done all of its steps."""
    return '--resume: the run in %s has already done %d steps of %d; raise --train_%s to go on' % (
        config.ckpt_dir, step, steps, 'steps' if config.train_steps else 'epochs')


def finished(config: Config) -> str:
    """nothing_left() when --resume would train no step, as the newest checkpoint tells, else ''. Reads no data."""
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

    variables: those that a checkpoint holds; None for all global variables.
    """

    def __init__(self, directory: str, network: str, communicator: Communicator,
                 variables: Optional[Sequence[tf.Variable]] = None):
        self._directory, self._network, self._rank = directory, network, communicator.rank
        self._variables = variables or tf.global_variables()
        # The state file has relative paths, because the directory may be copied elsewhere.
        self._saver = tf.train.Saver(self._variables, max_to_keep=_KEPT, save_relative_paths=True)
        definition = self._saver.saver_def
        saved = tf.get_default_graph().get_tensor_by_name(definition.save_tensor_name)
        with tf.control_dependencies([saved.op] if self._rank == 0 else []):
            self._written = communicator.barrier()
        with tf.control_dependencies([self._written]):
            # Rank 0 saves and reaches the barrier in one run, because a run of its own would be a further graph.
            definition.save_tensor_name = tf.identity(saved).name

    def save(self, session: tf.Session, number: int) -> None:
        """Saves the checkpoint of step `number`; every rank returns when it is written.

        Raises InputError when the checkpoint cannot be written; the earlier checkpoints stay.
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
