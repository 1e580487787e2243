"""Peers: whether the processes of the other ranks still accept connections at their addresses.

TensorFlow 1.15's collectives have no time limit: when another rank never starts, or dies, they wait for ever.
"""
import socket
import threading
import time
from typing import Callable, Sequence

from core.errors import InputError

_ANSWER_SECONDS = 5.   # for a connection to be accepted
_WATCH_SECONDS = 1.    # between two probes of a peer
_TRIES = 3             # a peer is lost when so many probes in a row fail


def await_peers(addresses: Sequence[str], rank: int, seconds: int) -> None:
    """Returns when every rank but `rank` has accepted a connection; `addresses` are 'host:port' by rank.

    Raises InputError, which names the ranks that did not, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    missing = [peer for peer in range(len(addresses)) if peer != rank]
    while True:
        missing = [peer for peer in missing if not _answers(addresses[peer])]
        if not missing:
            return
        if time.monotonic() >= deadline:
            raise InputError('--connect_timeout=%d: no answer from %s; see why in their logs, or give them more '
                             'seconds' % (seconds, ', '.join(_name(peer, addresses) for peer in missing)))
        time.sleep(.2)


class Watch:
    """A thread that probes other ranks and calls lost(line) when one of them is gone.

    Rank 0 probes all other ranks and they probe rank 0. So all notice within seconds that any rank died, and the
    number of connections grows only with the number of ranks.
    """

    def __init__(self, addresses: Sequence[str], rank: int, lost: Callable[[str], None]):
        self.lost = lost
        self._addresses = addresses
        self._failures = dict.fromkeys(range(1, len(addresses)) if rank == 0 else [0], 0)
        self._stopped = threading.Event()
        threading.Thread(target=self._probe, daemon=True).start()

    def _probe(self):
        while not self._stopped.wait(_WATCH_SECONDS):
            for peer in self._failures:
                answered = _answers(self._addresses[peer])
                self._failures[peer] = 0 if answered else self._failures[peer] + 1
                if self._failures[peer] == _TRIES:
                    self.lost('%s is gone: training stopped; --resume continues from the last checkpoint' %
                              _name(peer, self._addresses))

    def stop(self) -> None:
        """Ends the probes. From now on the other ranks may end their processes, too."""
        self._stopped.set()


def _answers(address):
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
        return True
    except OSError:
        return False


def _name(rank, addresses):
    return 'rank %d (%s)' % (rank, addresses[rank])
