"""Checkpoints: saving, and finding, checking and restoring the newest whole one.

A checkpoint holds every global variable: weights, optimizer slots, the step, the means of the epoch so far, the
loss scale; and the facts of its run (core/training/identity.py). The checkpoints in ckpt/swa/ hold the variables of
the network and the facts.
TensorFlow writes the index file last, so a save that is cut short leaves temporary files and no checkpoint.
"""
import contextlib
import faulthandler
import fcntl
import functools
import glob
import math
import operator
import os
import resource
from typing import Callable, Container, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.python.training import saver

from core import files
from core.errors import InputError
from core.log import one_line, say
from core.run import Reader
from core.settings.config import Config
from core.settings.table import MOST
from core.training import identity

_KEPT = 5
_HOURS = 1e4                   # between two checkpoints that would be kept for ever
PREFIX = 'model.ckpt'
_LOCK = '.lock'                # in the directory of the checkpoints
BEST = 'best'                  # a directory in it: the checkpoint that is the best by a validation part
BROKEN = (tf.errors.OpError, TypeError, ValueError)   # of an unknown type of numbers; a ValueError is no InputError


def paths(directory: str) -> List[str]:
    """The checkpoints in `directory`, newest first by their names; the `checkpoint` state file is not read.

    Raises InputError for a directory that this user may not list.
    """
    if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.X_OK):
        raise InputError('%s: a directory that this user may not read; ask its owner for access' % directory)
    found = glob.glob(os.path.join(glob.escape(directory), PREFIX + '-*.index'))
    return sorted((path[:-len('.index')] for path in found), key=_step, reverse=True)


def newest_step(directory: str) -> int:
    """The step of the newest checkpoint in `directory`, be it whole or damaged; -1 without one."""
    return next(map(_step, paths(directory)), -1)


def _step(path: str) -> int:
    """The step in the name of a checkpoint; -1 for a name without a step."""
    number = path.rpartition('-')[2]
    return int(number) if number.isdigit() else -1


def read_whole(path: str) -> Reader:
    """A tf.train.NewCheckpointReader of `path`, every tensor of which has been read and its checksum verified.

    Raises InputError for a file that this user may not read, and one of BROKEN for a checkpoint that is damaged.
    """
    data = glob.glob(glob.escape(path) + '.data-?????-of-?????')
    for file in [path + '.index'] + data:
        if os.path.isfile(file) and not os.access(file, os.R_OK):
            raise InputError('%s: cannot be read by this user; ask its owner for access' % file)
        files.opened(file).close()     # TensorFlow would wait for the other end of a FIFO
    if not _can_be_read(path):
        raise ValueError('declares a variable of a shape or a type that no variable has')
    reader = tf.train.NewCheckpointReader(path)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    declared = sum(functools.reduce(operator.mul, shape, 1 if types[name] == tf.string else types[name].size)
                   for name, shape in shapes.items())
    there = sum(map(os.path.getsize, data))
    if declared > there:
        raise ValueError('declares %d bytes of variables and has %d' % (declared, there))
    for name in shapes:
        reader.get_tensor(name)
    return reader


def _can_be_read(path):
    """Whether TensorFlow gets through the index. At a shape or type of no tensor it ends the process, here a child."""
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            faulthandler.disable()     # the end is an answer
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            types = tf.train.NewCheckpointReader(path).get_variable_to_dtype_map().values()
            os._exit(any(kind._is_ref_dtype for kind in types))
        finally:
            os._exit(0)                # whatever it raises, this process meets, too
    return os.waitpid(child, 0)[1] == 0


def newest_whole(directory: str, below: float = math.inf) -> Tuple[Optional[str], Optional[Reader]]:
    """(path, reader) of the newest checkpoint in `directory`, of a step `below`, that is whole, or (None, None).

    A line of the log names each damaged checkpoint that is passed over.
    """
    for path in (path for path in paths(directory) if _step(path) < below):
        try:
            return path, read_whole(path)
        except BROKEN as error:
            say('Checkpoint %s is damaged and passed over: %s' % (path, one_line(str(error))))
    return None, None


def check_no_pattern(flag: str, path: str) -> None:
    """Raises InputError for a path that TensorFlow takes for a pattern when it finds or deletes checkpoints."""
    if set(path) & set('*?[\\'):
        raise InputError('%s: %s: the path of checkpoints must be without * ? [ and \\, which TensorFlow takes for '
                         'a pattern; choose another directory' % (flag, path))


def check_unused(directory: str, *folders: str) -> None:
    """Raises InputError when `directory`, or one of the `folders` in it, holds the checkpoints of an earlier run."""
    for used in [directory, *(os.path.join(directory, folder) for folder in folders)]:
        if paths(used):
            raise InputError('%s: holds the checkpoints of another run; add --resume to continue it, or choose '
                             'another directory' % used)


@contextlib.contextmanager
def claimed(directory: str, resume: bool) -> Iterator[None]:
    """A context in which no other process may write checkpoints to `directory`.

    Raises InputError when another process writes there, or, without `resume`, when `directory` holds an earlier run.
    """
    try:
        lock = files.opened(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 'r+b')
    except ValueError as error:
        raise InputError('%s: %s' % (os.path.join(directory, _LOCK), error))
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError('%s: another run is writing its checkpoints there; wait for it, or choose another '
                             'directory' % directory)
        if not resume:
            check_unused(directory)
        for part in glob.glob(os.path.join(glob.escape(directory), '**', PREFIX + '-*tempstate*'), recursive=True):
            os.remove(part)            # of a run that was killed while it wrote
        yield


