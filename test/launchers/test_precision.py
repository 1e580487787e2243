"""The command precision: the types of a training step's operators and the reasons."""
import re

import pytest
import toy  # noqa: F401 (the network)

from launchers import command, precision


def table(capsys, *flags):
    """(status, what is printed) for the tests' own network."""
    status = command.run(precision.act, ['--network=toy', '--case=performance', '--batch_size=4', *flags], {})
    return status, capsys.readouterr().out


@pytest.mark.slow
def test_every_operator_has_its_types_and_a_reason(capsys):
    status, text = table(capsys, '--precision_mode=allow_mix_precision')
    assert status == 0
    assert re.search(r'^MatMulV2 +float16 +float16 +white +\d+$', text, re.M)
    assert re.search(r'^ReduceMean +float32 +float32 +black +\d+$', text, re.M)
    assert re.search(r'^BiasAdd +float16 +float16 +gray, after \S*MatMul +\S*BiasAdd$', text, re.M)
    summed = sum(int(line.split()[-1]) for line in text.split('\n\n')[0].splitlines() if line.split()[-1].isdigit())
    assert summed == len(text.strip().split('\n\n')[1].splitlines()) - 1


@pytest.mark.slow
def test_a_mix_list_changes_type_and_reason(capsys, tmp_path):
    path = tmp_path / 'mix.json'
    path.write_text('{"white-list": {"to-remove": ["MatMulV2"]}, "black-list": {"to-add": ["MatMulV2"]}}')
    status, text = table(capsys, '--precision_mode=allow_mix_precision', '--use_mixlist=True',
                         '--mixlist_file=%s' % path)
    assert status == 0 and re.search(r'^MatMulV2 +float32 +float32 +black +\d+$', text, re.M)


@pytest.mark.slow
def test_a_mode_that_is_not_emulated_is_refused(capsys):
    status, _ = table(capsys, '--precision_mode_v2=cube_hif8')
    assert status == 2
