"""TFRecord files: any record of many shards by its address, through an index of where each one starts.

A record is its length (uint64), the masked CRC of that (uint32), its bytes, and their masked CRC (TensorFlow's
core/lib/io/record_writer.h). The index is made once by hopping from length to length; nothing else is read then. It is
kept as a hidden file beside the shards, or in another directory where that one cannot be written, for as long as the
shards have the sizes and times that they had. Compressed files are refused: in them no record can be read alone.
"""
import collections
import contextlib
import ctypes
import glob
import os
import struct
import sys
import tempfile
import time
import zlib
from typing import BinaryIO, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.log import printable
from data.dataset import Order, Split
from data.listing import HEAD, what_is
from data.seeds import permuted_in_blocks, random_integers, split_seed

BUFFER = 10000                 # records that are shuffled among each other, as by tf.data.Dataset.shuffle(BUFFER)

_HEADER, _FOOTER = 12, 4       # bytes before and after those of a record
_VERSION = 1                   # of the file that keeps an index
_FIXED = 4                     # its first numbers: version, checksum of what follows, shards, labels of a record
_OPEN = 256                    # files that are open at a time
_TOLD_AFTER = 10               # seconds between the lines about an index that takes its time
_MASK = 0xa282ead8             # record_writer.h: a CRC of bytes that have CRCs in them would be a weak one

# TensorFlow has no operator that computes it, and Python's zlib another polynomial.
_extend = ctypes.CDLL(os.path.join(tf.sysconfig.get_lib(), 'libtensorflow_framework.so.1'))[
    '_ZN10tensorflow6crc32c6ExtendEjPKcm']     # tensorflow::crc32c::Extend(uint32, const char*, size_t)
_extend.argtypes, _extend.restype = (ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t), ctypes.c_uint32

# label(read, size) -> a whole number out of a record; read(start, count) -> some of its `size` bytes
Label = Callable[[Callable[[int, int], bytes], int], int]


def masked_crc(content: bytes) -> int:
    """The masked CRC-32C of some bytes."""
    crc = _extend(0, content, len(content))
    return ((crc >> 15 | crc << 17) + _MASK) & 0xffffffff


class Index(NamedTuple):
    """Where the records of some files start. An address is a position in the bytes of all files, one after another."""
    files: Tuple[str, ...]
    starts: np.ndarray             # int64 [files + 1]: the address of the first byte of each file, and of the end
    rows: np.ndarray               # int64 [files + 1]: how many records are in the files before each, and in all
    addresses: np.ndarray          # int64 [records]
    labels: np.ndarray             # int64 [records], or [0] of an index without labels

    def name(self, address: int) -> str:
        """'FILE: record N', N counted from 0 in its file."""
        row = np.searchsorted(self.addresses, address)
        file = np.searchsorted(self.rows, row, 'right') - 1
        return '%s: record %d' % (self.files[file], row - self.rows[file])

    def ends(self, addresses: np.ndarray) -> np.ndarray:
        """The addresses behind the last bytes of the records at `addresses`."""
        after = np.searchsorted(self.addresses, addresses) + 1
        known = self.addresses[np.minimum(after, len(self.addresses) - 1)]
        return np.where(after < len(self.addresses), known, self.starts[-1])


