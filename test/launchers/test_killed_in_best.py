"""A run that is killed while it writes ckpt/best loses no checkpoint, and goes on as if nothing had happened."""
import ctypes
import os
import signal
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
import toy
from prefork import Forked

from core.training import checkpoints
from nets.blocks import heads

IN_CREATE = 0x100
LARGE = 10 << 20               # numbers in a variable, so that writing a checkpoint takes a while
FLAGS = '--validation=0.3', '--learning_rate=0.003', '--train_epochs=4'


def net(x, is_training, dropout):
    with tf.variable_scope('large', reuse=tf.AUTO_REUSE):
        large = tf.get_variable('numbers', [LARGE], tf.float32, tf.ones_initializer(), trainable=False)
    return toy.net(x, is_training, dropout) + 0 * large[0]


RECIPE = toy.RECIPE._replace(model=heads.classifier(net)._replace(
    head=heads.softmax._replace(headline='loss', smaller_is_better=True)))     # which gets better in every epoch


def kill_within_a_write(directory):
    """Kills this process as soon as a second checkpoint is begun in the directory."""
    libc = ctypes.CDLL(None)
    made = libc.inotify_init1(os.O_CLOEXEC)
    assert libc.inotify_add_watch(made, os.fsencode(directory), IN_CREATE) >= 0

    def wait():
        begun = 0
        while begun < 2:
            begun += b'.data-00000-of-00001.tempstate' in os.read(made, 1 << 16)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=wait, daemon=True).start()


def saved(directory):
    """{step: the values of the checkpoint} of a directory; each is whole."""
    readers = {path: checkpoints.read_whole(path) for path in checkpoints.paths(str(directory))}
    return {int(path.rpartition('-')[2]): {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
            for path, reader in readers.items()}


def assert_same(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
def test_a_run_killed_within_the_write_of_its_best_checkpoint_keeps_the_earlier_one_and_goes_on(
        tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(toy, 'RECIPE', RECIPE)
    assert toy.run('--output_path=%s' % (tmp_path / 'whole'), *FLAGS) == 0
    log = capfd.readouterr().out
    bests = [int(line.rpartition('-')[2]) for line in log.splitlines() if 'saved in file' in line and '/best/' in line]
    assert len(bests) > 1
    best = tmp_path / 'killed' / '0' / 'ckpt' / 'best'
    best.mkdir(parents=True)
    killed = Forked([__file__, '--output_path=%s' % (tmp_path / 'killed'), *FLAGS],
                    str(tmp_path / 'log'), str(tmp_path / 'error'))
    assert killed.wait() == -signal.SIGKILL
    assert list(best.glob('model.ckpt-%d.*tempstate*' % bests[1])), 'the kill came after the write'
    whole, left = (saved(tmp_path / name / '0' / 'ckpt') for name in ('whole', 'killed'))
    assert max(left) < bests[1] <= min(set(whole) - set(left))
    for step, values in left.items():
        assert_same(values, whole[step])
    (step, values), = saved(best).items()
    assert step == bests[0] and all((values[name] == left[step][name]).all() for name in values)
    assert toy.run('--output_path=%s' % (tmp_path / 'killed'), *FLAGS, '--resume') == 0
    for folder in ('ckpt', 'ckpt/best'):
        whole, resumed = (saved(tmp_path / name / '0' / folder) for name in ('whole', 'killed'))
        assert set(resumed) == set(whole)
        for step, values in whole.items():
            assert_same(resumed[step], values)
    assert list((tmp_path / 'killed').glob('**/*tempstate*')) == []


if __name__ == '__main__':
    toy.RECIPE = RECIPE
    kill_within_a_write(os.path.join(sys.argv[1].partition('=')[2], '0', 'ckpt', checkpoints.BEST))
    sys.exit(toy.run(*sys.argv[1:]))
