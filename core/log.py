"""The one way that a line gets into a run's log, and how foreign text is shown in a line."""
import os
import re

# Control characters, marks that turn the direction of text, and bytes that are not UTF-8 (surrogates).
_HIDDEN = re.compile('[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


def say(line: str) -> None:
    """Prints one line of the log at once; on a terminal it takes the place of the live line."""
    print(('\x1b[2K' if os.isatty(1) else '') + printable(line), flush=True)


def printable(text: str) -> str:
    """The text with escapes such as \\r and \\xe9 for what a terminal would obey and for bytes that are not UTF-8."""
    return _HIDDEN.sub(lambda match: _escape(ord(match[0])), text)


def is_hidden(text: str) -> bool:
    """Whether the text has characters that printable() shows as escapes."""
    return _HIDDEN.search(text) is not None


def _escape(code):
    if 0xdc80 <= code <= 0xdcff:       # a byte that os.fsdecode() could not decode
        code -= 0xdc00
    return {9: r'\t', 10: r'\n', 13: r'\r'}.get(code) or (r'\x%02x' if code < 256 else r'\u%04x') % code
