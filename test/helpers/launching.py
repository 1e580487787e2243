"""Starts the launchers, test/train_*.sh, for tests."""
import contextlib
import os
import random
import re
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, 'test')
HELPERS = os.path.join(HERE, 'helpers')
FAKES = os.path.join(HERE, 'fakes')
PATIENCE = 400                 # seconds; a hang ends so, and nothing else, because any process may have to wait long
LONG_STOPS = dict(STOP_SECONDS='600', SAVE_SECONDS='600')     # so that a slow rank is not killed before it has saved


def workdir_with(directory, *python):
    """Makes `directory`/python run the given command; returns the directory."""
    script = directory / 'python'
    script.write_text('#!/bin/sh\nexec %s "$@"\n' % ' '.join('"%s"' % word for word in python))
    script.chmod(0o755)
    return directory


def start(workdir, *flags, script='train_performance_1p.sh', device='0', environment=(), **popen):
    """Starts a launcher; its output goes to `output` unless a flag says otherwise."""
    inherited = {name: value for name, value in os.environ.items() if name not in ('MODELARTS_MODEL_PATH', 'LIVE_FD')}
    own = dict(LONG_STOPS, PYTHON=str(workdir / 'python'), ASCEND_DEVICE_ID=device)
    environment = dict(dict(inherited, **own), **dict(environment))
    if device is None:
        del environment['ASCEND_DEVICE_ID']
    command = ['bash', os.path.join(HERE, script), '--output_path=%s' % (workdir / 'output')]
    for stream in ('stdout', 'stderr'):
        popen.setdefault(stream, subprocess.PIPE)
    return subprocess.Popen(command + list(flags), env=environment, universal_newlines=True,
                            cwd=popen.pop('cwd', str(workdir)), **popen)


def launch(workdir, *flags, **options):
    """-> (exit status, stdout, stderr) of a launcher that has ended."""
    process = start(workdir, *flags, **options)
    stdout, stderr = process.communicate()
    return process.returncode, stdout, stderr


def trainer_of(workdir):
    """Waits until the trainer of a FAKE_TRAINER=stop run is ready; returns its process id."""
    log = workdir / 'output' / '0' / 'train_0.log'
    ready = until(lambda: log.exists() and re.search(r'ready (\d+)\n', log.read_text()))
    return int(ready.group(1))


def fake(behaviour):
    return {'environment': {'FAKE_TRAINER': behaviour}}


def until(fact):
    """Polls until fact() is true; returns it."""
    deadline = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < deadline, 'it never came true'
        time.sleep(0.02)
    return fact()


def free_ports(count):
    """The first of so many ports in a row that are free now; below those of outgoing connections."""
    while True:
        first = random.randrange(15000, 32000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(('', port))
            return first


def is_running(pid):
    try:
        with open('/proc/%d/stat' % pid) as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def tree(directory):
    """-> {relative path: content} of all files but the lock."""
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob('*')
            if path.is_file() and not path.name.startswith('.lock')}
