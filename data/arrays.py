"""Examples as arrays in train.npz and test.npz, as numpy.savez(file, x=..., y=...) writes them.

Several inputs or labels are several arrays, `x_NAME` and `y_NAME`, which become a dict {NAME: array}.
"""
import os
import zipfile
from typing import Sequence

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.log import one_line
from data.dataset import DataSet, Split, find


def arrays(path: str, class_names: Sequence[str] = (), classes: int = 0) -> DataSet:
    """The DataSet in the directory `path`.

    classes: how many values y has, the whole numbers from 0; 0: as many as class_names, or any numbers without these.
    Raises InputError naming the file at fault.
    """
    files = ['train.npz', 'test.npz']
    folder = find(path, 'arrays', files)
    return DataSet(*(_split(os.path.join(folder, file), classes or len(class_names)) for file in files),
                   tuple(class_names))


def _split(path, classes):
    try:
        with files.opened(path) as content:
            found = _unpacked(content)
    except Exception as error:  # damage can end in any exception of zipfile and NumPy
        raise InputError('%s: cannot be read: %s; write it by numpy.savez(file, x=..., y=...)' % (
            path, one_line(str(error)) or type(error).__name__))
    split = Split(*(_part(path, found, name) for name in ('x', 'y')))
    try:
        if not all(array.ndim for array in tf.nest.flatten((split.x, split.y))) or not split.size:
            raise ValueError('has no rows')
        for array in tf.nest.flatten((split.x, split.y)):
            tf.as_dtype(array.dtype)
    except ValueError as error:
        raise InputError('%s: %s' % (path, error))
    except TypeError:                  # of as_dtype()
        raise InputError('%s: has an array of %s, a type that TensorFlow lacks' % (path, array.dtype))
    if classes:
        _check_labels(path, split.y, classes)
    return split


def _check_labels(path, y, classes):
    for labels in tf.nest.flatten(y):
        if labels.dtype.kind not in 'iu':
            raise InputError('%s: y is %s; labels must be whole numbers' % (path, labels.dtype))
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError('%s: y has the label %d; %d classes have the labels 0 to %d' % (
                path, labels.min() if labels.min() < 0 else labels.max(), classes, classes - 1))


def _unpacked(content):
    """{name: array} of an .npz file, unless they need more than half of the memory."""
    size = sum(member.file_size for member in zipfile.ZipFile(content).infolist())
    if size > files.half_of_memory():
        raise ValueError('it unpacks to %d bytes, more than half of the memory' % size)
    with np.load(content, allow_pickle=False) as arrays:
        members = {name: arrays[name] for name in arrays.files}
    return {name: array for name, array in members.items() if isinstance(array, np.ndarray)}   # others are bytes


def _part(path, found, name):
    """The array `name`, or {NAME: array} of those called name_NAME."""
    if name in found:
        return found[name]
    parts = {key[len(name) + 1:]: found[key] for key in sorted(found) if key.startswith(name + '_')}
    if not parts:
        raise InputError('%s: has no array %s; write it by numpy.savez(file, x=..., y=...)' % (path, name))
    return parts
