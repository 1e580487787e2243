"""Files that others have written: measured before they are read, and read by their grammar alone.

Each function raises ValueError, whose message completes `PATH: `, for a file that is not there, not a plain one, larger
than it may be, or not of its form. No file makes them hang, ask for memory without end, or execute anything.
"""
import io
import json
import math
import os
import stat
import tokenize
from typing import Any, BinaryIO, Dict

_MOST_OF_TEXT = 2 ** 28        # bytes of JSON or text: a graph of GE has some tens of millions
_MOST_DIGITS = 400             # of a number: what is longer takes seconds to read, and means nothing to anybody
_LONGEST_HEADER = 2 ** 16      # bytes of the header of a .npy file


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
        length, limit = os.fstat(file.fileno()).st_size, most or half_of_memory()
        if length > limit:
            raise ValueError('has %d bytes, more than the %d that are read' % (length, limit))
        return file.read(limit)


def half_of_memory() -> int:
    """Bytes: what a file may ask for."""
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2


def text(path: str) -> str:
    """A file of text in UTF-8."""
    try:
        return contents(path, _MOST_OF_TEXT).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError('is not text in UTF-8: byte %d' % error.start) from None


def json_of(given: str) -> Any:
    """The value of JSON text whose numbers are finite and of a length that a person could write."""
    try:
        return json.loads(given, parse_int=_whole, parse_float=_decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError('is JSON nested too deeply') from None
    except json.JSONDecodeError as error:
        raise ValueError('is not JSON: %s' % error) from None


def json_file(path: str) -> Any:
    """The value in a file of JSON text; see json_of()."""
    return json_of(text(path))


def json_object(path: str) -> Dict[str, Any]:
    """The object in a file of JSON text; see json_of()."""
    value = json_file(path)
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
    raise ValueError('has %s in place of a number' % word)


def npy(path: str) -> Any:
    """The NumPy array in a .npy file: booleans or numbers, as many as its header declares."""
    import numpy as np             # here, because launchers.doctor works without it
    content = contents(path)
    file = io.BytesIO(content)
    shape, is_fortran, dtype = _npy_header(file)
    if dtype.hasobject or dtype.kind not in 'biufc':
        raise ValueError('is a .npy file of %s, not of numbers' % dtype)
    count = 1
    for length in shape:           # without NumPy, whose product would wrap around
        count *= length
    declared, there = count * dtype.itemsize, len(content) - file.tell()
    if declared != there:
        raise ValueError('declares %d bytes of %s %s and has %d' % (declared, dtype, list(shape), there))
    array = np.frombuffer(content, dtype, offset=file.tell())
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def _npy_header(file):
    """(shape, whether the first axis varies fastest, dtype)."""
    from numpy.lib import format as npy_format
    try:
        version = npy_format.read_magic(file)
        length = int.from_bytes(file.read(2 if version == (1, 0) else 4), 'little')
        if version[0] > 3 or length > _LONGEST_HEADER:
            raise ValueError('a header of version %d.%d and %d bytes' % (version + (length,)))
        file.seek(npy_format.MAGIC_LEN)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except (ValueError, TypeError, SyntaxError, KeyError, RecursionError, MemoryError,
            tokenize.TokenError) as error:
        raise ValueError('is not a .npy file: %s' % (str(error) or type(error).__name__)) from None
    if any(not isinstance(length, int) or length < 0 for length in shape):
        raise ValueError('is not a .npy file: its shape is %s' % (shape,))
    return tuple(map(int, shape)), is_fortran, dtype
