"""SVHN's cropped digits, as their authors ship them: MATLAB 5 files (docs/vendor-contract.md section 1).

http://ufldl.stanford.edu/housenumbers. The file format is that of "MAT-File Format", MathWorks
2019, chapter 1; only real numeric arrays are read, by name. The label 10 stands for the digit 0.
"""
import os
import struct
import zlib

import numpy as np

from core.errors import InputError
from data.dataset import DataSet, Split, check_labels, find, folder_of, numbered

FILES = ['train_32x32.mat', 'test_32x32.mat']
HEADER = 128  # bytes: a text, the version, and 'IM' or 'MI' for the byte order
NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8',
           13: 'u8'}  # miINT8 to miUINT64
MATRIX, COMPRESSED = 14, 15
OTHER_CLASSES = (1, 2, 3, 4, 5, 16, 17, 18)  # of a matrix: cells, structures, text and other things than numbers


def svhn(path: str) -> DataSet:
    """The DataSet of train_32x32.mat and test_32x32.mat in `path`, or SVHN/ or dataset/SVHN/ under it.

    Images are uint8 [count, 32, 32, 3], labels int32. Raises InputError naming the file at fault.
    """
    folder = find(path, 'SVHN', FILES)
    train, test = [_split(os.path.join(folder, name)) for name in FILES]
    return DataSet(train, test, numbered(10))


def has_svhn(path: str) -> bool:
    """Whether files of SVHN are in or under the directory `path`."""
    return folder_of(path, 'SVHN', FILES) is not None


def _split(path):
    arrays = _read(path)
    for name in 'Xy':
        if name not in arrays:
            raise InputError('%s: has no array %r' % (path, name))
    images = arrays['X']
    if images.shape[:3] != (32, 32, 3) or images.ndim != 4 or not images.size or images.dtype != np.uint8:
        raise InputError('%s: X must be uint8 of shape (32, 32, 3, count), not %s of %s' % (
            path, images.dtype, images.shape))
    digits = arrays['y'].ravel().astype(np.int64)
    labels = check_labels(path, np.where(digits == 10, 0, digits), images.shape[3], 10)
    return Split(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels)


def _read(path):
    """The arrays of a MATLAB 5 file by name; InputError if it is none or is cut short."""
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror))
    if content.startswith(b'MATLAB 7.3') or b'\x89HDF\r\n\x1a\n' in (content[:8], content[512:520]):
        raise InputError('%s: is a MATLAB 7.3 file; save it with -v7 or -v6' % path)
    if len(content) < HEADER or content[126:128] not in (b'IM', b'MI'):
        raise InputError('%s: is not a MATLAB 5 file' % path)
    order = '<' if content[126:128] == b'IM' else '>'
    try:
        return dict(_arrays(memoryview(content)[HEADER:], order))
    except (ValueError, KeyError, IndexError, struct.error, zlib.error) as error:
        raise InputError('%s: truncated or damaged MATLAB file (%s)' % (path, error))


def _arrays(content, order):
    """(name, array) of each matrix of numbers among the elements in `content`."""
    for kind, data in _elements(content, order):
        if kind == COMPRESSED:
            yield from _arrays(memoryview(zlib.decompress(data)), order)
        elif kind == MATRIX:
            flags, *parts = _elements(data, order)
            if _numbers(flags, order)[0] & 0xff not in OTHER_CLASSES:
                yield _array(parts, order)


def _elements(content, order):
    """(kind, data) of each element: a tag of two words, then the data, padded to 8 bytes.

    The data of a small element share its tag's eight bytes, its size the first word.
    """
    while content:
        kind, size = struct.unpack(order + 'II', content[:8])
        start, length = (4, 8) if kind >> 16 else (8, 8 + size)
        if kind >> 16:
            kind, size = kind & 0xffff, kind >> 16
        if start + size > len(content):
            raise ValueError('%d bytes are missing' % (start + size - len(content)))
        yield kind, content[start:start + size]
        content = content[length if kind == COMPRESSED else (length + 7) // 8 * 8:]


def _array(parts, order):
    """(name, array) out of a matrix's parts after the flags: dimensions, name, real numbers."""
    shape, (_, name), real, *_ = parts
    array = _numbers(real, order).reshape(_numbers(shape, order), order='F')
    return bytes(name).decode('latin1'), array


def _numbers(part, order):
    kind, data = part
    return np.frombuffer(data, order + NUMBERS[kind])
