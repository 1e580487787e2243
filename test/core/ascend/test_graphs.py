"""How many graphs a run gives an NPU to compile: each set of fetches is one, and takes minutes for a large network."""
import re

import pytest
import tensorflow as tf
import tiny
import toy

from data import synthetic
from launchers import command, train
from launchers.networks import classification, cspnet, cutmix, sesemi
from nets import alexnet, layers

pytestmark = pytest.mark.slow

MOST = 5                       # initialise and broadcast; train; batch-norm statistics; evaluate; save and average


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
    monkeypatch.setattr(sesemi, '_features', features)
    for network in cspnet, cutmix:
        monkeypatch.setattr(network, 'RECIPE', network.RECIPE._replace(model=classification.classifier(tiny.tiny)))


# Eight ranks run all that one rank does.
@pytest.mark.parametrize('ranks, case, flags', [
    (1, 'performance', ['toy', '--train_epochs=2', '--swa_start_epoch=1', '--loss_scale=True']),
    (8, 'full', ['toy', '--train_epochs=2', '--swa_start_epoch=1', '--loss_scale=True']),
    (8, 'full', ['cspnet', '--train_steps=1']), (8, 'full', ['cutmix', '--train_steps=1']),
    (8, 'full', ['sesemi', '--train_steps=1', '--task=svhn']),
    (8, 'full', ['alexnet', '--train_steps=1', '--batch_size=8']), (8, 'full', ['swa', '--train_epochs=8'])])
def test_a_run_compiles_five_graphs_at_most(npu, small, tmp_path, monkeypatch, ranks, case, flags):
    environ = dict(RANK_SIZE=str(ranks), RANK_ID='0', JOB_ID='10087')
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    given = ['--network=' + flags[0], '--case=' + case, '--output_path=%s' % tmp_path, '--data_path=synthetic']
    assert command.run(train.act, given + flags[1:], environ) == 0
    assert len(npu.compiled) <= MOST, npu.compiled


def test_a_resumed_run_compiles_no_graph_more(npu, tmp_path):
    output = '--output_path=%s' % tmp_path
    assert toy.run(output, '--train_steps=13') == 0
    npu.compiled.clear(), npu.fetch_sets.clear()
    assert toy.run(output, '--train_steps=20', '--resume') == 0
    assert len(npu.compiled) <= MOST, npu.compiled


def test_compiled_graphs_are_kept_beside_the_results_for_the_next_run(npu, tmp_path, capsys):
    flags = '--output_path=%s' % tmp_path, '--train_steps=1'

    def cache(*more):
        assert toy.run('--print_config', *flags, *more) == 0
        return re.search(r'key: "graph_compiler_cache_dir"\s+value {\s+s: "(.*)"', capsys.readouterr().out)
    assert cache().group(1) == str(tmp_path / 'graph_cache' / '0')
    assert cache('--npu_option=graph_compiler_cache_dir=%s/mine' % tmp_path).group(1) == str(tmp_path / 'mine')
    assert cache('--device=cpu') is None
    assert toy.run(*flags, '--npu_option=graph_compiler_cache_dir=%s/mine' % __file__) == 2
    assert '--npu_option=graph_compiler_cache_dir=%s/mine: cannot be written' % __file__ in capsys.readouterr().err
    assert toy.run(*flags) == 0 and (tmp_path / 'graph_cache' / '0').is_dir()