class ShardReader:
    """Reads the records of an Index, in any order; threads may share one."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._open = collections.OrderedDict()     # number of a file -> the file, the one used last at the end

    def read(self, addresses: np.ndarray) -> List[bytes]:
        """The contents of the records at `addresses`, int64 [n]. Raises InputError naming one that is damaged."""
        ends, found = self.index.ends(addresses), []
        for address, end in zip(addresses.tolist(), ends.tolist()):
            number = int(np.searchsorted(self.index.starts, address, 'right')) - 1
            try:
                file = self._file(number)
                content = os.pread(file.fileno(), end - address, address - int(self.index.starts[number]))
            except OSError as error:
                raise InputError('%s: cannot be read: %s' % (self.index.name(address), error.strerror))
            size = len(content) - _HEADER - _FOOTER
            if size < 0 or len(content) != end - address or content[:_HEADER] != header(size) or (
                    content[-_FOOTER:] != struct.pack('<I', masked_crc(content[_HEADER:-_FOOTER]))):
                raise InputError('%s is damaged: its checksum is another; fetch the file again' % (
                    self.index.name(address)))
            found.append(content[_HEADER:-_FOOTER])
        return found

    def _file(self, number: int) -> BinaryIO:
        file = self._open.pop(number, None)
        if file is None:
            try:
                file = files.opened(self.index.files[number], buffering=0)
            except ValueError as error:
                raise InputError('%s: %s' % (self.index.files[number], error))
        self._open[number] = file
        while len(self._open) > _OPEN:         # closed when the last thread that reads it lets go of it
            with contextlib.suppress(KeyError):
                self._open.popitem(last=False)
        return file

    def fetch(self, addresses: tf.Tensor) -> tf.Tensor:
        """Split.fetch: the records, strings, at int64 `addresses` of any shape."""
        def read(addresses):
            found = np.empty(addresses.size, object)
            found[:] = self.read(addresses.ravel())
            return found.reshape(addresses.shape)
        contents = tf.py_func(read, [addresses], tf.string)
        contents.set_shape(addresses.shape)
        return contents


def header(size: int) -> bytes:
    """What stands before the bytes of a record of that size."""
    length = struct.pack('<Q', size)
    return length + struct.pack('<I', masked_crc(length))


def record(content: bytes) -> bytes:
    """The bytes of a file that make one record of `content`."""
    return b''.join([header(len(content)), content, struct.pack('<I', masked_crc(content))])


def matching(directory: str, pattern: str) -> List[str]:
    """The files in a directory with names like `pattern`, such as train-*, in order. Raises InputError without one."""
    found = sorted(glob.glob(os.path.join(glob.escape(directory), pattern)))
    if not found:
        raise InputError('--data_path=%s: no file there is called %s' % (directory, pattern))
    return found


def records(names: Sequence[str], cache: str, buffer: int = BUFFER) -> Split:
    """A Split of the records in TFRecord files: x is the content of each, a string; y is of no use.

    The functions of a recipe make tensors of them: load_one(x, y, seed) of one record, by tf.io.parse_single_example,
    or transform(x, y, seed) of a batch, by tf.io.parse_example, which is faster where records are small.
    Each epoch takes the files in an order of its own and shuffles each `buffer` records that follow one another among
    themselves, both as functions of (seed, step): so a run resumes on the same batches without reading those before,
    and each rank reads its own records alone. cache: a directory for an index that cannot be kept beside the files.
    Raises InputError naming a file that is none of TFRecords; a damaged record ends the run with its name.
    """
    found = index(names, cache)
    return Split(found.addresses, found.addresses, ShardReader(found).fetch, order(np.diff(found.rows), buffer))


def order(counts: np.ndarray, buffer: int = BUFFER) -> Order:
    """Split.order of the records in files that have `counts` of them: files shuffled, then each `buffer` records."""
    total, rows = int(counts.sum()), np.append(0, np.cumsum(counts))

    def ordered(positions: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        file_seed, buffer_seed, first_seed = split_seed(seed, 3)
        files_in_order = tf.argsort(random_integers([len(counts)], file_seed))
        ends = tf.cumsum(tf.gather(tf.constant(counts, tf.int64), files_in_order))
        # Blocks of each epoch start elsewhere, so that of one file, too, others come together.
        first = tf.random.stateless_uniform([], first_seed, 0, total, tf.int64)
        position = (permuted_in_blocks(positions, total, buffer, buffer_seed) + first) % total
        turn = tf.reshape(tf.searchsorted(ends, tf.reshape(position, [-1]), 'right', tf.int64), tf.shape(position))
        file = tf.gather(files_in_order, turn)
        before = tf.gather(ends, turn) - tf.gather(tf.constant(counts, tf.int64), file)
        return tf.gather(tf.constant(rows, tf.int64), file) + position - before
    return ordered


def index(names: Sequence[str], cache: str, label: Optional[Label] = None) -> Index:
    """The Index of TFRecord files, as it was kept or made anew, and kept. Raises InputError naming a file at fault."""
    stamps = [_stamp(name) for name in names]
    words = '\n'.join([*(os.path.basename(name) for name in names), label.__name__ if label else ''])
    kept = '.records-%08x.index' % zlib.crc32(os.fsencode(words))
    beside = os.path.join(os.path.dirname(os.path.abspath(names[0])), kept)
    paths = beside, os.path.join(cache, '%08x' % zlib.crc32(os.fsencode(beside)) + kept)
    for path in paths:
        found = _kept(path, stamps, bool(label))
        if found is not None:
            return _index(names, found, bool(label))
    found = _made(names, stamps, label)
    for path in paths:
        try:
            _keep(path, found)
            break
        except OSError:                        # an index that cannot be kept only costs time
            continue
    return _index(names, found, bool(label))


def _stamp(name: str) -> Tuple[int, int]:
    """(size, time of the last change in nanoseconds) of a plain file."""
    try:
        with files.opened(name) as file:
            status = os.fstat(file.fileno())
    except ValueError as error:
        raise InputError('%s: %s' % (name, error))
    return status.st_size, status.st_mtime_ns


def _index(names, numbers, has_labels):
    """The Index in the numbers that a file keeps: _FIXED, sizes, times, counts, addresses, labels."""
    count = len(names)
    sizes, _, counts = numbers[_FIXED:_FIXED + 3 * count].reshape(3, count)
    records = int(counts.sum())
    addresses = numbers[_FIXED + 3 * count:][:records]
    return Index(tuple(names), *(np.append(0, np.cumsum(part)) for part in (sizes, counts)), addresses,
                 numbers[_FIXED + 3 * count + records:] if has_labels else addresses[:0])


def _made(names, stamps, label):
    """The numbers of an Index, read from the files."""
    counts, addresses, labels, start = [], [], [], 0
    told = time.monotonic()
    for number, (name, (size, _)) in enumerate(zip(names, stamps)):
        found = list(_hop(name, size, label))
        counts.append(len(found))
        addresses += [start + position for position, _ in found]
        labels += [value for _, value in found]
        start += size
        if time.monotonic() - told > _TOLD_AFTER:
            told = time.monotonic()
            print(printable('%s: looking for the records of %d files, once: %d are done' % (
                os.path.dirname(name), len(names), number + 1)), file=sys.stderr, flush=True)
    if not addresses:
        raise InputError('%s: %d TFRecord files without a record; fetch them again' % (names[0], len(names)))
    body = np.array([*zip(*stamps), counts], np.int64).ravel()
    body = np.concatenate([body, np.array(addresses, np.int64), np.array(labels if label else [], np.int64)])
    return np.concatenate([[_VERSION, zlib.crc32(body), len(names), bool(label)], body]).astype(np.int64)


def _hop(name: str, size: int, label: Optional[Label]) -> Iterator[Tuple[int, Optional[int]]]:
    """Yields (position, label) of each record in a file. Raises InputError naming it."""
    with files.opened(name, buffering=0) as file:
        number, position, row = file.fileno(), 0, 0
        while position < size:
            head = os.pread(number, _HEADER, position)
            length = int.from_bytes(head[:8], 'little')
            if head != header(length):
                raise InputError('%s: %s' % (name, _fault(number, position, row)))
            if position + _HEADER + length + _FOOTER > size:
                raise InputError('%s: record %d is cut off: the file ends at byte %d of the %d that it needs; fetch it '
                                 'again' % (name, row, size, position + _HEADER + length + _FOOTER))
            value, first = None, position + _HEADER
            if label:
                try:
                    value = label(lambda start, count: os.pread(
                        number, max(min(count, length - start), 0), first + start), length)
                except (ValueError, IndexError) as error:
                    raise InputError('%s: record %d %s' % (name, row, error))
            yield position, value
            position, row = first + length + _FOOTER, row + 1


def _fault(number, position, row):
    """What is wrong with a file in which no record starts at `position`."""
    head = os.pread(number, HEAD, 0)
    if row:
        return 'record %d is damaged: no length stands before it, at byte %d; fetch the file again' % (row, position)
    if head[:1] == b'\x78' and len(head) > 1 and int.from_bytes(head[:2], 'big') % 31 == 0:
        return ('is compressed by zlib: its records cannot be read one by one; write it anew with '
                'TFRecordOptions of compression type NONE')
    return 'is %s' % (what_is(head) or 'no TFRecord file: no record starts at its first byte')


def _kept(path: str, stamps: Sequence[Tuple[int, int]], has_labels: bool) -> Optional[np.ndarray]:
    """The numbers in the file of an index, in memory as they are used; None if they are not of these files, or damaged.
    """
    try:
        with files.opened(path) as file:
            if os.fstat(file.fileno()).st_size < 8 * _FIXED:
                return None
            numbers = np.memmap(file, np.int64, 'r')
    except ValueError:                         # not there, no file, or of a length that is no multiple of 8
        return None
    count = len(stamps)
    if numbers[[0, 2, 3]].tolist() != [_VERSION, count, has_labels] or len(numbers) < _FIXED + 3 * count or (
            numbers[_FIXED:_FIXED + 2 * count].reshape(2, count).T.tolist() != list(map(list, stamps))):
        return None
    records = int(numbers[_FIXED + 2 * count:_FIXED + 3 * count].sum())
    whole = len(numbers) == _FIXED + 3 * count + records * (1 + has_labels)
    return numbers if whole and zlib.crc32(numbers[_FIXED:]) == numbers[1] else None


def _keep(path: str, numbers: np.ndarray) -> None:
    """Writes the file of an index, which appears when it is whole."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=os.path.dirname(path), prefix='.records-')
    try:
        with os.fdopen(handle, 'wb') as file:
            numbers.tofile(file)
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.remove(unfinished)
        raise
