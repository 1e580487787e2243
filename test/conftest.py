"""Fixtures of all tests. test/ is no package, so as not to hide the standard library's `test`; see setup.cfg."""
import os
import sys

import pytest
from launching import FAKES, HELPERS, place_with


@pytest.fixture
def npu_calls(monkeypatch):
    """The calls that reach npu_bridge, on a machine that has it and one rank."""
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv('RANK_SIZE', '1')
    import npu_bridge
    yield npu_bridge.calls
    for name in [name for name in sys.modules if name.split('.')[0] in ('npu_bridge', 'hccl')]:
        del sys.modules[name]


@pytest.fixture
def place(tmp_path):
    """A directory with a Python that is fake_python.py."""
    return place_with(tmp_path, sys.executable, os.path.join(HELPERS, 'fake_python.py'))


@pytest.fixture
def real_place(tmp_path):
    """A directory with the Python that runs the tests: its trainer is the real one."""
    return place_with(tmp_path, sys.executable)
