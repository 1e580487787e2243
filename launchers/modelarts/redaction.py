"""Secrets of the environment, and how they are kept out of everything a process prints."""
import contextlib
import os
import re
import sys
import threading
import urllib.parse

_NAMES = re.compile(r'ACCESS_?KEY|SECRET|(TOKEN|PASSWORD|PASSWD)$', re.I)
_SHORTEST = 4                  # no key is shorter, and words that are would be cut out of other words
_LAST_LINES = 5                # seconds that output of processes left behind is waited for


def variables(environ):
    """The names in `environ` whose values are nobody's business: keys, tokens, passwords."""
    return [name for name in environ if _NAMES.search(name)]


def scrubber(environ):
    """A function bytes -> bytes that puts *** for every secret of `environ`, also as it stands in a URL."""
    values = {environ[name] for name in variables(environ) if len(environ[name]) >= _SHORTEST}
    spellings = values | {urllib.parse.quote(value, safe='') for value in values}
    longest_first = sorted(map(os.fsencode, spellings), key=len, reverse=True)
    if not longest_first:
        return lambda text: text
    secret = re.compile(b'|'.join(map(re.escape, longest_first)))
    return lambda text: secret.sub(b'***', text)


@contextlib.contextmanager
def scrubbed_output(environ):
    """A context in which standard output and error lose the secrets of `environ`, line by line.

    It works on file descriptors: also what C++ code and child processes print goes through it.
    """
    with contextlib.ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            stack.enter_context(_piped(stream, scrubber(environ)))
        yield


@contextlib.contextmanager
def _piped(stream, scrub):
    """Leads the descriptor of `stream` through a thread that scrubs its lines."""
    number = stream.fileno()
    screen = os.dup(number)
    source, sink = os.pipe()
    os.dup2(sink, number)
    os.close(sink)
    pump = threading.Thread(target=_pump, args=(source, screen, scrub), daemon=True)
    pump.start()
    try:
        yield
    finally:
        stream.flush()
        os.dup2(screen, number)
        pump.join(_LAST_LINES)


def _pump(source, screen, scrub):
    with open(source, 'rb') as lines:
        for line in lines:
            with contextlib.suppress(OSError):  # nobody looks any more; the writers must not notice
                os.write(screen, scrub(line))
