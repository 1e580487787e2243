"""The command compare: its figures, its files and its exit status."""
import glob

import numpy as np
import pytest

from core.ascend.diagnostics import dump_files
from launchers import compare

VALUES = np.random.RandomState(0).normal(size=[5, 4, 3]).astype(np.float32)


@pytest.fixture
def dumps(tmp_path):
    """dumps(name, corrupted) -> a directory with the ground truth of five operators."""
    def write(name, corrupted=None):
        (tmp_path / name).mkdir()
        for number, values in enumerate(VALUES):
            values = values[::-1] if number == corrupted else values
            dump_files.write_ground_truth(str(tmp_path / name), 'net/op%d' % number, 0, values, 10 ** 15 + number)
        return str(tmp_path / name)
    return write


def test_equal_dumps_are_within_the_threshold(dumps, tmp_path, capsys):
    status = compare.main([dumps('a'), dumps('b'), '--output=%s' % (tmp_path / 'out')], {})
    assert status == 0 and 'every operator is within the threshold of 0.01' in capsys.readouterr().out
    assert len(glob.glob(str(tmp_path / 'out' / 'result_*.csv'))) == 1


def test_a_corrupted_operator_is_named_and_shown_on_the_page(dumps, tmp_path, capsys):
    status = compare.main([dumps('a', corrupted=3), dumps('b'), '--output=%s' % (tmp_path / 'out')], {})
    out = capsys.readouterr().out
    assert status == 1 and 'the first operator beyond the threshold of 0.01 is number 3: net_op3:0' in out
    path, = glob.glob(str(tmp_path / 'out' / 'result_*.html'))
    with open(path, encoding='utf-8') as file:
        page = file.read()
    assert 'net_op3:0' in page and page.count('<svg') == 2 and 'http' not in page.replace('http://www.w3.org', '')


def test_a_wide_threshold_takes_the_difference(dumps, tmp_path):
    assert compare.main([dumps('a', corrupted=3), dumps('b'), '--threshold=10', '--output=%s' % tmp_path], {}) == 0


@pytest.mark.parametrize('threshold', ['nan', 'inf', '-1', '1e999', 'x', ''])
def test_a_threshold_that_is_no_distance_is_refused(dumps, tmp_path, threshold, capsys):
    asked = [dumps('a', corrupted=3), dumps('b'), '--threshold=' + threshold, '--output=%s' % tmp_path]
    assert compare.main(asked, {}) == 2 and 'must be a number >= 0' in capsys.readouterr().err


def test_complex_numbers_differ_by_their_imaginary_parts_too(tmp_path, capsys):
    for name, value in (('a', 1 + 2j), ('b', 1 - 2j)):
        (tmp_path / name).mkdir()
        np.save(str(tmp_path / name / 'op.0.1.npy'), np.full([2, 3], value, np.complex64))
    status = compare.main([str(tmp_path / 'a'), str(tmp_path / 'b'), '--output=%s' % tmp_path], {})
    assert status == 1 and 'relative Euclidean distance %g' % (4 / 5 ** .5) in capsys.readouterr().out


def test_a_directory_without_dumps_is_refused_in_one_line(dumps, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    status = compare.main([dumps('a'), str(tmp_path / 'empty'), '--output=%s' % tmp_path], {})
    error = capsys.readouterr().err
    assert status == 2 and error.count('\n') == 1 and 'holds no dump files' in error
