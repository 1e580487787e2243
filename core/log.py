"""The one way that a line gets into a run's log, and how foreign text is shown in a line: no password, no escape."""
import os
import re
import sys

# Control characters, marks that turn the direction of text, and bytes that are not UTF-8 (surrogates).
_HIDDEN = re.compile('[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
_USER_INFO = re.compile(r'(://)(?:[^\s:@/]*:[^\s"]*|[^\s:@/]+)@')     # USER:PASSWORD or TOKEN of a URL
LONGEST = 300                  # characters of a line about bad input
_LONG_WORD = 110               # characters of a word that may lose its middle: a path, a number
_LEFT_OUT = '...'


def say(line: str) -> None:
    """Prints one line of the log at once; on a terminal it replaces the live line."""
    # In one write, because print() ends its line by another one, and a line of another thread may come between them.
    sys.stdout.write(('\x1b[2K' if os.isatty(1) else '') + printable(without_passwords(line)) + '\n')
    sys.stdout.flush()


def printable(text: str) -> str:
    """The text with escapes such as \\r and \\xe9 for what a terminal would obey and for bytes that are not UTF-8."""
    return _HIDDEN.sub(lambda match: _escape(ord(match[0])), text)


def is_hidden(text: str) -> bool:
    """Whether the text has characters that printable() shows as escapes."""
    return _HIDDEN.search(text) is not None


def without_passwords(text: str) -> str:
    """The text with *** instead of USER:PASSWORD, or a token, in each URL."""
    return _USER_INFO.sub(r'\1***@', text) if '://' in text else text


def one_line(text: str) -> str:
    """The text as one printable() line of at most LONGEST characters: its longest words, or it, lose their middle."""
    line = printable(without_passwords(text.strip()))
    while len(line) > LONGEST:
        longest = max(line.split(' '), key=len)
        if len(longest) <= _LONG_WORD:
            return _shortened(line, LONGEST)
        line = line.replace(longest, _shortened(longest, max(_LONG_WORD, len(longest) + LONGEST - len(line))))
    return line


def _shortened(words, length):
    head = (length - len(_LEFT_OUT)) // 2
    return words[:head] + _LEFT_OUT + words[head + len(_LEFT_OUT) - length:]


def _escape(code):
    if 0xdc80 <= code <= 0xdcff:       # a byte that os.fsdecode() could not decode
        code -= 0xdc00
    return {9: r'\t', 10: r'\n', 13: r'\r'}.get(code) or (r'\x%02x' if code < 256 else r'\u%04x') % code
