"""Arrays in .npy files: of those of others no object is unpickled, and no memory taken that the file does not fill.

read() raises ValueError as core/files.py does.
"""
import functools
import io
import tokenize

import numpy as np
from numpy.lib import format as npy_format

from core import files

_LONGEST_HEADER = 2 ** 16      # bytes


def read(path: str) -> np.ndarray:
    """The array in a .npy file: booleans or numbers, as many as its header declares."""
    content = files.contents(path)
    file = io.BytesIO(content)
    shape, is_fortran, dtype = _header(file)
    if dtype.hasobject or dtype.kind not in 'biufc':
        raise ValueError('is a .npy file of %s, not of numbers' % dtype)
    count = 1
    for length in shape:           # without NumPy, because its product would wrap around
        count *= length
    declared, there = count * dtype.itemsize, len(content) - file.tell()
    if declared != there:
        raise ValueError('declares %d bytes of %s %s and has %d' % (declared, dtype, list(shape), there))
    array = np.frombuffer(content, dtype, offset=file.tell())
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def write(path: str, array: np.ndarray) -> None:
    """Writes an array of booleans or numbers, in half the time of np.save()."""
    array = np.asarray(array, order='C')
    with open(path, 'wb') as file:
        file.write(_new_header(array.dtype, array.shape))
        file.write(content(array))


@functools.lru_cache(maxsize=None)
def _new_header(dtype, shape):
    """What stands before the numbers of an array in a file; steps have the same, and it takes as long as a file."""
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, npy_format.header_data_from_array_1_0(np.empty(shape, dtype)))
    return header.getvalue()


def content(array: np.ndarray) -> np.ndarray:
    """The bytes of an array, row by row, without a copy where they lie so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _header(file):
    """(shape, whether the first axis varies fastest, dtype)."""
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
