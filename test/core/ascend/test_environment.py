"""The environment of the Ascend software: what a run sets in it."""
import os

import pytest

from core.ascend.device import NPU
from core.settings import flags
from core.settings.config import resolve
from launchers.networks.registry import RECIPES


@pytest.mark.parametrize('asked, seen', [(['--enable_hf32=True'], '1'), (['--enable_hf32=False'], '0'),
                                         ([], 'as it was')])
def test_hf32_is_a_variable_of_the_environment(monkeypatch, asked, seen):
    config = resolve(RECIPES['sesemi'], flags.parse(['--case=performance'] + asked), {})
    monkeypatch.setenv('ENABLE_HF32_EXECUTION', 'as it was')
    NPU.prepare(config, {})
    assert os.environ['ENABLE_HF32_EXECUTION'] == seen
