"""Runs of the trainer: what is saved, resumed, refused and lost (nothing)."""
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import margins
import pytest
import tensorflow as tf
import toy
from launching import HELPERS, until
from prefork import Forked

from core.errors import InputError, NothingLeft
from core.pages import records
from core.training import checkpoints, evaluation
from launchers.ranks import rank_table
from launchers import evaluate

TOY = [sys.executable, os.path.join(HELPERS, 'toy.py')]


def losses(log):
    """{step: the rest of its log line}; a step that two processes logged must have logged the same."""
    found = {}
    for step, rest in re.findall(r'^step (\d+) (.*)$', log, re.M):
        assert found.setdefault(int(step), rest) == rest
    return found


def steps_saved(directory):
    return sorted(int(re.search(r'-(\d+)\.index', name).group(1))
                  for name in os.listdir(str(directory)) if name.endswith('.index'))


@pytest.fixture
def train(tmp_path, capfd):
    """train(flag...) -> (status, standard output, standard error); results in tmp_path/0."""
    def act(*given, run=toy.run):
        status = run('--output_path=%s' % tmp_path, *given)
        captured = capfd.readouterr()
        return status, captured.out, captured.err
    return act


@pytest.fixture
def undisturbed(tmp_path, capfd):
    """undisturbed(steps) -> the log of a run of so many steps that nothing happened to."""
    def act(steps):
        assert toy.run('--output_path=%s' % (tmp_path / 'undisturbed'), '--train_steps=%d' % steps) == 0
        return capfd.readouterr().out
    return act


def interrupted(output, marker, signum):
    """A run without end that is sent `signum` when its log has a line that starts with `marker`.

    -> (status, log, last line of standard error)
    """
    with tempfile.TemporaryDirectory() as directory:
        log, error = (os.path.join(directory, name) for name in ('log', 'error'))
        process = Forked([TOY[1], output, '--train_epochs=1000000'], log, error)
        until(lambda: '\n' + marker in read(log) or process.poll() is not None)
        process.send_signal(signum)
        status = process.wait()
        # A line cut short by the kill is no line.
        return status, read(log).rpartition('\n')[0] + '\n', read(error).splitlines()[-1]


def read(path):
    with open(path) as file:
        return file.read()


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
def test_a_killed_run_resumes_to_the_losses_of_an_undisturbed_one(train, undisturbed, tmp_path):
    status, log, _ = interrupted('--output_path=%s' % tmp_path, 'step 27 ', signal.SIGKILL)
    saved = steps_saved(tmp_path / '0' / 'ckpt')[-1]
    assert status == -signal.SIGKILL and saved >= 20
    steps = max(losses(log)) + 15
    status, rest, _ = train('--train_steps=%d' % steps, '--resume')
    whole = undisturbed(steps)
    assert status == 0 and min(losses(rest)) == saved + 1
    assert losses(log + rest) == losses(whole)
    assert re.findall('test accuracy.*', rest)[-1] == re.findall('test accuracy.*', whole)[-1]


class _StepsCounted(tf.train.SessionRunHook):
    """A hook as TensorFlow's users write them: its variables are made in begin()."""

    def begin(self):
        self._steps = tf.get_variable('steps_counted', [], tf.int64, tf.zeros_initializer(), trainable=False)
        self._count = self._steps.assign_add(1)
        self._local = tf.Variable(3., trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])

    def before_run(self, run_context):
        return tf.train.SessionRunArgs([self._count, self._local])


def test_variables_that_a_hook_makes_in_begin_are_saved_and_restored(train, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(hooks=lambda run: [_StepsCounted()]))

    def counted(step):
        checkpoint = str(tmp_path / '0' / 'ckpt' / ('model.ckpt-%d' % step))
        return int(tf.train.load_variable(checkpoint, 'steps_counted'))
    assert train('--train_epochs=1')[0] == 0 and counted(10) == 10
    assert train('--train_epochs=2', '--resume')[0] == 0 and counted(20) == 20


