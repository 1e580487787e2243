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
