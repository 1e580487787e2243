"""How many graphs a run gives an NPU to compile: each set of fetches is one, and takes minutes for a large network."""
import fcntl
import os
import subprocess
import sys

import numpy as np
import pictures
import pytest
import tensorflow as tf
import tiny
import toy
from launching import FAKES, ROOT

from core.ascend.diagnostics import dump_files
from data import synthetic
from launchers import command, evaluate, export, predict, score, train
from launchers.networks import cspnet, cutmix, sesemi
from nets import alexnet, layers
from nets.blocks import heads

pytestmark = pytest.mark.slow

PLAIN = 5                      # initialise and broadcast; train; batch-norm statistics; evaluate; save
RANKS = 2                      # of several ranks: count the classes of all; wait until rank 0 has saved
AVERAGE = 2                    # weights that are an average: take their place; save them
MEAN = 1                       # of stochastic weight averaging: let the weights enter the mean
VALIDATION = 4                 # of a validation part: evaluate it; read, and write, the best of before; save the best
WITH_LAYERS = 3                # at most: train; batch-norm statistics; evaluate


def features(images, config, is_training, dropout):
    """What the trunk of sesemi finds in images, which here is their mean colour."""
    with tf.variable_scope('small', reuse=tf.AUTO_REUSE):
        return layers.batch_norm(layers.global_average_pool(images), is_training)


@pytest.fixture
def small(monkeypatch):
    """The networks and their data are small; all that their runs do around the network is there."""
    monkeypatch.setattr(alexnet, 'HIDDEN', (8, 8))
    monkeypatch.setattr(synthetic, 'FILES_A_RANK', 12)
    monkeypatch.setattr(synthetic, 'FILES', 12)
    monkeypatch.setattr(sesemi.model, '_features', features)
    for network in cspnet, cutmix:
        monkeypatch.setattr(network, 'RECIPE', network.RECIPE._replace(model=heads.classifier(tiny.tiny)))


def with_layers_and_with_gradients(npu):
    """How many of the compiled graphs hold layers of the network, and how many of them gradients."""
    graph = npu.sessions[0].graph.as_graph_def()
    parts = [tf.graph_util.extract_sub_graph(graph, [name.split(':')[0] for name in fetches + targets]).node
             for _, fetches, targets in npu.compiled]
    return (sum(any(node.op in ('MatMul', 'Conv2D') for node in nodes) for nodes in parts),
            sum(any('gradients/' in node.name for node in nodes) for nodes in parts))


# Eight ranks run all that one rank does.
@pytest.mark.parametrize('ranks, case, flags, expected', [
    (1, 'performance', ['toy', '--train_epochs=2', '--save_steps=3'], PLAIN),
    (1, 'performance', ['toy', '--train_epochs=2', '--swa_start_epoch=1', '--loss_scale=True'], PLAIN + AVERAGE + MEAN),
    (8, 'full', ['toy', '--train_epochs=2', '--swa_start_epoch=1', '--loss_scale=True'],
     PLAIN + RANKS + AVERAGE + MEAN),
    (8, 'full', ['toy', '--train_steps=3', '--ema_decay=.9', '--accumulate_steps=2', '--clip_norm=1',
                 '--optimizer=lamb', '--loss_scale=True'], PLAIN + RANKS + AVERAGE),
    (1, 'performance', ['toy', '--train_epochs=2', '--validation=0.3'], PLAIN + VALIDATION),
    (8, 'full', ['cspnet', '--train_steps=1'], PLAIN + RANKS),
    (8, 'full', ['cutmix', '--train_steps=1'], PLAIN + RANKS),
    (8, 'full', ['sesemi', '--train_steps=1', '--task=svhn'], PLAIN + RANKS),
    (8, 'full', ['alexnet', '--train_steps=1', '--batch_size=8'], PLAIN + RANKS),
    (8, 'full', ['swa', '--train_epochs=8'], PLAIN + RANKS + AVERAGE + MEAN)])
