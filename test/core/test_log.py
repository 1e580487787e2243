"""Foreign text in a line: whatever a name holds, a terminal and a UTF-8 file get harmless characters."""
import os
import sys

import pytest

from core import log


@pytest.mark.parametrize('text, shown', [
    ('/data/数据 集/naïve.jpg', '/data/数据 集/naïve.jpg'),
    ('/data\r:', r'/data\r:'), ('a\nb\tc', r'a\nb\tc'), ('\x1b[31m\x9b', r'\x1b[31m\x9b'),
    ('left\u202eright', r'left\u202eright'),
    (os.fsdecode(b'caf\xe9'), r'caf\xe9'), ('\ud800', r'\ud800')])
def test_what_a_terminal_obeys_and_what_is_not_utf8_is_shown_with_escapes(text, shown, capfd):
    assert log.printable(text) == shown and log.is_hidden(text) == (text != shown)
    log.say(text)
    assert capfd.readouterr().out == shown + '\n'


def test_a_line_is_one_write_so_that_lines_of_threads_do_not_run_together(monkeypatch):
    written = []

    class Stream:
        write, flush = written.append, staticmethod(lambda: None)
    monkeypatch.setattr(sys, 'stdout', Stream)
    log.say('one line')
    assert written == ['one line\n']


def test_a_line_has_300_characters_at_most_and_its_longest_word_or_it_loses_its_middle():
    short = 'ab ' * 100
    assert log.one_line(short[:299] + 'x') == short[:299] + 'x'
    line = short + 'x'
    assert log.one_line(line) == line[:148] + '...' + line[-149:]
    path = '/' + 'p' * 398 + 'q'
    assert log.one_line('in %s here' % path) == 'in %s...%s here' % (path[:144], path[-145:])
    # Two long words: the longer one gives what is needed; a word of 110 characters stays whole.
    assert log.one_line('a' * 150 + ' ' + 'b' * 200) == 'a' * 150 + ' ' + 'b' * 73 + '...' + 'b' * 73
    assert log.one_line('a' * 110 + ' ' + 'b' * 300) == 'a' * 110 + ' ' + 'b' * 93 + '...' + 'b' * 93
    line = ' '.join(['a' * 110, 'b' * 110, 'c' * 110])
    assert log.one_line(line) == line[:148] + '...' + line[-149:]
    assert len(log.one_line('w' * 115 + ' ' + short[:250])) == 300


@pytest.mark.parametrize('text, shown', [('\udc80', r'\x80'), ('\udcff', r'\xff'), ('\udc7f', r'\udc7f'),
                                         ('\udd00', r'\udd00'), ('\x7f', r'\x7f'), ('\xff', '\xff')])
def test_an_undecoded_byte_is_shown_as_that_byte(text, shown):
    assert log.printable(text) == shown
