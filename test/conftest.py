"""Fixtures of all tests. test/ is no package, so as not to hide the standard library's `test`; see setup.cfg."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest
from launching import FAKES, HELPERS, workdir_with


def pytest_configure(config):
    """Lets tests send Ctrl-C, and gives each process of pytest-xdist a directory for temporary files.

    Runs lock their devices in that directory, so two of them would wait for each other. An operator has one thread
    where a session does not ask for more: threads that look for work cost small networks a third of the CPU time.
    """
    os.environ.update(TF_NUM_INTRAOP_THREADS='1', TF_OVERRIDE_GLOBAL_THREADPOOL='1')
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:      # of a job in the background; children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, 'workerinput'):
        os.environ['TMPDIR'] = tempfile.mkdtemp(prefix='tests-')
        config.add_cleanup(lambda: shutil.rmtree(os.environ['TMPDIR'], ignore_errors=True))


def pytest_collection_modifyitems(items):
    """Puts the file that takes longest first, so that the processes end at the same time."""
    items.sort(key=lambda item: os.path.basename(str(item.fspath)) != 'test_commands_of_pages.py')


@pytest.fixture
def npu(monkeypatch):
    """The chip and adapter of a machine with npu_bridge and one rank: test/fakes/npu_bridge/machine.py."""
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv('RANK_SIZE', '1')
    from npu_bridge import machine
    yield machine
    machine.stop()
    for name in [name for name in sys.modules if name.split('.')[0] in ('npu_bridge', 'hccl')]:
        del sys.modules[name]


@pytest.fixture
def npu_calls(npu):
    """The calls that reach npu_bridge on such a machine."""
    return npu.calls


@pytest.fixture
def workdir(tmp_path):
    """A directory with a Python that is fake_python.py."""
    return workdir_with(tmp_path, sys.executable, os.path.join(HELPERS, 'fake_python.py'))


@pytest.fixture
def real_workdir(tmp_path):
    """A directory with the Python that runs the tests: its trainer is the real one."""
    return workdir_with(tmp_path, sys.executable)


@pytest.fixture(scope='session')
def forking_python(tmp_path_factory):
    """The words of forking_python.py in place of the Python that runs the tests, for commands that get no signal."""
    script, path = os.path.join(HELPERS, 'forking_python.py'), str(tmp_path_factory.mktemp('forking') / 'socket')
    server = subprocess.Popen([sys.executable, script, 'serve', path], stdout=subprocess.PIPE,
                              env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL='3'))
    assert server.stdout.readline() == b'ready\n'
    yield [os.path.join(sys.base_prefix, 'bin', 'python3'), '-S', '-E', script, 'run', path, sys.executable]
    server.kill()
    server.wait()
    server.stdout.close()


@pytest.fixture
def forking_workdir(tmp_path, forking_python):
    """As real_workdir, at a third of the CPU time."""
    return workdir_with(tmp_path, *forking_python)
