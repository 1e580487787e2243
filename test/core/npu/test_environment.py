"""The environment of the Ascend software: what a run sets in it, and what the machine says of its chip."""
import os

import pytest

from core.npu import environment
from core.npu.device import NPU
from core.settings import flags
from core.settings.config import resolve
from launchers.networks.registry import RECIPES


@pytest.mark.parametrize('name, chip', [('910A', '910'), ('910ProB', '910'), ('910B', '910'), ('910B3', '910B'),
                                        ('Ascend910_9391', '910B'), ('310P3', None)])
def test_npu_smi_tells_the_chip(tmp_path, monkeypatch, name, chip):
    script = tmp_path / 'npu-smi'
    script.write_text('#!/bin/sh\ncat <<END\n| NPU   Name       | Health |\n| Chip  Device     | Bus-Id |\n'
                      '+=======+\n| 0     %s     | OK     | 92.5 |\n| 0              | 0000:C1 |\nEND\n' % name)
    script.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    environment.chip_of_this_machine.cache_clear()
    try:
        assert environment.chip_of_this_machine() == chip
    finally:
        environment.chip_of_this_machine.cache_clear()


def test_without_npu_smi_the_chip_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    environment.chip_of_this_machine.cache_clear()
    assert environment.chip_of_this_machine() is None


@pytest.mark.parametrize('asked, seen', [(['--enable_hf32=True'], '1'), (['--enable_hf32=False'], '0'),
                                         ([], 'as it was')])
def test_hf32_is_a_variable_of_the_environment(monkeypatch, asked, seen):
    config = resolve(RECIPES['sesemi'], flags.parse(['--case=performance'] + asked), {})
    monkeypatch.setenv('ENABLE_HF32_EXECUTION', 'as it was')
    NPU.prepare(config, {})
    assert os.environ['ENABLE_HF32_EXECUTION'] == seen
