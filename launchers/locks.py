"""Opens files that are to be locked for bash, because bash's redirections follow links and wait at FIFOs.

python3 -m launchers locks FILE... prints a line `PID DESCRIPTOR` for each, by which bash opens the very same file as
/proc/PID/fd/DESCRIPTOR, and lives until it is killed. A file that is not there is made.
"""
import os
import signal
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'locks'] + sys.argv[1:])

from core import files
from core.log import one_line


def main(paths: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status: 2 for a path at which no plain file can be opened."""
    del environ
    opened = []                    # kept, because a file object that nobody has is closed
    for path in paths:
        try:
            opened.append(_open(path))
        except ValueError as error:
            print(one_line('%s: %s; remove it, or have its owner do so' % (path, error)), file=sys.stderr)
            return 2
    for file in opened:
        print(os.getpid(), file.fileno(), flush=True)
    signal.pause()
    return 0


def _open(path):
    """Another user's file can be read only; network file systems refuse a lock by a descriptor that only reads."""
    try:
        return files.opened(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 'r+b')
    except ValueError:
        return files.opened(path, os.O_RDONLY | os.O_NOFOLLOW)
