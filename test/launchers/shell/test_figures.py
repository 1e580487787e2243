"""launchers/networks/<network>.sh reads the right figures out of our logs and the vendors' own."""
import os
import subprocess

import pytest
from launching import HERE
from log_reading import bash, figures

from core.reporting.report import Report
from launchers.networks.registry import RECIPES

GOLDEN = os.path.join(HERE, 'golden')


@pytest.mark.parametrize('network, fps, step_time, losses, accuracy', [
    ('cspnet', 1250.0, 0.0512, [2.3025851, 1.2345678], ['0.6605']),
    ('alexnet', 812.6, 0.123, [0.693147, 0.412345], ['63.4']),
    ('swa', 1 / 0.62e-6, 16384 * 0.62e-6, [0.5102, 0.3021], ['0.9123']),
    ('sesemi', 16 / 0.05318, 0.05318, [4.5556, 1.2345], ['0.7821']),
    ('cutmix', 1250.0, 32 / 1250.0, [2.1111, 1.9876], ['0.4567']),
])
def test_figures_of_our_golden_logs(network, fps, step_time, losses, accuracy):
    log = os.path.join(GOLDEN, network + '.log')
    assert figures(network, log) == (pytest.approx(fps), pytest.approx(step_time), losses, accuracy)


@pytest.mark.parametrize('network, fps, step_time, loss_lines, loss, accuracy', [
    ('cspnet', 17.537586959355902, 3.6493047845363615, 5, 0.6304564, ['0.9547']),
    ('alexnet', 24.54034, 4.075, 3, 0.772675, ['755']),
    ('swa', 1e6, 16384e-6, 8, 0.3997, []),
    ('sesemi', 16 / 6, 6, 1, 4.5556, ['0.9560']),
    ('cutmix', 185.08, 32 / 185.08, 2, 0.7654, ['1.0000']),
])
def test_figures_of_the_vendors_logs(network, fps, step_time, loss_lines, loss, accuracy):
    log = os.path.join(GOLDEN, 'vendor', network + '.log')
    found_fps, found_step_time, losses, found_accuracy = figures(network, log)
    assert (found_fps, found_step_time) == (pytest.approx(fps), pytest.approx(step_time))
    assert (len(losses), losses[-1], found_accuracy) == (loss_lines, loss, accuracy)


@pytest.mark.parametrize('duration, seconds', [
    ('6us/sample', 6e-6), ('0.62us/sample', 0.62e-6), ('1ms/sample', 1e-3),
    ('53ms/step', 0.053), ('53.18ms/step', 0.05318), ('6s/step', 6),
])
def test_keras_durations_are_read_with_their_unit(duration, seconds):
    assert float(bash('keras_seconds "$1"', duration)) == pytest.approx(seconds)


@pytest.mark.parametrize('drawn, left', [
    (b'1/9 - ETA: 1s\b\b\b\b\r9/9 - 1s\n', '9/9 - 1s\n'),
    (b'a whole line\r\n', 'a whole line\n'),
    (b'12\b\b\b\b\b34\b\b\n', '34\n'),
])
def test_a_redrawn_line_is_read_in_its_last_state(tmp_path, drawn, left):
    log = tmp_path / 'log'
    log.write_bytes(drawn)
    assert bash('last_states "$1"', str(log)) == left


INTERRUPTED = '''loss 1
checkpoint saved in file: /cache/0/ckpt/model.ckpt-1
loss 2
resume at 2026-11-29 18:00:00: what follows is of the same run
resumed from checkpoint: /elsewhere/0/ckpt/model.ckpt-1
loss 2 again
'''


def test_the_log_of_a_resumed_run_holds_the_whole_run_wherever_it_was_moved(tmp_path):
    log = tmp_path / 'log'
    log.write_text(INTERRUPTED)
    assert [line for line in bash('last_states "$1"', str(log)).splitlines() if line.startswith('loss')] == [
        'loss 1', 'loss 2 again']


RESTARTED = '''step 1
checkpoint saved in file: ckpt/model.ckpt-1
step 2
checkpoint saved in file: ckpt/model.ckpt-2
step 3
restart 1 of 2: rank 1 of 2 ended with status 137
%s
step again
'''


@pytest.mark.parametrize('resumed, left', [
    ('resumed from checkpoint: ckpt/model.ckpt-2', ['step 1', 'step 2', 'step again']),
    ('resumed from checkpoint: ckpt/model.ckpt-1', ['step 1', 'step again']),  # the newest one was damaged
    ('--resume: no checkpoint in ckpt: starting from the beginning', ['step again']),
])
def test_steps_that_were_made_again_after_a_restart_count_once(tmp_path, resumed, left):
    log = tmp_path / 'log'
    log.write_text(RESTARTED % resumed)
    assert [line for line in bash('last_states "$1"', str(log)).splitlines() if line.startswith('step')] == left


@pytest.mark.parametrize('network', ['alexnet', 'cspnet', 'cutmix', 'sesemi', 'swa'])
def test_a_log_without_figures_gives_none_and_no_error(tmp_path, network):
    log = tmp_path / 'log'
    log.write_text('nothing of use\n')
    read_all = ('source_log_reader "$1"; '
                'for f in fps step_time losses accuracy; do "read_$f" "$2" 16; done')
    assert bash(read_all, network, str(log)).strip() == ''


@pytest.mark.parametrize('network, start', [
    ('sesemi', '3/8 [==========>...................] - '), ('cutmix', '3/8 - '),
    ('swa', '12/32 [==========>...................] - ')])
def test_an_epoch_that_is_cut_short_counts_what_it_had(network, start, capfd):
    means = dict(loss=2., accuracy=.5, self_clf_loss=1., super_clf_loss=1.)
    report = Report(step=11, steps=11, epoch=1, steps_per_epoch=8, batch_size=4, metrics=means, epoch_metrics=means,
                    learning_rate=1e-3, skipped=0, seconds=2., run_seconds=1.25, seconds_per_step=.02)
    lines = RECIPES[network].log()
    lines.epoch_start(1, 2)
    lines.epoch(report)
    assert capfd.readouterr().out.splitlines()[1].startswith(start)


def test_a_missing_log_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        bash('source "$0/launchers/cspnet.sh"; fps=$(read_fps missing.log)')
