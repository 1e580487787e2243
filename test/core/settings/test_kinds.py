"""What a user may type as a value, and what an error says."""
import pytest

from core import values


@pytest.mark.parametrize('kind, text, value', [
    (values.whole(), '-12', -12),
    (values.whole(least=0, most=7), '7', 7),
    (values.number(above=0), '1e-3', 1e-3),
    (values.number(least=0, below=1), '.9', 0.9),
    (values.boolean(), 'TRUE', True),
    (values.boolean(), 'False', False),
    (values.boolean(), '0', False),
    (values.choice('all', 'input'), 'input', 'input'),
    (values.text(), 'a b;$(x)', 'a b;$(x)'),
    (values.text(), '数据\u3000集', '数据\u3000集'),
])
def test_an_allowed_text_becomes_its_typed_value(kind, text, value):
    parsed = kind.parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize('kind, text, allowed', [
    (values.whole(), '1_000', 'a whole number of at most 18 digits'),
    (values.whole(), '1.0', 'a whole number of at most 18 digits'),
    (values.whole(), '1' * 19, 'a whole number of at most 18 digits'),
    (values.whole(), '٣', 'a whole number of at most 18 digits'),
    (values.whole(least=1), '0', 'a whole number >= 1'),
    (values.whole(least=0, most=7), '8', 'a whole number from 0 to 7'),
    (values.number(above=0), '0', 'a number > 0'),
    (values.number(least=0, below=1), '1', 'a number >= 0 and < 1'),
    (values.number(), 'nan', 'a number'),
    (values.number(), '1e999', 'a number'),
    (values.boolean(), 'yes', 'True or False'),
    (values.boolean(), '', 'True or False'),
    (values.choice('all', 'input'), 'Input', 'one of all, input'),
    (values.text(), '', 'one line of UTF-8 text, not empty'),
    (values.text(), '/results\nrun_dir=/', 'one line of UTF-8 text, not empty'),
    (values.text(), '/results/\udcff', 'one line of UTF-8 text, not empty'),
])
def test_any_other_text_is_refused_with_what_is_allowed(kind, text, allowed):
    with pytest.raises(ValueError) as refusal:
        kind.parse(text)
    assert str(refusal.value) == 'must be ' + allowed


def test_a_file_and_a_directory_must_be_what_they_are_called(tmp_path):
    file = tmp_path / 'switches.cfg'
    file.write_text('off')
    assert values.file_path().parse(str(file)) == str(file)
    assert values.directory().parse(str(tmp_path)) == str(tmp_path)
    with pytest.raises(ValueError, match='must be a directory that exists'):
        values.directory().parse(str(file))
    with pytest.raises(ValueError, match='must be a file that exists'):
        values.file_path().parse(str(tmp_path))
