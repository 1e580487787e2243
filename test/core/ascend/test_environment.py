"""The environment of the Ascend software: what a run sets in it."""
import os

import pytest

from core.ascend import machine
from core.ascend.device import NPU
from core.errors import InputError
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


def check(monkeypatch, ranks=1, device_id=0, family=None, **environ):
    config = resolve(RECIPES['sesemi'], flags.parse(['--case=performance', '--device_id=%d' % device_id]), {})
    monkeypatch.setattr(machine, 'family', lambda: family)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    NPU.check(config._replace(ranks=ranks), {})


@pytest.mark.parametrize('family, is_there', [('910', False), ('A2', False), ('A3', True), ('950', True), (None, True)])
def test_devices_8_to_15_are_those_of_an_a3_or_of_a_chip_that_is_not_known(monkeypatch, family, is_there):
    check(monkeypatch, device_id=7, family=family)
    if is_there:
        check(monkeypatch, device_id=15, family=family)
    else:
        with pytest.raises(InputError, match='ASCEND_DEVICE_ID=15: a server of this chip has devices 0 to 7'):
            check(monkeypatch, device_id=15, family=family)


def test_a_chief_beside_a_rank_table_is_refused_where_ranks_exchange(monkeypatch):
    both = dict(CM_CHIEF_IP='10.0.0.1', RANK_TABLE_FILE='table.json', JOB_ID='1', RANK_SIZE='2')
    check(monkeypatch, **both)
    with pytest.raises(InputError, match='CM_CHIEF_IP .* unset one of them'):
        check(monkeypatch, ranks=2, **both)


@pytest.mark.parametrize('text, is_refused', [
    ('{"task": {"type": "ps", "index": 0}}', True), ('{"task": {"type": "worker", "index": 0}}', False),
    ('{}', False), ('no JSON', False), ('[]', False)])
def test_a_parameter_server_is_refused(monkeypatch, text, is_refused):
    if not is_refused:
        return check(monkeypatch, TF_CONFIG=text)
    with pytest.raises(InputError, match='TF_CONFIG .*unset the variable'):
        check(monkeypatch, TF_CONFIG=text)


@pytest.mark.parametrize('ranks, flag, exported, seen', [
    (2, '--connect_timeout=600', '', '600'), (2, '--connect_timeout=5', '', '120'),
    (2, '--connect_timeout=5', '900', '900'), (1, '--connect_timeout=600', '', None)])
def test_hccl_waits_for_other_ranks_as_long_as_the_flag_says(monkeypatch, ranks, flag, exported, seen):
    monkeypatch.setenv('HCCL_CONNECT_TIMEOUT', exported)
    if not exported:
        monkeypatch.delenv('HCCL_CONNECT_TIMEOUT')
    config = resolve(RECIPES['sesemi'], flags.parse(['--case=performance', flag]), {})
    NPU.prepare(config._replace(ranks=ranks), {})
    assert os.environ.get('HCCL_CONNECT_TIMEOUT') == seen
