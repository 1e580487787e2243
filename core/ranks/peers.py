"""Peers: whether the other ranks of a job are there, seen from their TCP addresses.

TensorFlow 1.15's collectives know no time limit: with a peer that never came, or that died, they wait for ever.
"""
import os
import socket
import sys
import threading
import time

from core.errors import InputError

_ANSWER_SECONDS = 5.   # for a connection to be accepted
_WATCH_SECONDS = 1.    # between two looks at a peer
_TRIES = 3             # looks in a row that fail before a peer counts as lost


def await_peers(addresses, rank, seconds):
    """Returns when every rank but `rank` has answered once; `addresses` are 'host:port' by rank.

    Raises InputError after `seconds` that names the ranks that have not.
    """
    deadline = time.time() + seconds
    missing = [peer for peer in range(len(addresses)) if peer != rank]
    while True:
        missing = [peer for peer in missing if not _answers(addresses[peer])]
        if not missing:
            return
        if time.time() >= deadline:
            raise InputError('--connect_timeout=%d: no answer from %s; see why in their logs, or give them more '
                             'seconds' % (seconds, ', '.join(_name(peer, addresses) for peer in missing)))
        time.sleep(.2)


class Watch:
    """Looks after the ranks in the background and calls lost(line) when one is gone.

    Rank 0 watches all others and they watch rank 0: whoever dies, all notice within seconds, by few connections.
    """

    def __init__(self, addresses, rank, lost):
        self.lost = lost
        self._addresses = addresses
        self._failures = dict.fromkeys(range(1, len(addresses)) if rank == 0 else [0], 0)
        self._stopped = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self):
        while not self._stopped.wait(_WATCH_SECONDS):
            for peer in self._failures:
                answered = _answers(self._addresses[peer])
                self._failures[peer] = 0 if answered else self._failures[peer] + 1
                if self._failures[peer] == _TRIES:
                    self.lost('%s is gone: training stopped; --resume continues from the last checkpoint' %
                              _name(peer, self._addresses))

    def stop(self):
        """Looks no more, as when the others may end, too."""
        self._stopped.set()


def end_process(line):
    """Ends this process with status 1 though its main thread waits inside TensorFlow, where nothing else reaches it."""
    print(line, file=sys.stderr, flush=True)
    os._exit(1)


def _answers(address):
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
        return True
    except OSError:
        return False


def _name(rank, addresses):
    return 'rank %d (%s)' % (rank, addresses[rank])
