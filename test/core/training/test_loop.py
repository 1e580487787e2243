"""Runs of the trainer: what is saved, logged and refused."""
import os
import pty
import re
import shutil
import signal
import sys

import margins
import pytest
import tensorflow as tf
import toy
from launching import until
from prefork import Forked
from toy_runs import TOY, losses, steps_saved

from core.errors import InputError
from core.pages import records
from core.training import evaluation


@pytest.mark.margin
def test_a_run_learns_and_saves_every_epoch(train, tmp_path):
    status, out, _ = train('--train_epochs=3', margins.SEED_FLAG)
    accuracies = [float(a) for a in re.findall('test accuracy (.*) loss', out)]
    assert status == 0 and len(accuracies) == 3
    margins.above('toy: test accuracy', accuracies[-1], .8)
    assert steps_saved(tmp_path / '0' / 'ckpt') == [10, 20, 30]
    assert 'checkpoint saved in file: %s' % (tmp_path / '0' / 'ckpt' / 'model.ckpt-30') in out


@pytest.mark.slow
def test_the_last_five_checkpoints_are_kept(train, tmp_path):
    train('--train_epochs=7')
    assert steps_saved(tmp_path / '0' / 'ckpt') == [30, 40, 50, 60, 70]


@pytest.mark.slow
def test_a_copied_checkpoint_directory_is_whole_for_tensorflow_too(train, tmp_path):
    train('--train_epochs=1')
    train('--train_epochs=2', '--resume')
    shutil.move(str(tmp_path / '0' / 'ckpt'), str(tmp_path / 'copy'))
    assert tf.train.latest_checkpoint(str(tmp_path / 'copy')) == str(tmp_path / 'copy' / 'model.ckpt-20')
    paths = tf.train.get_checkpoint_state(str(tmp_path / 'copy')).all_model_checkpoint_paths
    assert paths == [str(tmp_path / 'copy' / name) for name in ('model.ckpt-10', 'model.ckpt-20')]


@pytest.mark.slow
def test_save_interval_counts_epochs_and_the_last_step_is_always_saved(train, tmp_path):
    train('--train_steps=35', '--save_interval=2')
    assert steps_saved(tmp_path / '0' / 'ckpt') == [20, 35]


@pytest.mark.slow
def test_save_steps_and_eval_steps_count_steps_and_come_to_the_log_and_the_record(train, tmp_path):
    status, out, _ = train('--train_steps=14', '--save_steps=4', '--eval_steps=6')
    assert status == 0 and steps_saved(tmp_path / '0' / 'ckpt') == [4, 8, 10, 12, 14]
    assert re.findall('^test after step .* of 14: loss', out, re.M) == [
        'test after step %d of 14: loss' % step for step in (6, 12)]
    assert out.count('test accuracy') == 2
    points = records.read(str(tmp_path / '0'))[0].points['test/accuracy']
    assert [step for step, _ in points] == [6, 10, 12, 14]


@pytest.mark.slow
def test_the_steps_before_an_evaluation_that_fails_are_kept(train, monkeypatch, tmp_path):
    def fail(self, session):
        raise InputError('no test set')
    monkeypatch.setattr(evaluation.Evaluation, '__call__', fail)
    assert train('--train_epochs=1')[0] == 2 and steps_saved(tmp_path / '0' / 'ckpt') == [10]


@pytest.mark.slow
def test_a_signal_after_the_last_step_loses_nothing_and_is_told_by_the_status(train, monkeypatch, tmp_path):
    class Log(toy.ToyLog):
        def epoch(self, report):
            os.kill(os.getpid(), signal.SIGTERM)  # as in the middle of the last evaluation
            super().epoch(report)
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(log=Log))
    status, out, error = train('--train_epochs=1')
    assert (status, error.splitlines()[-1]) == (143, 'SIGTERM: stopped after step 10; --resume continues')
    assert 'test accuracy' in out and steps_saved(tmp_path / '0' / 'ckpt') == [10]


