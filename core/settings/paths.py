"""Whether the directories that a user names can be read or written; nothing is made."""
import errno
import os

from core.errors import InputError

CACHE = 'cache'                # of --output_path: what only costs time to make anew
GRAPH_CACHE = 'graph_cache'    # of --output_path: graphs compiled for an NPU, beside the results that a run moves away


def check_readable(flag: str, path: str) -> None:
    """Raises InputError unless `path` is a directory with files that this user may list and read."""
    if not os.path.isdir(path):
        raise InputError('%s=%s: %s' % (flag, path, 'is a file: unpack an archive, and name the directory with the '
                                        'files' if os.path.exists(path) else 'no such directory'))
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError('%s=%s: cannot be read by this user' % (flag, path))


def check_writable(flag: str, path: str) -> None:
    """Raises InputError unless directory `path` can be written to or made."""
    existing = existing_part(path)
    if not (os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)):
        raise InputError('%s=%s: cannot be written: %s is not a directory that this user may write to' % (
            flag, path, existing))
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError('%s=%s: cannot be written: a name in it is too long' % (flag, path))


def check_room(flag: str, path: str, needed: int) -> None:
    """Raises InputError when the disk of `path`, there or not yet, has less than `needed` bytes left for this user."""
    disk = os.statvfs(existing_part(path))
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise InputError('%s=%s: the disk has %d kB left, the run needs %d kB; make room, or choose another'
                         % (flag, path, free // 1000, needed // 1000))


def existing_part(path: str) -> str:
    """`path`, or the nearest directory above that exists."""
    existing = os.path.abspath(path)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    return existing
