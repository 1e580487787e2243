"""Every way in which a run can end before it is done, each class with the exit status of its process.

launchers/command.py prints its line and returns the status.
"""
import contextlib
import re
import signal
from typing import Iterator

from core.log import one_line


class RunEnd(Exception):
    """Base of all of them; str() is one line for the user (core.log.one_line)."""
    status = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class InputError(RunEnd, ValueError):
    """Bad input from a user: a flag, a file or the environment.

    Its message has the flag or file, what is wrong and what to do.
    """
    status = 2


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """A context in which what a graph makes of bad data is an InputError of one line.

    That is the InputError of a Python function (tf.py_func), and values that an operator cannot take.
    """
    try:
        yield
    except Exception as error:         # TensorFlow makes one of its own of it, with the traceback as its message
        message = getattr(error, 'message', None) or ''
        found = re.search('InputError: (.*)', message)
        if found:
            raise InputError(found[1]) from None
        if type(error).__name__ != 'InvalidArgumentError' or not error.op:   # TensorFlow's, which this file lacks
            raise
        raise InputError('%s: in the operator %s, %s; see whether the data is what the network takes' % (
            message.splitlines()[0], error.op.name, error.op.type)) from error


class RankLost(RunEnd):
    """Another rank is gone in the middle of the run."""


class OrderlyEnd(RunEnd):
    """A run's end to which every rank comes after the same step."""


class LossIsNotFinite(OrderlyEnd):
    """The loss of a step is NaN or infinite.

    With this status launchers/shell/ranks.sh does not restart the run, which would not help, and ends with 1.
    """
    status = 4


class NothingLeft(OrderlyEnd):
    """The run of --resume has done all of its steps.

    With this status launchers/shell/ranks.sh ends with 0.
    """
    status = 3


class Interrupted(OrderlyEnd):
    """SIGTERM or Ctrl-C ended the run after a checkpoint was saved."""

    def __init__(self, signum: int, step: int):
        super().__init__('%s: stopped after step %d; --resume continues' % (signal.Signals(signum).name, step))
        self.status = 128 + signum
