"""Examples as arrays in train.npz and test.npz, as numpy.savez(file, x=..., y=...) writes them.

Several inputs or labels are several arrays, `x_NAME` and `y_NAME`, which become a dict {NAME: array}.
"""
import os
import zipfile
from typing import Sequence

import numpy as np

from core import files
from core.errors import InputError
from core.log import one_line
from data.dataset import DataSet, Split, find


def arrays(path: str, class_names: Sequence[str] = ()) -> DataSet:
    """The DataSet in the directory `path`. Raises InputError naming the file at fault."""
    files = ['train.npz', 'test.npz']
    folder = find(path, 'arrays', files)
    return DataSet(*(_split(os.path.join(folder, file)) for file in files), tuple(class_names))


def _split(path):
    try:
        with files.opened(path) as content:
            found = _unpacked(content)
    except Exception as error:  # damage can end in any exception of zipfile and NumPy
        raise InputError('%s: cannot be read: %s; write it by numpy.savez(file, x=..., y=...)' % (
            path, one_line(str(error)) or type(error).__name__))
    split = Split(*(_part(path, found, name) for name in ('x', 'y')))
    try:
        len(split)
    except ValueError as error:
        raise InputError('%s: %s' % (path, error))
    return split


def _unpacked(content):
    """{name: array} of an .npz file, unless they need more than half of the memory."""
    size = sum(member.file_size for member in zipfile.ZipFile(content).infolist())
    if size > files.half_of_memory():
        raise ValueError('it unpacks to %d bytes, more than half of the memory' % size)
    with np.load(content, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _part(path, found, name):
    """The array `name`, or {NAME: array} of those called name_NAME."""
    if name in found:
        return found[name]
    parts = {key[len(name) + 1:]: found[key] for key in sorted(found) if key.startswith(name + '_')}
    if not parts:
        raise InputError('%s: has no array %s; write it by numpy.savez(file, x=..., y=...)' % (path, name))
    return parts
