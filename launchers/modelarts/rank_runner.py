"""Has a command run by the boot process of its rank: python3 rank_runner.py COMMAND ARGUMENT...

The launcher starts this in place of each trainer (launchers/shell/ranks.sh). It hands the command, its environment and
its standard streams to the boot process of $RANK_ID (launchers/modelarts/server.py), passes signals on, and ends with
the status of the command.
"""
import array
import json
import os
import signal
import socket
import sys

DIRECTORY = 'BOOT_DIRECTORY'       # the environment variable that names the directory of the sockets
STREAMS = (0, 1, 2)
KILLED = 128 + signal.SIGKILL


def connect(directory: str, name: str) -> socket.socket:
    """A connection to the socket `name` of a directory; OSError when nobody listens there."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(directory) as short:
            connection.connect(os.path.join(short, name))
    except OSError:
        connection.close()
        raise
    return connection


def listen(directory: str, name: str) -> socket.socket:
    """A socket that listens in a directory, in place of what an earlier process has left there."""
    listener = socket.socket(socket.AF_UNIX)
    if os.path.lexists(os.path.join(directory, name)):
        os.remove(os.path.join(directory, name))
    with _short(directory) as short:
        listener.bind(os.path.join(short, name))
    listener.listen(64)
    return listener


class _short:
    """A context with a short name of a directory, because a socket's path may have 107 bytes at most."""

    def __init__(self, directory):
        self._number = os.open(directory, os.O_RDONLY)

    def __enter__(self):
        return '/proc/self/fd/%d' % self._number

    def __exit__(self, *_):
        os.close(self._number)


def main() -> int:
    """The status of the command; KILLED when the boot process of the rank is gone."""
    try:
        connection = connect(os.environ[DIRECTORY], 'rank-' + os.environ['RANK_ID'])
    except OSError:
        print('the boot process of rank %s is gone' % os.environ['RANK_ID'], file=sys.stderr)
        return KILLED
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: connection.sendall(b'%d\n' % number))
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', STREAMS))
    connection.sendmsg([b'\n'], [streams])
    connection.sendall(json.dumps(dict(command=sys.argv[1:], environment=dict(os.environ))).encode() + b'\n')
    status = connection.makefile().readline()
    if not status:
        print('the boot process of rank %s was killed' % os.environ['RANK_ID'], file=sys.stderr)
    return int(status or KILLED)


if __name__ == '__main__':
    sys.exit(main())
