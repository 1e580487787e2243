"""Opens files that are to be locked, for bash, whose own redirections follow links and wait at FIFOs.

python3 launchers/locks.py FILE... prints a line `PID DESCRIPTOR` for each, by which bash opens the very same file as
/proc/PID/fd/DESCRIPTOR, and lives until it is killed. A file that is not there is made.
"""
import os
import signal
import sys
from typing import Sequence

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path

from core import files  # noqa: E402
from core.log import one_line  # noqa: E402


def main(paths: Sequence[str]) -> int:
    """The exit status: 2 for a path at which no plain file can be opened."""
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


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
