"""Meeting: how the ranks of one server find each other, share memory, and notice that one of them is gone.

Rank 0 listens at a Unix socket in a directory that no other user can enter. It sends every other rank a descriptor of
memory without a name, so that nothing is left of it when the ranks have ended, in whatever way.
"""
import array
import collections
import contextlib
import ctypes
import os
import select
import socket
import stat
import struct
import tempfile
import threading
import time
from typing import Callable, Dict, Iterator, List, Sequence

from core.errors import InputError, RankLost

_SOCKET = 'rank-0'
_NUMBER = struct.Struct('q')
_DONE = 0                      # the message of a rank that needs no other rank any more
_PAUSE_SECONDS = .05           # between two tries to connect
_ROOT_CAUSE_SECONDS = 1.       # so long the launcher has to see the rank that died before it sees those that follow it


class Meeting:
    """The connections between rank 0 and all other ranks of a server.

    directory: of this user alone, the same for all ranks. seconds: the limit for all ranks to come. Raises InputError
    when a rank does not come in time.
    """

    def __init__(self, directory: str, rank: int, ranks: int, seconds: float):
        self._rank, self._directory = rank, directory
        self._deadline, self._seconds = time.monotonic() + seconds, seconds
        self._arrived = collections.Counter()      # (rank, message) -> how often it came
        self._news = threading.Condition()
        with _only_ours(directory) as short:
            address = os.path.join(short, _SOCKET)
            if rank == 0:
                self.memory = _memory()            # its descriptor
                self._peers = self._accept(address, ranks)
            else:
                self._peers = {0: self._connect(address)}
                self.memory = self._receive_memory()

    def share(self, numbers: Sequence[int]) -> List[int]:
        """The numbers (int64) of rank 0; all ranks call it once, with as many numbers, and then watch()."""
        form = struct.Struct('%dq' % len(numbers))
        if self._rank == 0:
            for connection in self._peers.values():
                with contextlib.suppress(OSError):     # watch() notices
                    connection.sendall(form.pack(*numbers))
            return list(numbers)
        sent = self._peers[0].recv(form.size, socket.MSG_WAITALL)
        if len(sent) < form.size:
            raise RankLost(_gone(0))
        return list(form.unpack(sent))

    def watch(self, lost: Callable[[str], None], every_second: Callable[[], None]) -> None:
        """Starts the thread that calls lost(line) when another rank is gone. Rank 0 looks after all, they after it."""
        threading.Thread(target=self._watch, args=(lost, every_second), daemon=True).start()

    def send(self, message: int) -> None:
        """Sends a number above 0 to all ranks that this one has a connection with."""
        for connection in self._peers.values():
            with contextlib.suppress(OSError):         # the thread notices
                connection.sendall(_NUMBER.pack(message))

    def wait(self, message: int, times: int) -> None:
        """Returns when it has come so many times from each of these ranks."""
        with self._news:
            self._news.wait_for(lambda: all(self._arrived[peer, message] >= times for peer in self._peers))

    def leave(self) -> None:
        """From now on the other ranks may end, and do without this one."""
        self.send(_DONE)
        self._peers = {}

    def _accept(self, address, ranks) -> Dict[int, socket.socket]:
        peers: Dict[int, socket.socket] = {}
        with contextlib.suppress(FileNotFoundError):
            os.remove(address)                         # left by ranks that were killed
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(ranks)
            while len(peers) < ranks - 1:
                listener.settimeout(max(self._deadline - time.monotonic(), .001))
                try:
                    connection, _ = listener.accept()
                except socket.timeout:
                    missing = sorted(set(range(1, ranks)) - set(peers))
                    raise self._no_answer('rank%s %s' % ('s' * (len(missing) > 1), ', '.join(map(str, missing))))
                peers[_NUMBER.unpack(connection.recv(_NUMBER.size, socket.MSG_WAITALL))[0]] = connection
            os.remove(address)
        descriptor = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [self.memory])
        for connection in peers.values():
            connection.sendmsg([b'm'], [descriptor])
        return peers

    def _connect(self, address) -> socket.socket:
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(address)
                connection.sendall(_NUMBER.pack(self._rank))
                return connection
            except OSError:                            # rank 0 does not listen yet
                connection.close()
            if time.monotonic() > self._deadline:
                raise self._no_answer('rank 0')
            time.sleep(_PAUSE_SECONDS)

    def _receive_memory(self) -> int:
        connection = self._peers[0]
        connection.settimeout(max(self._deadline - time.monotonic(), 0) + 1)   # rank 0 names who is missing
        try:
            _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(array.array('i').itemsize))
        except socket.timeout:
            raise self._no_answer('rank 0')
        except OSError:
            ancillary = []
        if not ancillary:
            raise RankLost(_gone(0))
        connection.settimeout(None)
        return array.array('i', ancillary[0][2])[0]

    def _no_answer(self, who) -> InputError:
        return InputError('--connect_timeout=%d: no answer from %s; see why in the logs of the ranks, or give them '
                          'more seconds' % (self._seconds, who))

    def _watch(self, lost, every_second):
        poll, ranks = select.poll(), {}
        for peer, connection in self._peers.items():
            poll.register(connection, select.POLLIN)
            ranks[connection.fileno()] = peer, connection
        while True:
            every_second()
            for number, _ in poll.poll(1000):
                peer, connection = ranks[number]
                message = _received(connection)
                with self._news:
                    self._arrived[peer, message] += 1
                    self._news.notify_all()
                if message is None:
                    poll.unregister(number)
                    if self._peers and not self._arrived[peer, _DONE]:
                        time.sleep(_ROOT_CAUSE_SECONDS)
                        lost(_gone(peer))


@contextlib.contextmanager
def _only_ours(directory: str) -> Iterator[str]:
    """A short name of the directory, because a socket's path may have 107 bytes at most."""
    try:
        number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise InputError('RANKS_DIRECTORY=%s (environment): %s; test/train_*_8p.sh set it' % (
            directory, error.strerror))
    try:
        status = os.fstat(number)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise InputError('RANKS_DIRECTORY=%s (environment): must be a directory of this user alone (mode 0700)' %
                             directory)
        yield '/proc/self/fd/%d' % number
    finally:
        os.close(number)


def _memory() -> int:
    """The descriptor of an empty file in memory that has no name."""
    make = getattr(ctypes.CDLL(None, use_errno=True), 'memfd_create', None)
    descriptor = make(b'ranks', 1) if make else -1     # 1: MFD_CLOEXEC
    if descriptor >= 0:
        return descriptor
    with tempfile.TemporaryFile(dir='/dev/shm') as file:   # Linux before 3.17, or glibc before 2.27
        return os.dup(file.fileno())


def _received(connection):
    """A message, or None at the end of the connection."""
    try:
        message = connection.recv(_NUMBER.size, socket.MSG_WAITALL)
    except OSError:
        return None
    return _NUMBER.unpack(message)[0] if len(message) == _NUMBER.size else None


def _gone(peer):
    return 'rank %d is gone: training stopped; --resume continues from the last checkpoint' % peer
