"""What a user may type as a value, and what an error says."""
import numpy as np
import pytest

from core.settings import kinds, table


PATH = ('a path in UTF-8, not empty, without control characters and without blanks at its ends; a ~ at its start is a '
        'home directory')


@pytest.mark.parametrize('kind, text, value', [
    (kinds.whole(), '-12', -12),
    (kinds.whole(least=0, most=7), '7', 7),
    (kinds.number(above=0), '1e-3', 1e-3),
    (kinds.number(least=0, below=1), '.9', 0.9),
    (kinds.boolean(), 'TRUE', True),
    (kinds.boolean(), 'False', False),
    (kinds.boolean(), '0', False),
    (kinds.choice('all', 'input'), 'input', 'input'),
    (kinds.loss_scale(), '1', 1.), (kinds.loss_scale(), '4294967296', 2. ** 32), (kinds.loss_scale(), 'True', True),
    (kinds.dump_steps(), '0|5|10-20|', '0|5|10-20|'), (kinds.dump_steps(), '|'.join(['7'] * 100), '7|' * 99 + '7'),
    (kinds.step_range(), '10-12', '10-12'), (kinds.step_range(), '7', '7'),
    (kinds.text(), 'a b;$(x)', 'a b;$(x)'),
    (kinds.text(), '数据\u3000集', '数据\u3000集'),
    (kinds.path(), '/data/a b;$(x)/数据', '/data/a b;$(x)/数据'),
    (kinds.path(), 'results/~', 'results/~'),
    (kinds.path(), './~', './~'),
])
def test_an_allowed_text_becomes_its_typed_value(kind, text, value):
    parsed = kind.parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize('kind, text, allowed', [
    (kinds.whole(), '1_000', 'a whole number of at most 18 digits'),
    (kinds.whole(), '1.0', 'a whole number of at most 18 digits'),
    (kinds.whole(), '1' * 19, 'a whole number of at most 18 digits'),
    (kinds.whole(), '٣', 'a whole number of at most 18 digits'),
    (kinds.whole(least=1), '0', 'a whole number >= 1'),
    (kinds.whole(least=0, most=7), '8', 'a whole number from 0 to 7'),
    (kinds.number(above=0), '0', 'a number > 0'),
    (kinds.number(least=0, below=1), '1', 'a number >= 0 and < 1'),
    (kinds.number(), 'nan', 'a number'),
    (kinds.number(), '1e999', 'a number'),
    (kinds.boolean(), 'yes', 'True or False'),
    (kinds.boolean(), '', 'True or False'),
    (kinds.choice('all', 'input'), 'Input', 'one of all, input'),
    *[(kinds.loss_scale(), slip, 'False, True (dynamic) or a number from 1 to 4294967296 (static)')
      for slip in ('.5', '4294967297', 'auto')],
    *[(kinds.dump_steps(), slip, 'N or A-B with A < B, joined by |, at most 100 of them, such as 0|5|10-20')
      for slip in ('a', '1-2-3', '5-5', '6-5', '2147483648', '1||2', '|'.join(['7'] * 101))],
    *[(kinds.step_range(), slip, 'N or A-B with A < B, such as 10-12') for slip in ('5-5', '6-5', '1-', '-1', 'x')],
    *[(kinds.text(), text, 'UTF-8 text, not empty, without control characters') for text in ('', 'a\nb', 'x/\udcff')],
    *[(kinds.path(), slip, PATH) for slip in (
        '', ' /data', '/data ', '/data\t', '/data\r', '/da\nta', '/da\x1b[31mta', '/data\u202e', '/data/\udcff',
        '~no-such-user-here/data')],
])
def test_any_other_text_is_refused_with_what_is_allowed(kind, text, allowed):
    with pytest.raises(ValueError) as refusal:
        kind.parse(text)
    assert str(refusal.value) == 'must be ' + allowed


def test_the_largest_whole_number_is_that_of_an_int32():
    assert kinds.MOST == np.iinfo(np.int32).max


def test_a_tilde_is_the_home_directory_in_every_kind_of_path(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    file = tmp_path / 'file'
    file.write_text('')
    assert kinds.path().parse('~/new') == str(tmp_path / 'new')
    assert kinds.path().parse('~') == kinds.directory().parse('~') == str(tmp_path)
    assert kinds.file_path().parse('~/file') == kinds.project_file('/').parse('~/file') == str(file)


def test_a_file_and_a_directory_must_be_what_they_are_called(tmp_path):
    file = tmp_path / 'switches.cfg'
    file.write_text('off')
    assert kinds.file_path().parse(str(file)) == str(file)
    assert kinds.directory().parse(str(tmp_path)) == str(tmp_path)
    with pytest.raises(ValueError, match='must be a directory that exists'):
        kinds.directory().parse(str(file))
    with pytest.raises(ValueError, match='must be a file that exists'):
        kinds.file_path().parse(str(tmp_path))


def test_ranges_of_steps_are_read_as_the_adapter_reads_them():
    assert kinds.ranges_of('0|5|10-20') == [(0, 0), (5, 5), (10, 20)]
    assert kinds.ranges_of('1|') == kinds.ranges_of('1-') == [(1, 1)] and kinds.ranges_of('-1') == [(0, 1)]


@pytest.mark.parametrize('flag, value, other', [
    ('precision_mode', 'mixed_float16', 'precision_mode_v2'), ('precision_mode_v2', 'force_fp16', 'precision_mode')])
def test_a_mode_of_the_other_flag_is_answered_with_that_flag(flag, value, other):
    row, = [row for row in table.SWITCHES if row.name == flag]
    with pytest.raises(ValueError, match='; or give --%s=%s$' % (other, value)):
        row.kind.parse(value)
    with pytest.raises(ValueError, match='must be one of'):
        row.kind.parse('half')