def test_of_the_few_graphs_that_a_run_compiles_three_hold_layers_and_one_the_gradients(
        npu, small, tmp_path, monkeypatch, ranks, case, flags, expected):
    environ = dict(RANK_SIZE=str(ranks), RANK_ID='0', JOB_ID='10087')
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    given = ['--network=' + flags[0], '--case=' + case, '--output_path=%s' % tmp_path, '--data_path=synthetic']
    assert command.run(train.act, given + flags[1:], environ) == 0
    assert len(npu.compiled) == expected, npu.compiled
    layers_in, gradients_in = with_layers_and_with_gradients(npu)
    assert layers_in <= WITH_LAYERS + ('--validation=0.3' in flags) and gradients_in == 1


def test_a_resumed_run_compiles_no_graph_more(npu, tmp_path):
    output = '--output_path=%s' % tmp_path
    assert toy.run(output, '--train_steps=13') == 0
    npu.compiled.clear(), npu.fetch_sets.clear()
    assert toy.run(output, '--train_steps=20', '--resume') == 0
    assert len(npu.compiled) == PLAIN, npu.compiled


def test_a_saver_does_not_compile_the_training_again_but_a_graph_for_each_of_saving_and_restoring(npu, tmp_path):
    """So a run saves with one, and restores with its first values, because these are a graph already."""
    npu.start()
    with tf.Graph().as_default():
        weights = tf.get_variable('weights', [3])
        train_op, first = tf.assign_add(weights, weights).op, tf.global_variables_initializer()
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run(first), session.run(train_op)
            compiled = list(npu.compiled)
            for number in range(2):
                path = saver.save(session, str(tmp_path / 'model'), number)
            saver.restore(session, path), session.run(train_op)
    assert compiled == [((), (), ('init',)), ((), (), (train_op.name,))]
    assert [fetches + targets for _, fetches, targets in npu.compiled[2:]] == [
        ('save/control_dependency:0',), ('save/restore_all',)]


def given(network, tmp_path, *flags):
    return ['--network=' + network, '--output_path=%s' % (tmp_path / 'output'), *flags]


def only_training(npu):
    """Whether one session was on the NPU, and CANN was started with its options, among them the run's."""
    assert len(npu.sessions) == len(npu.engine_starts) == 1, npu.fetch_sets
    assert npu.engine_starts[0]['use_off_line'] is True and npu.engine_starts[0]['deterministic'] == 1
    npu.forget()


@pytest.mark.parametrize('network, flags', [
    ('cspnet', ['--train_steps=2']), ('cutmix', ['--train_steps=2']), ('sesemi', ['--train_steps=2', '--task=svhn']),
    ('alexnet', ['--train_steps=2', '--batch_size=8']), ('swa', ['--train_epochs=8']),
    ('cspnet', ['--train_steps=2', '--task=folder', '--batch_size=2'])])
def test_of_a_training_and_its_evaluation_the_networks_own_session_alone_is_on_the_chip(
        npu, small, tmp_path, network, flags):
    """Not the readers of images, the writer of checkpoints and the pictures of the report."""
    data = 'synthetic'
    if '--task=folder' in flags:
        data = str(tmp_path / 'photographs')
        pictures.write_class_folders(tmp_path / 'photographs', {'ant': 10, 'owl': 10})
    flags = given(network, tmp_path, '--data_path=' + data, '--npu_option=deterministic=1', *flags)
    assert command.run(train.act, flags + ['--case=full'], {}) == 0
    only_training(npu)
    assert command.run(evaluate.act, flags + ['--case=performance'], {}) == 0
    only_training(npu)


