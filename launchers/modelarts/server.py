"""The boot processes of one server, which the platform starts once per card.

The first that takes the lock in CACHE_DIR/boot leads: it copies the data, runs the launcher and copies the results.
The launcher starts each rank through launchers/modelarts/rank_runner.py, so that the trainer of a rank is a child of
that rank's own boot process. The other boot processes wait for their trainers' commands, and end with the status of
the leader.
"""
import array
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from core.errors import InputError
from launchers.modelarts.rank_runner import STREAMS, connect, listen
from launchers.modelarts.redaction import say

_LOCK, _LEADER = 'leader.lock', 'leader.sock'
_POLL_SECONDS = .1
_SIGNAL_WHEN_PARENT_ENDS = 1   # prctl's PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None)
# The launcher decides these; all other variables of a trainer are those of its boot process.
_OF_LAUNCHER = ('RANK_ID', 'RANK_SIZE', 'ASCEND_DEVICE_ID', 'RANK_TABLE_FILE', 'RANK_ADDRESSES', 'JOB_ID')


class Trainers:
    """Runs the commands that rank_runner.py sends for one rank, in the background."""

    def __init__(self, directory: str, rank: int, environ: Mapping[str, str]):
        self._environ = environ
        self._running: List[subprocess.Popen] = []
        self._listener = listen(directory, 'rank-%d' % rank)
        threading.Thread(target=self._accept, daemon=True).start()

    def signal(self, number: int) -> bool:
        """Sends a signal to the running command; returns whether there is one."""
        running = list(self._running)
        for process in running:
            process.send_signal(number)
        return bool(running)

    def _accept(self):
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4 * len(STREAMS)))
        streams = array.array('i')
        streams.frombytes(ancillary[0][2])
        lines = connection.makefile()
        request = json.loads(lines.readline())
        try:
            # The thread lives as long as the command, so the command is killed when this process is.
            process = subprocess.Popen(
                request['command'], env=self._environment(request['environment']), start_new_session=True,
                preexec_fn=lambda: _LIBC.prctl(_SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL),
                **dict(zip(('stdin', 'stdout', 'stderr'), streams)))
        finally:
            for stream in streams:
                os.close(stream)
        self._running.append(process)
        threading.Thread(target=_obey, args=(lines, process), daemon=True).start()
        status = process.wait()
        self._running.remove(process)
        try:
            connection.sendall(b'%d\n' % (status if status >= 0 else 128 - status))
        except OSError:  # the launcher has killed rank_runner.py
            pass
        connection.close()

    def _environment(self, of_launcher):
        decided = {name: of_launcher[name] for name in _OF_LAUNCHER if name in of_launcher}
        return dict(of_launcher, **dict(self._environ, **decided), LAUNCHER_PID=str(os.getpid()))


def _obey(lines, process):
    """Passes the signals on that rank_runner.py has received; kills the command when rank_runner.py is gone."""
    for line in lines:
        process.send_signal(int(line))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


class Leader:
    """The boot process of a server that leads the others."""

    def __init__(self, directory: str, lock: int):
        self._lock = lock          # held until this process ends
        self._listener = listen(directory, _LEADER)
        self._others: Dict[int, socket.socket] = {}

    def gather(self, rank: int, ranks: Sequence[int], devices: Sequence[int], device: Optional[str],
               seconds: int) -> None:
        """Waits for the boot processes of the other ranks of this server; this one's is `rank` with `device`.

        devices: of each of `ranks`, as the rank table has it. Raises InputError for a rank that does not come within
        so many seconds, that has ended, that another server has, or that is on another device.
        """
        _check_place(rank, device, ranks, devices)
        deadline = time.monotonic() + seconds
        while True:
            missing = set(ranks) - {rank} - set(self._others)
            if not missing:
                break
            self._listener.settimeout(max(deadline - time.monotonic(), .01))
            try:
                connection, _ = self._listener.accept()
            except socket.timeout:
                raise InputError(
                    'RANK_ID: the platform has not started the boot file for rank %s of this server within %d seconds; '
                    'where it runs the boot file once per server, unset RANK_ID' % (
                        ', '.join(map(str, sorted(missing))), seconds))
            connection.settimeout(None)
            other, its_device = json.loads(connection.makefile().readline())
            if other in self._others or other == rank:
                raise InputError('RANK_ID=%d (environment): two boot processes of this server have it' % other)
            _check_place(other, its_device, ranks, devices)
            self._others[other] = connection
        for other, connection in self._others.items():
            connection.setblocking(False)
            try:
                if not connection.recv(1):
                    raise InputError('the boot process of rank %d has ended; see its log' % other)
            except BlockingIOError:
                connection.setblocking(True)

    def end(self, status: int) -> None:
        """Ends the other boot processes with this status, those that gather() has not heard, too."""
        connections = list(self._others.values())
        self._listener.setblocking(False)
        while True:
            try:
                connections.append(self._listener.accept()[0])
            except BlockingIOError:
                break
        for connection in connections:
            try:
                connection.sendall(b'%d\n' % status)
            except OSError:  # it has ended already
                pass


def _check_place(rank, device, ranks, devices):
    places = dict(zip(ranks, map(str, devices)))
    if rank not in places:
        raise InputError('RANK_ID=%d (environment): this server has the ranks %s' % (
            rank, ' '.join(map(str, ranks))))
    if device and device != places[rank]:
        raise InputError('ASCEND_DEVICE_ID=%s (environment): rank %d is on device %s in the rank table' % (
            device, rank, places[rank]))


def lead_or_follow(directory: str, rank: int,
                   environ: Mapping[str, str]) -> Tuple[Optional[Leader], Optional[int]]:
    """(Leader, None) for the first boot process of a server, (None, status of its end) for the others.

    environ: of the trainer that this process runs. Returns for the others when the leader has ended.
    """
    os.makedirs(directory, exist_ok=True)
    trainers = Trainers(directory, rank, environ)
    lock = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Leader(directory, lock), None
        except BlockingIOError:
            pass
        try:
            connection = connect(directory, _LEADER)
        except OSError:  # the leader does not listen yet, or has ended
            time.sleep(_POLL_SECONDS)
            continue
        os.close(lock)
        return None, _follow(connection, rank, environ.get('ASCEND_DEVICE_ID'), trainers)


def _follow(connection, rank, device, trainers):
    def forward(number, frame):
        if not trainers.signal(number):
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    connection.sendall(json.dumps([rank, device]).encode() + b'\n')
    say('rank %d: another boot process of this server copies the data and the results' % rank)
    status = connection.makefile().readline()
    if status:
        return int(status)
    trainers.signal(signal.SIGKILL)
    say('rank %d: the boot process that copies the data and the results is gone' % rank)
    return 1
