"""What the plan of a run finds out before anything is touched."""
import os
import re
import shutil

import pytest
import tensorflow as tf
import toy

from core.training import checkpoints
from launchers.ranks import rank_table


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
def test_the_plan_knows_a_finished_run(train, trained, tmp_path):
    def finished(*given):
        return re.search('^finished=(.*)$', train('--resume', *given, run=toy.plan)[1], re.M).group(1)
    assert finished() == ''
    trained()
    assert re.match('--resume: the run in .* has already done 20 steps of 20; raise --train_epochs', finished())
    assert finished('--train_epochs=3') == ''
    assert finished('--train_steps=20').endswith('raise --train_steps to go on')
    data = tmp_path / '0' / 'ckpt' / 'model.ckpt-20.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1])
    assert finished() == ''


@pytest.mark.parametrize('given, words', [
    ('--seed=2', 'seed=1, this one 2'), ('--network=plain', 'another --network'),
    ('--batch_size=4', 'batch_size=8, this one 4')])
def test_the_plan_refuses_to_resume_another_run(train, trained, given, words):
    trained()
    status, out, error = train('--resume', given, run=toy.plan)
    assert status == 2 and 'run_dir=' not in out and words in error


def test_the_plan_refuses_weights_that_are_not_of_this_network(train, trained, tmp_path):
    trained()
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


@pytest.mark.parametrize('folder, flags', [('best', []), ('ema', ['--ema_decay=0.9'])])
def test_the_plan_refuses_a_directory_with_the_best_or_the_average_of_another_run(train, tmp_path, folder, flags):
    (tmp_path / 'mine' / folder).mkdir(parents=True)
    (tmp_path / 'mine' / folder / 'model.ckpt-3.index').write_text('')
    status, _, error = train('--modeldir=%s' % (tmp_path / 'mine'), *flags, run=toy.plan)
    assert status == 2 and 'mine/%s: holds the checkpoints of another run' % folder in error


def test_the_plan_refuses_a_full_disk(train, tmp_path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 10 ** 6, 100, 10, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, 'statvfs', lambda path: full)
    status, _, error = train(run=toy.plan)
    assert status == 2 and 'the disk has 40 kB left, the run needs 1048 kB' in error
