"""How many graphs a run gives an NPU to compile: each set of fetches is one, and takes minutes for a large network."""
import re

import pytest
import toy

pytestmark = pytest.mark.slow

MOST = 5                       # initialise and broadcast; train; batch-norm statistics; evaluate; save


@pytest.mark.parametrize('ranks', [1, 8])
@pytest.mark.parametrize('flags', [[], ['--loss_scale=True']])
def test_a_run_compiles_five_graphs_at_most(npu, tmp_path, monkeypatch, ranks, flags):
    environ = dict(RANK_SIZE=str(ranks), RANK_ID='0', JOB_ID='10087')
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    output = '--output_path=%s' % tmp_path
    assert toy.run(output, '--train_epochs=2', *flags, **environ) == 0
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
    assert toy.run(*flags) == 0 and (tmp_path / 'graph_cache' / '0').is_dir()
