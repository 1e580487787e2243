"""Samples that are in two parts of a data set, which a test, or a validation, then does not judge fairly.

Compared are the bytes of image files, and of arrays in memory the values of each row, such as the pixels of CIFAR. A
file is opened only where one of its size is in the other part. Records of shards are not compared, nor the pixels of
files whose bytes differ.
"""
import hashlib
import os
import zlib
from typing import Callable, Hashable, List, Optional, Sequence, Tuple

import numpy as np

from core import files
from data.dataset import DataSet, Split, is_of_files, sample_name
from data.listing import counted

MOST_FILES = 50000             # of a data set: to look at more would delay its training too long
_HEAD = 4096                   # bytes of a file that are looked at first
_NAMED = 3

Key = Callable[[Split, int], Optional[Hashable]]       # of a row; None where it cannot be read


def told(data: DataSet) -> str:
    """'2 test images are in the training part, too: a.jpg = b.jpg, ...'; '' where there are none."""
    parts = [(name, split, _rows(split)) for name, split in (
        ('training', data.train), ('validation', data.validation), ('test', data.test)) if split is not None]
    if all(is_of_files(split) for _, split, _ in parts):
        keys = [_size, lambda split, row: _digest(split, row, _HEAD), _digest]
        if sum(len(rows) for *_, rows in parts) > MOST_FILES:
            return ''
    elif all(isinstance(split.x, np.ndarray) and split.x.ndim > 1 for _, split, _ in parts):
        sums = {id(split.x): _sums(split.x) for _, split, _ in parts}
        keys = [lambda split, row: sums[id(split.x)][row], lambda split, row: split.x[row].tobytes()]
    else:
        return ''
    lines = [_line(parts[later], parts[earlier], keys) for later in range(len(parts)) for earlier in range(later)]
    return '; '.join(filter(None, lines))


def _rows(split: Split) -> Sequence[int]:
    """The rows of a part, a file that is in several of them once."""
    return np.unique(split.x, return_index=True)[1] if is_of_files(split) else range(split.size)


def _line(later, earlier, keys):
    (name, split, _), (other_name, other, _) = later, earlier
    pairs = _pairs(split, later[2], other, earlier[2], keys)
    if not pairs:
        return ''
    named = [' = '.join(os.path.join(*sample_name(part, row).split(os.sep)[-2:]) for part, row in (
        (split, row), (other, match))) for row, match in pairs[:_NAMED]]
    return '%s in the %s part, too: %s%s' % (
        counted(len(pairs), name + ' sample') + (' is' if len(pairs) == 1 else ' are'), other_name, ', '.join(named),
        ', ...' * (len(pairs) > _NAMED))


def _pairs(split: Split, rows: Sequence[int], other: Split, others: Sequence[int],
           keys: Sequence[Key]) -> List[Tuple[int, int]]:
    """(row, the row of `other` that is the same by all `keys`), of which each looks at what those before it left."""
    for key in keys:
        of_rows, of_others = ([(key(part, row), row) for row in some]
                              for part, some in ((split, rows), (other, others)))
        known = dict(reversed(of_others))
        common = {one for one, _ in of_rows} & set(known) - {None}
        rows, others = ([row for one, row in pairs if one in common] for pairs in (of_rows, of_others))
    return sorted((row, known[one]) for one, row in of_rows if one in common)


def _size(split: Split, row: int) -> Optional[int]:
    try:
        return os.stat(split.x[row]).st_size
    except OSError:
        return None


def _digest(split: Split, row: int, most: int = -1) -> Optional[bytes]:
    """Of the first bytes of a file, or of all."""
    try:
        with files.opened(split.x[row]) as file:
            return hashlib.md5(file.read(most)).digest()
    except (OSError, ValueError):
        return None


def _sums(x: np.ndarray) -> List[int]:
    """The checksum of each row."""
    return [zlib.crc32(row) for row in np.ascontiguousarray(x).reshape(len(x), -1)]