@pytest.mark.slow
def test_a_trainer_whose_launcher_was_killed_saves_and_ends_with_a_line(train, monkeypatch, tmp_path):
    monkeypatch.setenv('LAUNCHER_PID', str(os.getpid()))  # which is not the parent of this process
    status, out, error = train('--train_epochs=1000000')
    assert status == 143 and error.splitlines()[-1] == 'SIGTERM: stopped after step 1; --resume continues'
    assert out.count('The launcher (process %d) was killed: its trainer saves a checkpoint and ends' % os.getpid()) == 1
    assert steps_saved(tmp_path / '0' / 'ckpt') == [1]
    monkeypatch.setenv('LAUNCHER_PID', str(os.getppid()))
    assert train('--train_steps=3', '--resume')[0] == 0


@pytest.mark.slow
def test_the_live_line_has_the_step_and_the_time_left_and_says_when_it_evaluates(train, monkeypatch, tmp_path):
    with open(str(tmp_path / 'screen'), 'w+', newline='') as screen:
        monkeypatch.setenv('LIVE_FD', str(screen.fileno()))
        assert train('--train_steps=12')[0] == 0
        screen.seek(0)
        lines = screen.read().replace('\x1b[2K', '').split('\r')
    assert re.fullmatch(r'epoch 2/2  step 12/12  \S+ images/s  loss \S+  0:00:00 left', lines[-2])
    assert [line for line in lines if line.endswith('evaluates')] == [
        'epoch 1/2  step 10/12  evaluates', 'epoch 2/2  step 12/12  evaluates']


@pytest.mark.slow
def test_a_run_goes_on_when_the_terminal_of_its_live_line_is_closed(train, monkeypatch):
    controller, terminal = pty.openpty()
    os.close(controller)
    monkeypatch.setenv('LIVE_FD', str(terminal))
    status, out, _ = train('--train_steps=3')
    os.close(terminal)
    assert status == 0 and 'step 3 ' in out


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(train, tmp_path):
    status, out, error = train('--learning_rate=1e30', '--train_epochs=5')
    step = max(losses(out)) + 1 if losses(out) else 1
    assert status == 4 and re.search(r'Loss is (nan|inf) at step %d: ' % step, error)
    assert not steps_saved(tmp_path / '0' / 'ckpt') or max(steps_saved(tmp_path / '0' / 'ckpt')) < step


@pytest.mark.slow
def test_a_second_trainer_on_the_same_checkpoints_is_refused(tmp_path):
    command = [TOY[1], '--output_path=%s' % tmp_path, '--train_epochs=100000']
    log, error = tmp_path / 'log', tmp_path / 'error'
    first = Forked(command, log, os.devnull)
    try:
        until(lambda: 'step 1 ' in log.read_text())
        second = Forked(command + ['--resume'], os.devnull, error)
        assert second.wait() == 2 and 'another run' in error.read_text().splitlines()[-1]
    finally:
        first.kill()
        first.wait()


@pytest.mark.slow
@pytest.mark.margin
def test_weights_of_another_run_are_the_starting_point_with_ckpt_path(train, tmp_path):
    _, first, _ = train('--train_epochs=4', margins.SEED_FLAG)
    shutil.move(str(tmp_path / '0'), str(tmp_path / 'first'))
    status, out, _ = train('--ckpt_path=%s' % (tmp_path / 'first' / 'ckpt'), '--train_steps=1', margins.SEED_FLAG)
    assert status == 0 and 'weights from checkpoint' in out and list(losses(out)) == [1]
    fresh, taken = (float(losses(log)[1].split()[1]) for log in (first, out))
    margins.below('toy: first loss with the weights of another run, of that without', taken / fresh, .7)