def check_fits(path: str, reader: Reader, variables: Sequence[tf.Variable], network: str) -> None:
    """Raises InputError when the checkpoint lacks one of `variables` or has it in another shape."""
    shapes = reader.get_variable_to_shape_map()
    for variable in variables:
        name = variable.op.name
        if shapes.get(name) != variable.shape.as_list():
            raise InputError(
                '%s: not a checkpoint of this %s: %s is %s there, %s here; give the flags it was trained with, such '
                'as --network, or --finetune for other classes' % (
                    path, network, name, shapes.get(name, 'missing'), variable.shape.as_list()))


def nothing_left(config: Config, step: int, steps: int) -> str:
    """The line about a run that has done all of its steps."""
    return '--resume: the run in %s has already done %d steps of %d; raise --train_%s to go on' % (
        config.ckpt_dir, step, steps, 'steps' if config.train_steps else 'epochs')


def finished(config: Config, resumable: Callable[[Config, int], float]) -> str:
    """nothing_left() when --resume would train no step, judged by the newest checkpoint, else ''. Reads no data.

    resumable(config, steps of the run) -> only checkpoints of steps below it can be resumed.
    Raises InputError when the checkpoint to resume is of another run.
    """
    path, reader = newest_whole(config.ckpt_dir)
    if path:
        identity.check_checkpoint(path, reader, config, identity.facts_of(config))
        steps = config.train_steps or config.train_epochs * identity.fact(reader, 'steps_per_epoch', MOST)
        if newest_step(config.ckpt_dir) == _step(path) and steps <= _step(path) < resumable(config, steps):
            return nothing_left(config, _step(path), steps)
    return ''


def check_unclaimed(directory: str) -> None:
    """Raises InputError when another process is writing its checkpoints to `directory`."""
    if os.path.exists(os.path.join(directory, _LOCK)):
        with claimed(directory, resume=True):
            pass


def size(path: str) -> int:
    """The bytes of the newest checkpoint in the directory `path`; 0 without one."""
    return sum(os.path.getsize(file) for newest in paths(path)[:1] for file in glob.glob(glob.escape(newest) + '.*'))


class _SaveOnly(saver.BulkSaverBuilder):
    """Builds no operators that restore, because a run starts by feeding its initializers: a twelfth of the nodes."""

    def _AddRestoreOps(self, *unused, **unused_too):
        return tf.no_op()


class Checkpoints:
    """The checkpoints of `variables` in one directory, which rank 0 writes and reads.

    A tf.train.Saver of the run's own graph, made before the session: what it saves is one more graph to compile for an
    NPU, which holds the reading of the variables and nothing of a training step.
    """

    def __init__(self, directory: str, network: str, variables: Sequence[tf.Variable], kept: int = _KEPT):
        self._directory, self._network, self._variables = directory, network, variables
        # The state file has relative paths, because the directory may be copied elsewhere.
        self._saver = tf.train.Saver({v.op.name: v for v in variables}, max_to_keep=kept, save_relative_paths=True,
                                     keep_checkpoint_every_n_hours=_HOURS, builder=_SaveOnly())

    def save(self, session: tf.Session, step: int) -> None:
        """Saves the checkpoint of `step`. Raises InputError when it cannot be written; the earlier ones stay."""
        target = os.path.join(self._directory, PREFIX)
        try:
            os.makedirs(self._directory, exist_ok=True)
            path = self._saver.save(session, target, step, write_meta_graph=False)
        except (tf.errors.OpError, OSError, ValueError) as error:
            for part in glob.glob('%s-%d.*tempstate*' % (glob.escape(target), step)):
                os.remove(part)
            raise InputError('%s-%d: checkpoint not saved: %s; the ones before it are kept' % (
                target, step, str(error).splitlines()[0]))
        say('checkpoint saved in file: %s' % path)

    def count(self, last: float = math.inf) -> None:
        """Counts the checkpoints that are there already, up to the step `last`, among those of which some are kept."""
        self._saver.recover_last_checkpoints([path for path in reversed(paths(self._directory)) if _step(path) <= last])

    def resume(self, config: Config, facts: Dict[str, int], may_lack: Container[tf.Variable],
               below: float) -> Dict[tf.Variable, np.ndarray]:
        """{variable: value} of the newest whole checkpoint of the run in `config`; {} without one.

        facts: those of this run, of which a checkpoint of an earlier version may lack some, as it may lack variables in
        `may_lack`; checkpoints count that are of a step `below`.
        Raises InputError when the checkpoint belongs to another network or to another sequence of batches.
        """
        path, reader = newest_whole(self._directory, below)
        if not path:
            say('--resume: no checkpoint in %s: starting from the beginning' % self._directory)
            return {}
        variables = [v for v in self._variables if v.op.name != identity.FLAG_NOTE and (
            reader.has_tensor(v.op.name) or v not in may_lack and not v.op.name.startswith(identity.FACTS))]
        check_fits(path, reader, variables, self._network)
        identity.check_checkpoint(path, reader, config, facts)
        self.count(_step(path))
        say('resumed from checkpoint: %s' % path)
        return {v: reader.get_tensor(v.op.name) for v in variables}
