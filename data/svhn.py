"""SVHN's cropped digits, as their authors ship them: MATLAB 5 files (docs/vendor-contract.md section 1).

http://ufldl.stanford.edu/housenumbers. The file format is that of "MAT-File Format", MathWorks
2019, chapter 1; only real numeric arrays are read, by name. The label 10 stands for the digit 0.
"""
import os
import struct
import zlib
from typing import Any, Callable, Dict, Iterator, NamedTuple, Tuple

import numpy as np

from core import files
from core.errors import InputError
from data.dataset import DataSet, Split, check_labels, find, folder_of, numbered, summary
from data.listing import HEAD as FIRST, what_is

FILES = ['train_32x32.mat', 'test_32x32.mat']
HEADER = 128  # bytes: a text, the version, and 'IM' or 'MI' for the byte order
NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8',
           13: 'u8'}  # miINT8 to miUINT64
MATRIX, COMPRESSED = 14, 15
COMPLEX = 0x800                # a flag of a matrix
HEAD = 1024                    # bytes of a matrix that have its dimensions and its name
MOST_FACTOR = 1100             # by which zlib makes data smaller, at most
OTHER_CLASSES = (1, 2, 3, 4, 5, 16, 17, 18)  # of a matrix: cells, structures, text and other things than numbers


def svhn(path: str) -> DataSet:
    """The DataSet of train_32x32.mat and test_32x32.mat in `path`, or SVHN/ or dataset/SVHN/ under it.

    Images are uint8 [count, 32, 32, 3], labels int32. Raises InputError naming the file at fault.
    """
    train, test = [_split(file) for file in _files(path)]
    return DataSet(train, test, numbered(10))


def inspect(path: str) -> str:
    """DataSet.summary of svhn(), from the headers of the files alone. Raises InputError naming the file at fault."""
    train, test = [_checked(file)['X'].shape[3] for file in _files(path)]
    return summary(train, test, 10)


def has_svhn(path: str) -> bool:
    """Whether files of SVHN are in or under the directory `path`."""
    return folder_of(path, 'SVHN', FILES) is not None


def _files(path):
    folder = find(path, 'SVHN', FILES)
    return [os.path.join(folder, name) for name in FILES]


class _Matrix(NamedTuple):
    """A matrix of numbers in a file, of which only the beginning was looked at."""
    shape: Tuple[int, ...]
    dtype: np.dtype
    content: Callable[[], Any]     # its numbers' bytes


def _split(path):
    matrices = _checked(path).items()
    arrays = _damage_told(path, lambda: {
        name: np.frombuffer(matrix.content(), matrix.dtype).reshape(matrix.shape, order='F')
        for name, matrix in matrices})
    labels = arrays['y'].ravel()
    if labels.dtype.kind == 'f':
        wrong = labels[~(labels == np.rint(labels))]
        if len(wrong):
            raise InputError('%s: the label %g is no whole number' % (path, wrong[0]))
    digits = labels.astype(np.int64)
    labels = check_labels(path, np.where(digits == 10, 0, digits), arrays['X'].shape[3], 10)
    return Split(np.ascontiguousarray(arrays['X'].transpose(3, 0, 1, 2)), labels)


def _checked(path: str) -> Dict[str, _Matrix]:
    """The _Matrix of X and of y. Raises InputError when they are not there or are no images and labels."""
    found = {name: matrix for name, matrix in _damage_told(path, lambda: list(_matrices(path))) if name in ('X', 'y')}
    for name in 'Xy':
        if name not in found:
            raise InputError('%s: has no array %r' % (path, name))
    shape, dtype = found['X'].shape, found['X'].dtype
    if shape[:3] != (32, 32, 3) or len(shape) != 4 or not shape[3] or dtype != np.uint8:
        raise InputError('%s: X must be uint8 of shape (32, 32, 3, count), not %s of %s' % (path, dtype, shape))
    return found