@pytest.mark.slow
@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_checkpoint_in_the_middle_of_an_epoch(train, undisturbed, tmp_path, signum):
    status, log, error = interrupted('--output_path=%s' % tmp_path, 'step 13 ', signum)
    saved = steps_saved(tmp_path / '0' / 'ckpt')[-1]
    assert status == 128 + signum and max(losses(log)) == saved
    assert error == '%s: stopped after step %d; --resume continues' % (signum.name, saved)
    _, rest, _ = train('--train_steps=%d' % (saved + 15), '--resume')
    # The line of a step also has the epoch's mean so far: it goes on over the interruption.
    assert losses(log + rest) == losses(undisturbed(saved + 15))


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


def test_a_resumed_run_keeps_its_checkpoints_wherever_they_are(train, tmp_path):
    run_dir = tmp_path / '0'

    def kept(*flags):
        return re.search('^kept=(.*)$', train('--resume', *flags, run=toy.plan)[1], re.M).group(1)
    assert kept() == 'ckpt/report/summary'
    assert kept('--modeldir=%s' % (run_dir / 'my models' / 'a')) == 'my models/report/summary'
    run_dir.mkdir()
    (run_dir / 'ckpt').symlink_to(tmp_path / 'a large disk')
    assert kept() == 'ckpt/report/summary'
    assert kept('--modeldir=%s' % tmp_path, '--SUMMARY=%s' % (run_dir / 'board')) == 'board/report'


def test_inputs_among_the_results_that_a_run_moves_away_are_refused(train, tmp_path):
    (tmp_path / '0').mkdir()
    for name, text in (('data', ''), ('ops.json', '{"white-list": {}}'), ('fusion.cfg', '{"Switch": {}}')):
        (tmp_path / '0' / name).write_text(text)
    inside = tmp_path / '0' / 'data'
    inside.unlink()
    inside.mkdir()
    mixed = '--precision_mode=allow_mix_precision'
    for flag, *others in (['--data_path=%s' % inside],
                          ['--mixlist_file=%s/0/ops.json' % tmp_path, '--use_mixlist=True', mixed],
                          ['--fusion_off_file=%s/0/fusion.cfg' % tmp_path, '--fusion_off_flag=True'],
                          ['--npu_option=fusion_switch_file=%s/0/fusion.cfg' % tmp_path]):
        status, _, error = train(flag, *others, run=toy.plan)
        assert status == 2
        words = ': inside the results, which this run moves away; copy it elsewhere first'
        assert error.splitlines()[-1] == flag + words


def test_results_of_every_rank_are_moved_away(train, tmp_path):
    (tmp_path / '1').mkdir()
    (tmp_path / '1' / 'table').write_text(rank_table.text(
        rank_table.of_this_server([0, 1]), {0: '192.168.100.101', 1: '192.168.101.101'}))
    for flag in '--rank_table=%s/1/table' % tmp_path, '--modeldir=%s/1/mine' % tmp_path, '--ckpt_path=%s/1' % tmp_path:
        status, _, error = train('--rank_size=2', flag, run=toy.plan)
        assert status == 2 and error.splitlines()[-1].startswith(flag + ': inside the results')
    assert train('--modeldir=%s/1/mine' % tmp_path, run=toy.plan)[0] == 0


def test_a_dump_directory_that_cannot_be_written_to_is_refused(train, tmp_path):
    (tmp_path / 'data_dump').write_text('a file')
    status, _, error = train('--data_dump_flag=True', run=toy.plan)
    assert status == 2 and '%s: cannot be written' % (tmp_path / 'data_dump') in error


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(train, tmp_path):
    status, out, error = train('--learning_rate=1e30', '--train_epochs=5')
    step = max(losses(out)) + 1 if losses(out) else 1
    assert status == 4 and re.search(r'Loss is (nan|inf) at step %d: ' % step, error)
    assert not steps_saved(tmp_path / '0' / 'ckpt') or max(steps_saved(tmp_path / '0' / 'ckpt')) < step


