"""A Python that has imported TensorFlow already, which saves each command of the launchers 2 seconds.

    forking_python.py serve SOCKET              forks a process for each request
    forking_python.py run SOCKET PYTHON ...     instead of PYTHON ..., by a Python that need not have any package

A command runs as in a process of its own, in the repository that it is started from: it is forked off before TensorFlow
has started a thread or a session, and the process that asked for it lives as long as it does.
"""
import array
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys

LIGHT = ('locks', 'stalls', 'runs', 'doctor')      # commands that need no TensorFlow
STREAMS = (0, 1, 2)


def run(path, python, *arguments):
    """Becomes the Python for what needs no TensorFlow; else the exit status of the forked command."""
    if len(arguments) < 2 or arguments[1] in LIGHT or arguments[0] != '-c' and not os.path.isdir(arguments[0]):
        os.execv(python, [python, *arguments])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendmsg([b'\n'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', STREAMS))])
    request = dict(arguments=arguments, environment=dict(os.environ), directory=os.getcwd(), parent=os.getppid())
    connection.sendall(json.dumps(request).encode() + b'\n')
    return int(connection.makefile().readline() or 1)


def serve(path):
    """Returns, in each forked process, the __main__.py or the code that it is to run."""
    import tensorflow                              # noqa: F401, which takes the 2 seconds
    gc.collect()
    gc.freeze()                                    # as in prefork.py
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print('ready', flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for a command
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _become(connection)
        connection.close()


def _become(connection):
    _, (streams,), *_ = connection.recvmsg(1, socket.CMSG_SPACE(4 * len(STREAMS)))
    numbers = array.array('i', streams[2])
    request = json.loads(connection.makefile().readline())
    pid = os.fork()
    if pid:
        for number in numbers:
            os.close(number)
        _wait(connection, pid)
    os.setpgid(0, 0)
    for stream, number in zip(STREAMS, numbers):
        os.dup2(number, stream)
        os.close(number)
    connection.close()
    os.chdir(request['directory'])
    os.environ.clear()
    os.environ.update(request['environment'])
    # A trainer ends when its parent is not the launcher any more; here it is when the process that waits has ended.
    waits, parent_of = os.getppid(), os.getppid
    os.getppid = lambda: request['parent'] if parent_of() == waits else parent_of()
    sys.argv[:] = request['arguments']
    paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    code = sys.argv.pop(1) if sys.argv[0] == '-c' else None
    sys.path[:1] = [sys.argv[0] if code is None else '', *filter(None, paths)]
    return os.path.join(sys.argv[0], '__main__.py') if code is None else compile(code, '-c', 'exec')


def _wait(connection, pid):
    """Sends the status of the process, which is killed when nobody waits for it any more."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            connection.sendall(b'%d\n' % status)
            os._exit(0)
        if select.select([connection], [], [], .02)[0]:
            os.kill(pid, signal.SIGKILL)
            os._exit(0)


if __name__ == '__main__':
    if sys.argv[1] == 'run':
        sys.exit(run(*sys.argv[2:]))
    program = serve(sys.argv[2])
    if isinstance(program, str):
        runpy.run_path(program, run_name='__main__')
    else:
        exec(program, {'__name__': '__main__'})
