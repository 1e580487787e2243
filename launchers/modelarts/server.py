"""The boot processes of one server, which the platform starts once per card: each trains the rank of its card.

The lowest rank of the server copies the data and the results. All that they know of each other are locks in
CACHE_DIR/boot, which the kernel takes back however a process ends:

    rank-R   the boot process of rank R lives
    data     the data is not there yet
"""
import contextlib
import fcntl
import os
import shutil
import time
from typing import BinaryIO, Dict, List, Sequence

from core import files
from core.errors import InputError, RankLost

# What the launcher of a rank gets from its boot process; launchers/shell/ranks.sh reads them.
VARIABLES = ('ONLY_RANK', 'RANKS_DIRECTORY', 'BOOT_LOCK')
_DATA = 'data'
_POLL_SECONDS = .1


class BootProcesses:
    """The boot processes of this server as `rank` sees them; no other process is this rank from now on.

    directory: of the locks; ranks: of the server, the lowest first. Raises InputError when there is another one.
    """

    def __init__(self, directory: str, rank: int, ranks: Sequence[int]):
        self._directory, self._rank, self._ranks = directory, rank, ranks
        self._meeting = os.path.join(directory, 'meeting')
        self.copies = rank == ranks[0]
        self._data = self._hold(_DATA) if self.copies else None
        self._lock = self._hold(_name(rank))

    @property
    def variables(self) -> Dict[str, str]:
        """The environment variables for the launcher."""
        lock = {'BOOT_LOCK': os.path.join(self._directory, _name(self._rank))}
        if len(self._ranks) == 1:
            return lock
        return dict(lock, ONLY_RANK=str(self._rank), RANKS_DIRECTORY=self._meeting)

    def gather(self, seconds: float) -> None:
        """Waits for the boot processes that this one needs. Raises InputError when one does not come in time."""
        deadline = time.monotonic() + seconds
        needed = self._ranks if self.copies else self._ranks[:1]
        while self._missing(needed):
            if time.monotonic() > deadline:
                raise InputError(
                    'RANK_ID: the platform has not started the boot file for rank %s of this server within %d seconds; '
                    'where it runs the boot file once per server, unset RANK_ID' % (
                        ', '.join(map(str, self._missing(needed))), seconds))
            time.sleep(_POLL_SECONDS)

    def share_data(self) -> None:
        """Gives all ranks the lowest rank's data. Raises RankLost when a rank has ended meanwhile."""
        for rank in self._missing(self._ranks):
            raise RankLost('the boot process of rank %d has ended; see its log' % rank)
        shutil.rmtree(self._meeting, ignore_errors=True)   # of an earlier job
        os.mkdir(self._meeting, 0o700)
        self._data.close()

    def await_data(self) -> None:
        """Returns when the lowest rank has shared the data. Raises RankLost when it has ended before."""
        with self._open(_DATA) as data:
            fcntl.flock(data, fcntl.LOCK_SH)
        for rank in self._missing(self._ranks[:1]):
            raise RankLost('the boot process of rank %d, which copies the data, has ended; see its log' % rank)

    def await_ends(self) -> None:
        """Returns when all other boot processes of this server have ended, and so written all of their results."""
        for rank in self._ranks:
            if rank != self._rank:
                with self._open(_name(rank)) as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(self._meeting, ignore_errors=True)

    def give_up(self, status: int) -> None:
        """Ends the other ranks, which would wait for this one: its launcher has ended with this status at its start."""
        with contextlib.suppress(OSError), open(os.path.join(self._meeting, 'end-0'), 'x') as file:
            file.write('%d rank %d ended with status %d\n' % (status, self._rank, status))

    def _missing(self, ranks) -> List[int]:
        return [rank for rank in ranks if rank != self._rank and not self._is_held(_name(rank))]

    def _is_held(self, name):
        with self._open(name) as file:
            return not _lock(file, fcntl.LOCK_SH)

    def _hold(self, name) -> BinaryIO:
        file = self._open(name)
        while not _lock(file, fcntl.LOCK_EX):
            if not _lock(file, fcntl.LOCK_SH):     # a process that only looks at it shares it
                raise InputError('RANK_ID=%d: another boot process of this rank works in %s; give each job a '
                                 '--cache_dir of its own' % (self._rank, os.path.dirname(self._directory)))
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(_POLL_SECONDS)
        return file

    def _open(self, name) -> BinaryIO:
        path = os.path.join(self._directory, name)
        try:
            return files.opened(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 'r+b')
        except ValueError as error:
            raise InputError('--cache_dir: %s: %s; remove it' % (path, error))


def _name(rank):
    return 'rank-%d' % rank


def _lock(file, how) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
