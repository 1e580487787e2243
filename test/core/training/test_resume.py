"""--resume: what a run goes on with, and what it refuses."""
import os
import re
import resource
import signal
import subprocess

import pytest
import tensorflow as tf
import toy
from toy_runs import TOY, interrupted, losses, steps_saved

from core.errors import NothingLeft


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
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(train, trained, tmp_path, harm):
    trained()
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
def test_resume_refuses_the_checkpoint_of_another_network(train, trained, tmp_path):
    trained()
    status, _, error = train('--network=plain', '--resume', '--train_epochs=9')
    assert status == 2 and 'not a checkpoint of this plain' in error.splitlines()[-1]
    assert steps_saved(tmp_path / '0' / 'ckpt') == [10, 20]


@pytest.mark.slow
@pytest.mark.parametrize('change', ['--batch_size=4', '--seed=7', '--task=svhn'])
def test_resume_refuses_another_sequence_of_batches(train, trained, change):
    trained()
    status, _, error = train('--resume', '--train_epochs=9', change)
    assert status == 2 and change.split('=')[0][2:] in error.splitlines()[-1]


@pytest.mark.slow
def test_resume_of_a_finished_run_trains_nothing_and_says_how_to_go_on(train, trained, tmp_path):
    trained()
    before = {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}
    status, out, error = train('--resume')
    assert status == NothingLeft.status and not losses(out)
    assert re.search('has already done 20 steps of 20; raise --train_epochs to go on$', error)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_from_the_beginning(train):
    status, out, _ = train('--resume')
    assert status == 0 and 'starting from the beginning' in out and min(losses(out)) == 1


@pytest.mark.slow
def test_a_run_without_resume_never_writes_over_an_earlier_one(train, trained, tmp_path):
    trained()
    before = {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}
    status, _, error = train()
    assert status == 2 and 'add --resume' in error
    assert before == {p.name: p.read_bytes() for p in (tmp_path / '0' / 'ckpt').iterdir()}