def _damage_told(path, read):
    try:
        return read()
    except (ValueError, KeyError, IndexError, OverflowError, struct.error, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError('%s: truncated or damaged MATLAB file (%s)' % (path, error))


def _matrices(path: str) -> Iterator[Tuple[str, _Matrix]]:
    """(name, _Matrix) of each matrix of real numbers in a MATLAB 5 file; InputError if it is none."""
    try:
        content = memoryview(files.contents(path))
    except ValueError as error:
        raise InputError('%s: %s' % (path, error))
    start = bytes(content[:HEADER])
    if start.startswith(b'MATLAB 7.3') or b'\x89HDF\r\n\x1a\n' in (start[:8], bytes(content[512:520])):
        raise InputError('%s: is a MATLAB 7.3 file; save it with -v7 or -v6' % path)
    if len(content) < HEADER or start[126:] not in (b'IM', b'MI'):
        raise InputError('%s: is %s' % (path, what_is(bytes(content[:FIRST])) or 'not a MATLAB 5 file'))
    order = '<' if start[126:] == b'IM' else '>'
    offset = HEADER
    while offset < len(content):
        kind, data, offset = _element(content, offset, order)
        if kind not in (MATRIX, COMPRESSED):
            raise ValueError('an element of type %d' % kind)
        found = _matrix(data, order) if kind == MATRIX else _compressed_matrix(data, order)
        if found:
            yield found


def _compressed_matrix(data, order):
    """_matrix() of a compressed one, of which only the beginning is decompressed."""
    head = zlib.decompressobj().decompress(data, HEAD)
    kind, size = struct.unpack_from(order + 'II', head)
    if kind != MATRIX or size > MOST_FACTOR * len(data) + HEAD:
        raise ValueError('%d bytes do not hold a matrix of %d' % (len(data), size))

    def whole():
        return zlib.decompressobj().decompress(data, 8 + size)[8:]
    return _matrix(head[8:8 + size], order, size, whole)


def _matrix(head, order, size=None, whole=None):
    """(name, _Matrix) of a matrix that starts with `head`; None of another one than of real numbers.

    size, whole: of a matrix of which `head` is the beginning alone, its size and what returns it.
    """
    size, whole = (len(head), lambda: head) if whole is None else (size, whole)
    kind, flags, offset = _element(head, 0, order)
    flags, = struct.unpack_from(order + 'I', flags)
    if flags & 0xff in OTHER_CLASSES or flags & COMPLEX:
        return None
    kind, dimensions, offset = _element(head, offset, order)
    if NUMBERS[kind][0] not in 'iu':
        raise ValueError('its dimensions are no whole numbers')
    shape = tuple(map(int, np.frombuffer(dimensions, order + NUMBERS[kind])))
    _, name, offset = _element(head, offset, order)
    kind, length, start, _ = _tag(head, offset, order)
    dtype = np.dtype(order + NUMBERS[kind])
    if min(shape, default=-1) < 0 or length != dtype.itemsize * _product(shape):
        raise ValueError('%d bytes of numbers for the dimensions %.50s' % (length, shape))
    if start + length > size:
        raise ValueError('%d bytes are missing' % (start + length - size))

    def content():
        data = whole()[start:start + length]
        if len(data) != length:
            raise ValueError('%d bytes are missing' % (length - len(data)))
        return data
    return bytes(name).decode('latin1'), _Matrix(shape, dtype, content)


def _product(shape):
    product = 1                        # of Python's numbers, which do not overflow
    for length in shape:
        product *= length
    return product


def _element(content, offset, order):
    """(kind, data, offset of the next element) of the element at `offset`."""
    kind, size, start, following = _tag(content, offset, order)
    if start + size > len(content):
        raise ValueError('%d bytes are missing' % (start + size - len(content)))
    return kind, content[start:start + size], following


def _tag(content, offset, order):
    """(kind, size of the data, its offset, offset of the next element): a tag of two words, then the data.

    Elements are padded to 8 bytes, but for compressed ones. The data of a small element share its tag's eight bytes,
    its size the first word.
    """
    kind, size = struct.unpack_from(order + 'II', content, offset)
    if kind >> 16:
        return kind & 0xffff, kind >> 16, offset + 4, offset + 8
    length = size if kind == COMPRESSED else -(-size // 8) * 8
    return kind, size, offset + 8, offset + 8 + length