def test_what_one_does_with_a_checkpoint_stays_off_the_chip(npu, tmp_path):
    flags = given('tiny', tmp_path, '--data_path=synthetic')
    pictures.write_class_folders(tmp_path / 'photographs', {'ant': 2})
    samples = tmp_path / 'output' / 'export'
    assert command.run(train.act, flags + ['--train_steps=1'], {}) == 0
    npu.forget()
    assert predict.main(flags + [str(tmp_path / 'photographs')], {}) == 0
    for form in 'pb', 'saved_model', 'h5':
        assert export.main(flags + ['--format=' + form] + ['--samples=8'] * (form == 'pb'), {}) == 0
    graph, = samples.glob('*.pb')
    manifest, = samples.glob('*/manifest.json')
    assert score.main(['--manifest=%s' % manifest, '--run_pb=%s' % graph], {}) == 0
    assert not npu.sessions and not npu.engine_starts


def test_of_a_modelarts_job_the_training_alone_is_on_the_chip_and_what_looks_at_results_is_not(forking_workdir):
    noted = forking_workdir / 'sessions'
    environment = dict(os.environ, PYTHON=str(forking_workdir / 'python'), PYTHONPATH=FAKES, ASCEND_DEVICE_ID='0',
                       TMPDIR=str(forking_workdir), NPU_SESSIONS=str(noted), RANK_SIZE='1')
    results = str(forking_workdir / 'results')

    def run(script, *arguments):
        ended = subprocess.run([sys.executable, os.path.join(ROOT, 'launchers', script), *arguments], env=environment,
                               cwd=str(forking_workdir), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               universal_newlines=True)
        return ended.returncode, ended.stdout
    status, told = run('boot_modelarts.py', '--network=swa', '--case=performance', '--train_epochs=1',
                       '--cache_dir=%s' % (forking_workdir / 'cache'), '--train_url=' + results)
    assert status == 0, told
    assert len(noted.read_text().splitlines()) == 1 and 'Final Performance' in told
    noted.unlink()
    assert 'the run' in run('doctor.py', '--network=swa', '--output_path=%s' % (forking_workdir / 'other'))[1]
    assert 'swa' in run('runs.py', '--output_path=' + results)[1]
    for name in 'a', 'b':
        (forking_workdir / name).mkdir()
        dump_files.write_ground_truth(str(forking_workdir / name), 'net/op', 0, np.ones([2], np.float32), 10 ** 15)
    assert run('compare.py', 'a', 'b', '--output=out')[0] == 0
    assert not noted.exists()


def test_an_evaluation_refuses_the_cache_of_compiled_graphs_which_it_does_not_have(npu, tmp_path, capsys):
    flags = given('swa', tmp_path, '--case=performance', '--graph_cache=True')
    assert command.run(evaluate.act, flags, {}) == 2
    assert capsys.readouterr().err == '--graph_cache=True: the graphs of trainings alone are kept; leave it out\n'


def cached(npu, tmp_path, *flags, status=0):
    """The numbers of graphs that the toy's run compiled and took from the cache; none of these was another's."""
    npu.forget()
    assert toy.run('--output_path=%s' % tmp_path, '--train_steps=13', '--val_epoch=1', *flags) == status
    assert not npu.wrong_hits
    return len(npu.compiled) - len(npu.cache_hits), len(npu.cache_hits)


def fresh(tmp_path):
    """So that the next run need not resume."""
    (tmp_path / '0').rename(tmp_path / ('moved%d' % len(list(tmp_path.iterdir()))))


def test_compiled_graphs_are_kept_on_request_alone(npu, tmp_path):
    cached(npu, tmp_path)
    assert 'graph_compiler_cache_dir' not in npu.engine_starts[0] and not (tmp_path / 'graph_cache').exists()


def test_the_second_of_two_runs_that_are_alike_compiles_nothing(npu, tmp_path, capsys):
    count, _ = cached(npu, tmp_path, '--graph_cache')
    directory, = (tmp_path / 'graph_cache' / '0').iterdir()
    assert 'compiled graphs: kept in %s' % directory in capsys.readouterr().out
    fresh(tmp_path)
    assert cached(npu, tmp_path, '--graph_cache') == (0, count)
    assert 'compiled graphs: taken from %s' % directory in capsys.readouterr().out


