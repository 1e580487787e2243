"""Files that others have written: measured before they are read, and read by their grammar alone.

Each function raises ValueError for a file that is missing, no plain file, larger than allowed, or not of its form; the
message completes `PATH: `. No file makes them hang, ask for memory without end, or execute anything.
"""
import json
import math
import os
import stat
from typing import Any, BinaryIO, Dict

_MOST_OF_TEXT = 2 ** 28        # bytes of JSON or text: a graph of GE has some tens of millions
_MOST_DIGITS = 400             # of a number: what is longer takes seconds to read, and means nothing to anybody


def opened(path: str, flags: int = os.O_RDONLY, mode: str = 'rb', buffering: int = -1) -> BinaryIO:
    """A plain file, opened with `flags` of os.open() without waiting for the other end of a FIFO."""
    try:
        number = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:  # the latter: a NUL in the path
        raise ValueError('cannot be opened: %s' % (getattr(error, 'strerror', None) or error)) from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ValueError('is a directory or a device, not a file')
    return os.fdopen(number, mode, buffering)


def contents(path: str, most: int = 0) -> bytes:
    """All bytes of a plain file; most: how many it may have, 0: as many as fit into half of the memory."""
    with opened(path) as file:
        length = os.fstat(file.fileno()).st_size
        limit = most or half_of_memory()
        if length > limit:
            raise ValueError('has %d bytes, more than the %d that are read' % (length, limit))
        return file.read(length)


def half_of_memory() -> int:
    """Bytes that may be read at once."""
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2


def text(path: str) -> str:
    """A file of text in UTF-8."""
    try:
        return contents(path, _MOST_OF_TEXT).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError('is not text in UTF-8: byte %d' % error.start) from None


def json_of(given: str) -> Any:
    """The value of JSON text; its numbers must be finite and no longer than a person could write."""
    try:
        return json.loads(given, parse_int=_whole, parse_float=_decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError('is JSON nested too deeply') from None
    except json.JSONDecodeError as error:
        raise ValueError('is not JSON: %s' % error) from None


def json_object(path: str) -> Dict[str, Any]:
    """The object in a file of JSON text; see json_of()."""
    value = json_of(text(path))
    if not isinstance(value, dict):
        raise ValueError('is JSON, but no object {...}')
    return value


def _whole(digits):
    if len(digits) > _MOST_DIGITS:
        raise ValueError('has a number of %d digits' % len(digits))
    return int(digits)


def _decimal(digits):
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError('has a number that is too large: %.20s' % digits)
    return value


def _refuse_constant(word):
    raise ValueError('has %s instead of a number' % word)