@pytest.mark.parametrize('flag, words', [
    ('--ckpt_path=/nowhere/model', 'no such checkpoint'),
    ('--batch_size=81', '--batch_size=81: larger than the data set of 80'),
    ('--modeldir=/dev/null/x', '/dev/null is not a directory'),
    # TensorFlow would not find the checkpoints of the first, and delete those of /nowhere/models for the second.
    ('--modeldir=/nowhere/[m]odels', '/nowhere/[m]odels: the path of checkpoints must be without'),
    ('--modeldir=/nowhere/m*', '/nowhere/m*: the path of checkpoints must be without'),
    ('--ckpt_path=/nowhere/model[1]', '/nowhere/model[1]: the path of checkpoints must be without'),
    ('--momentum=0.5', 'no such parameter'),
    ('--npu_option=dump_mode=foo', 'must be one of input, output, all'),
])
def test_bad_input_is_one_line_that_names_it(train, flag, words):
    status, out, error = train(flag)
    lines = [line for line in error.splitlines() if not re.match(r'20\d\d-', line)]
    assert status == 2 and not losses(out)
    assert len(lines) == 1 and words in lines[0] and flag.split('=')[0] in lines[0]


@pytest.mark.slow
def test_tensorboard_gets_loss_learning_rate_loss_scale_accuracies_and_speed(train, tmp_path):
    train('--loss_scale=True')
    events, = (tmp_path / '0' / 'summary').iterdir()
    tags = {}
    for event in tf.train.summary_iterator(str(events)):
        for value in event.summary.value:
            tags.setdefault(value.tag, []).append(event.step)
    assert {'train/loss', 'train/accuracy', 'learning_rate', 'loss_scale', 'images_per_second'} <= set(tags)
    assert tags['train/loss'] == list(range(1, 21)) and tags['test/accuracy'] == [10, 20]


@pytest.mark.slow
@pytest.mark.parametrize('scale', ['True', '128'])
def test_a_loss_scale_trains_like_none(train, undisturbed, scale):
    status, out, _ = train('--train_steps=40', '--loss_scale=%s' % scale)
    assert status == 0 and 'Loss scale: 0 of 40 steps skipped' in out
    last = float(losses(out)[40].split()[1])
    assert last == pytest.approx(float(losses(undisturbed(40))[40].split()[1]), rel=1e-3)


@pytest.mark.slow
def test_a_step_whose_gradients_overflow_is_counted_as_skipped(train):
    status, out, _ = train('--train_steps=3', '--loss_scale=True', '--weight_decay=1e36')
    assert status == 0 and 'Loss scale: 3 of 3 steps skipped' in out


@pytest.mark.slow
def test_a_switch_for_npus_only_and_an_unchecked_option_are_named_in_the_log(train, monkeypatch):
    monkeypatch.setitem(sys.modules, 'npu_bridge', None)
    _, out, _ = train('--npu_option=deterministic=1', '--npu_option=raw:oo_level=s:O3', '--train_steps=1')
    assert 'These switches act on an NPU only: --npu_option=deterministic=1 --npu_option=raw:oo_level=s:O3\n' in out
    assert '--npu_option=raw:oo_level=O3: passed on as it is; nothing here checks it\n' in out


@pytest.mark.slow
def test_where_npu_bridge_is_installed_the_run_is_its(train, npu_calls):
    status, out, _ = train('--loss_scale=128', '--npu_option=enable_data_pre_proc=True',
                           '--npu_option=iterations_per_loop=10')
    names = [call[0] for call in npu_calls]
    assert status == 0 and 'act on an NPU only' not in out
    assert ('dropout', .75) in npu_calls and ('FixedLossScaleManager', 128) in npu_calls
    assert ('load_iteration_per_loop_var', 10) in npu_calls
    assert names.index('create_iteration_per_loop_var') < names.index('load_iteration_per_loop_var')
    # Ten steps a session.run: two runs for two epochs.
    assert list(losses(out)) == [10, 20]
