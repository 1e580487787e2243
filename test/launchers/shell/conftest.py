"""Fixtures of the tests of the launchers' bash."""
import pytest
from python_machine import Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)