def test_a_run_of_other_flags_takes_no_graph_of_an_earlier_run(npu, tmp_path):
    cached(npu, tmp_path, '--graph_cache')
    for flag in ('--learning_rate=0.5', '--weight_decay=0.5', '--seed=2', '--precision_mode=force_fp32',
                 '--loss_scale=8', '--npu_option=deterministic=1', '--npu_sat_mode=1', '--train_steps=12'):
        fresh(tmp_path)
        assert cached(npu, tmp_path, '--graph_cache', flag)[1] == 0, flag


def test_the_fake_sees_a_wrong_hit_where_a_user_names_the_directory_himself(npu, tmp_path, capsys):
    """What CANN does with a directory that two runs share, and why --graph_cache has one for each."""
    flags = '--output_path=%s' % tmp_path, '--train_steps=3', '--npu_option=graph_compiler_cache_dir=%s/own' % tmp_path
    assert toy.run(*flags) == 0
    assert 'empty it after every change of flags, data, code or CANN' in capsys.readouterr().out
    npu.forget(), fresh(tmp_path)
    assert toy.run('--learning_rate=0.5', *flags) == 0
    assert npu.wrong_hits


def test_a_resumed_run_does_things_in_another_order_and_takes_no_graph_by_its_number(npu, tmp_path, capsys):
    count, _ = cached(npu, tmp_path, '--graph_cache')
    for part in (tmp_path / '0' / 'ckpt').glob('model.ckpt-13.*'):
        part.unlink()
    assert cached(npu, tmp_path, '--graph_cache', '--resume')[1] == 0
    assert 'in another order than the one before' in capsys.readouterr().out
    fresh(tmp_path)
    assert cached(npu, tmp_path, '--graph_cache') == (count, 0)     # what the resumed run left is no whole set
    fresh(tmp_path)
    assert cached(npu, tmp_path, '--graph_cache') == (0, count)


def test_a_run_that_did_not_end_leaves_nothing_to_take(npu, tmp_path):
    cached(npu, tmp_path, '--graph_cache', '--learning_rate=1e30', status=4)
    directory, = (tmp_path / 'graph_cache' / '0').iterdir()
    assert list(directory.glob('*.idx'))
    fresh(tmp_path)
    assert cached(npu, tmp_path, '--graph_cache', '--learning_rate=1e30', status=4)[1] == 0


def test_the_cache_keeps_the_graphs_of_the_last_runs_and_whatever_else_lies_there(npu, tmp_path):
    root = tmp_path / 'graph_cache' / '0'
    (root / 'mine').mkdir(parents=True)
    for seed in range(6):
        cached(npu, tmp_path, '--graph_cache', '--seed=%d' % seed)
        fresh(tmp_path)
    assert len(list(root.iterdir())) == 4 + 1 and (root / 'mine').is_dir()
    assert cached(npu, tmp_path, '--graph_cache', '--seed=5')[0] == 0
    fresh(tmp_path)
    assert cached(npu, tmp_path, '--graph_cache', '--seed=1')[1] == 0


def test_a_directory_in_use_is_left_alone(npu, tmp_path, capsys):
    count, _ = cached(npu, tmp_path, '--graph_cache')
    directory, = (tmp_path / 'graph_cache' / '0').iterdir()
    fresh(tmp_path)
    lock = os.open(str(directory), os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cached(npu, tmp_path, '--graph_cache') == (count, 0)
    finally:
        os.close(lock)
    assert 'another run is using %s' % directory in capsys.readouterr().out


@pytest.mark.parametrize('flags, words', [
    (['--graph_cache', '--npu_option=graph_compiler_cache_dir=/somewhere'], 'is already set by --graph_cache=True'),
    (['--npu_option=graph_compiler_cache_dir=%s/mine' % __file__],
     '--npu_option=graph_compiler_cache_dir=%s/mine: cannot be written' % __file__)])
def test_a_directory_that_cannot_be_is_refused(npu, tmp_path, capsys, flags, words):
    assert toy.run('--output_path=%s' % tmp_path, *flags) == 2
    assert words in capsys.readouterr().err
