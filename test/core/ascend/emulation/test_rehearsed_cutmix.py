"""What a rehearsal of CutMix's network, a ResNet, tells of overflows, and what it leaves in files, on either chip."""
import csv
import glob
import re

import numpy as np
import pytest

from core.ascend.diagnostics import dump_files
from core.errors import LossIsNotFinite
from data import synthetic
from launchers import command, train
from launchers.networks import image_sets
from nets import resnet

pytestmark = pytest.mark.slow


@pytest.fixture(params=['910', '910B'])
def chip(request):
    return request.param


@pytest.fixture
def rehearse(chip, tmp_path, monkeypatch, capfd):
    """rehearse(*flags) -> (exit status, log) of a short run in float16 on the chip, one block a stage, batch 8."""
    small = image_sets.TASKS['cifar10']._replace(synthesize=lambda: synthetic.cifar10(64, 8))
    monkeypatch.setitem(image_sets.TASKS, 'cifar10', small)
    monkeypatch.setattr(resnet, 'BLOCKS', 1)

    def run(*flags):
        given = ['--network=cutmix', '--case=performance', '--batch_size=8', '--precision_mode=force_fp16',
                 '--emulate_chip=' + chip, '--output_path=%s' % tmp_path, *flags]
        return command.run(train.act, given, {}), capfd.readouterr().out
    return run


def test_a_loss_scale_that_is_too_large_skips_every_step_and_a_profile_has_each_task_once(rehearse, tmp_path):
    status, log = rehearse('--train_steps=4', '--loss_scale=16777216', '--profiling=True', '--profiling_steps=2-3')
    assert status == 0 and 'Loss scale: 4 of 4 steps skipped' in log
    summary, = glob.glob(str(tmp_path / 'profiling' / 'PROF_*' / 'mindstudio_profiler_output' / 'op_summary_*.csv'))
    with open(summary) as file:
        rows = list(csv.DictReader(file))
    assert {'Conv2D', 'MatMulV2'} <= {row['OP Type'] for row in rows}
    assert [row['OP Type'] for row in rows if not re.fullmatch('[A-Za-z0-9_]+', row['OP Type'])] == []
    assert len({(row['Op Name'], row['Task Start Time(us)']) for row in rows}) == len(rows)


def test_an_update_that_overflows_is_named_its_victims_are_not_and_what_is_dumped_is_float16(
        chip, rehearse, tmp_path):
    status, log = rehearse('--train_steps=2', '--learning_rate=100000', '--over_dump=True')
    assert status == {'910': 0, '910B': LossIsNotFinite.status}[chip]     # what saturates stays finite
    assert 'Overflow at step 0: ApplyAdam of resnet20/conv2d/kernel, made at ' in log
    assert re.findall(r'Overflow at step 1: (?!.* of them |.* variables were )', log) == []
    assert ' operators leave their range, 0 of them with operands within theirs' in log.partition(' at step 1: ')[2]
    files = glob.glob(str(tmp_path / 'overflow_dump' / '*' / '0' / 'ge_default_1' / '1' / '0' / 'ApplyAdam.*'))
    dumps = [dump_files.read_npu(file) for file in files]
    types = [tensor.array.dtype for dump in dumps for tensor in dump.inputs + dump.outputs]
    # 24 updates of a 910, 25 of a 910B; the count depends on the synthetic images.
    assert len(dumps) > 10 and set(types) == {np.dtype(np.float16)}
    assert min(np.abs(dump.outputs[0].array).max() for dump in dumps) >= 65000
