"""What tests read of runs of the network toy, and how they interrupt one."""
import os
import re
import sys
import tempfile

from launching import HELPERS, until
from prefork import Forked

TOY = [sys.executable, os.path.join(HELPERS, 'toy.py')]


def losses(log):
    """{step: the rest of its log line}; a step that two processes logged must have logged the same."""
    found = {}
    for step, rest in re.findall(r'^step (\d+) (.*)$', log, re.M):
        assert found.setdefault(int(step), rest) == rest
    return found


def steps_saved(directory):
    return sorted(int(re.search(r'-(\d+)\.index', name).group(1))
                  for name in os.listdir(str(directory)) if name.endswith('.index'))


def interrupted(output, marker, signum):
    """A run without end that is sent `signum` when its log has a line that starts with `marker`.

    -> (status, log, last line of standard error)
    """
    with tempfile.TemporaryDirectory() as directory:
        log, error = (os.path.join(directory, name) for name in ('log', 'error'))
        process = Forked([TOY[1], output, '--train_epochs=1000000'], log, error)
        until(lambda: '\n' + marker in read(log) or process.poll() is not None)
        process.send_signal(signum)
        status = process.wait()
        # A line cut short by the kill is no line.
        return status, read(log).rpartition('\n')[0] + '\n', read(error).splitlines()[-1]


def read(path):
    with open(path) as file:
        return file.read()