@pytest.mark.slow
def test_a_disk_that_fills_up_while_saving_leaves_the_checkpoint_before(train, tmp_path):
    assert train('--train_epochs=1')[0] == 0
    limited = subprocess.run(
        TOY + ['--output_path=%s' % tmp_path, '--resume'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True,
        # No file may grow beyond this: the events fit, a checkpoint does not.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)))
    directory = tmp_path / '0' / 'ckpt'
    assert limited.returncode == 2
    assert 'checkpoint not saved' in limited.stderr.splitlines()[-1]
    assert steps_saved(directory) == [10] and not [n for n in os.listdir(str(directory)) if 'temp' in n]
    status, out, _ = train('--resume')
    assert status == 0 and 'resumed from checkpoint: %s' % (directory / 'model.ckpt-10') in out


@pytest.mark.slow
@pytest.mark.parametrize('harm', ['truncated', 'flipped', 'emptied index', 'data gone'])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(train, tmp_path, harm):
    train('--train_epochs=2')
    data = tmp_path / '0' / 'ckpt' / 'model.ckpt-20.data-00000-of-00001'
    content = data.read_bytes()
    if harm == 'truncated':
        data.write_bytes(content[:len(content) // 2])
    elif harm == 'flipped':
        data.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif harm == 'emptied index':
        (tmp_path / '0' / 'ckpt' / 'model.ckpt-20.index').write_bytes(b'')
    else:
        data.unlink()
    status, out, _ = train('--train_epochs=3', '--resume')
    assert status == 0
    assert re.search(r'Checkpoint \S*model.ckpt-20 is damaged and passed over', out)
    assert 'resumed from checkpoint: %s' % (tmp_path / '0' / 'ckpt' / 'model.ckpt-10') in out
    assert min(losses(out)) == 11


@pytest.mark.slow
def test_resume_refuses_the_checkpoint_of_another_network(train, tmp_path):
    train()
    status, _, error = train('--network=plain', '--resume', '--train_epochs=9')
    assert status == 2 and 'not a checkpoint of this plain' in error.splitlines()[-1]
    assert steps_saved(tmp_path / '0' / 'ckpt') == [10, 20]


@pytest.mark.slow
@pytest.mark.parametrize('change', ['--batch_size=4', '--seed=7', '--task=svhn'])
def test_resume_refuses_another_sequence_of_batches(train, change):
    train()
    status, _, error = train('--resume', '--train_epochs=9', change)
    assert status == 2 and change.split('=')[0][2:] in error.splitlines()[-1]


@pytest.mark.slow
def test_resume_of_a_finished_run_trains_nothing_and_says_how_to_go_on(train, tmp_path):
    train()
    before = {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}
    status, out, error = train('--resume')
    assert status == NothingLeft.status and not losses(out)
    assert re.search('has already done 20 steps of 20; raise --train_epochs to go on$', error)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}


@pytest.mark.slow
def test_the_plan_knows_a_finished_run(train, tmp_path):
    def finished(*given):
        return re.search('^finished=(.*)$', train('--resume', *given, run=toy.plan)[1], re.M).group(1)
    assert finished() == ''
    train()
    assert re.match('--resume: the run in .* has already done 20 steps of 20; raise --train_epochs', finished())
    assert finished('--train_epochs=3') == ''
    assert finished('--train_steps=20').endswith('raise --train_steps to go on')
    data = tmp_path / '0' / 'ckpt' / 'model.ckpt-20.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1])
    assert finished() == ''


@pytest.mark.parametrize('given, words', [
    ('--seed=2', 'seed=1, this one 2'), ('--network=plain', 'another --network'),
    ('--batch_size=4', 'batch_size=8, this one 4')])
def test_the_plan_refuses_to_resume_another_run(train, given, words):
    assert train('--train_epochs=1')[0] == 0
    status, out, error = train('--resume', given, run=toy.plan)
    assert status == 2 and 'run_dir=' not in out and words in error


def test_the_plan_refuses_weights_that_are_not_of_this_network(train, tmp_path):
    train('--train_epochs=1')
    ckpt = str(tmp_path / 'ckpt')
    shutil.move(str(tmp_path / '0' / 'ckpt'), ckpt)
    assert train('--ckpt_path=' + ckpt, run=toy.plan)[0] == 0
    status, _, error = train('--ckpt_path=' + ckpt, '--network=plain', run=toy.plan)
    assert status == 2 and 'not a checkpoint of this plain: plain/' in error and error.count('\n') == 1
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable('x', initializer=1.)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / 'foreign' / 'model.ckpt-1'))
    for given, words in ((), 'not a checkpoint of this toy'), (('--finetune',), 'holds no variable of this network'):
        status, _, error = train('--ckpt_path=%s' % (tmp_path / 'foreign'), *given, run=toy.plan)
        assert status == 2 and words in error and error.count('\n') == 1


def test_the_plan_refuses_checkpoints_where_another_run_writes(train, tmp_path):
    directory = tmp_path / 'mine'
    directory.mkdir()
    with checkpoints.claimed(str(directory), resume=False):
        status, _, error = train('--modeldir=%s' % directory, run=toy.plan)
    assert status == 2 and 'another run is writing its checkpoints there' in error
    assert train('--modeldir=%s' % directory, run=toy.plan)[0] == 0


def test_the_plan_refuses_a_full_disk(train, tmp_path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 10 ** 6, 100, 10, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, 'statvfs', lambda path: full)
    status, _, error = train(run=toy.plan)
    assert status == 2 and 'the disk has 40 kB left, the run needs 1048 kB' in error


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_from_the_beginning(train):
    status, out, _ = train('--resume')
    assert status == 0 and 'starting from the beginning' in out and min(losses(out)) == 1


@pytest.mark.slow
def test_a_run_without_resume_never_writes_over_an_earlier_one(train, tmp_path):
    train()
    before = {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}
    status, _, error = train()
    assert status == 2 and 'add --resume' in error
    assert before == {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}


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
def test_evaluate_counts_every_test_example_once(train, tmp_path, capfd):
    _, out, _ = train('--train_epochs=2')
    assert toy.run('--data_path=synthetic', '--ckpt_path=%s' % (tmp_path / '0' / 'ckpt'), act=evaluate.act) == 0
    lines = capfd.readouterr().out.splitlines()
    accuracy = float(re.findall('test accuracy (.*) loss', out)[-1])
    assert lines == ['tested on 21 of all 101 examples, the test part; --all_images tests all',
                     '---- Final accuracy ----', 'Top-1: %.4f' % accuracy]
    assert accuracy * toy.TEST == pytest.approx(round(accuracy * toy.TEST), abs=1e-4)


@pytest.mark.slow
def test_evaluate_tests_all_images_on_request_and_takes_classes_under_other_names_by_their_numbers_on_request_alone(
        train, tmp_path, capfd, monkeypatch):
    def evaluated(*flags):
        status = evaluate.main(['--network=toy', '--case=performance', '--data_path=synthetic',
                                '--ckpt_path=%s' % (tmp_path / '0' / 'ckpt'), *flags], {})
        return status, capfd.readouterr()
    train('--train_epochs=1')
    status, said = evaluated('--all_images')
    assert status == 0 and said.out.splitlines()[0] == 'tested on 101 of all 101 examples'
    right = float(said.out.split('Top-1: ')[1]) * 101
    assert right == pytest.approx(round(right), abs=.01)
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(class_names=lambda data: ('zero', 'uno')))
    status, said = evaluated()
    assert status == 2 and said.err.splitlines()[-1] == (
        '--data_path: class 1 is one in the checkpoint and uno in the data; name them alike, or --classes_by_number '
        'takes all by their numbers')
    status, said = evaluated('--classes_by_number')
    assert status == 0 and said.out.startswith('class 1 is one in the checkpoint and uno in the data: the classes are')


@pytest.mark.slow
@pytest.mark.parametrize('average', [False, True])
def test_evaluate_tests_on_what_the_checkpoints_run_held_out(train, tmp_path, monkeypatch, average):
    seeds = []
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(
        test_input=lambda data, config: seeds.append(config.seed) or toy.test_input(data, config)))
    assert train('--seed=7', '--swa_start_epoch=1')[0] == 0
    path = os.path.join(str(tmp_path), '0', 'ckpt', 'swa' if average else '')
    assert toy.run('--ckpt_path=' + path, act=evaluate.act) == 0 and seeds == [7, 7]


@pytest.mark.slow
def test_evaluate_needs_a_checkpoint_of_its_own_network(train, tmp_path, capfd):
    train()
    path = str(tmp_path / '0' / 'ckpt' / 'model.ckpt-20')
    assert toy.run('--network=plain', '--ckpt_path=' + path, act=evaluate.act) == 2
    assert 'not a checkpoint of this plain' in capfd.readouterr().err.splitlines()[-1]


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
