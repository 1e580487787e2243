"""CIFAR-10 and CIFAR-100 as their authors ship them: python pickles (docs/vendor-contract.md section 1).

https://www.cs.toronto.edu/~kriz/cifar.html. A batch may have any number of rows.
"""
import os

import numpy as np

from core.errors import InputError
from data import pickles
from data.dataset import DataSet, Split, check_labels, find, folder_of, numbered

NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')   # of CIFAR-10
# (directory, its files: the training batches first)
CIFAR10 = 'cifar-10-batches-py', ['data_batch_%d' % number for number in range(1, 6)] + ['test_batch']
CIFAR100 = 'cifar-100-python', ['train', 'test']
ROW = 3 * 32 * 32  # bytes of an image, channel by channel


def cifar10(path: str) -> DataSet:
    """The DataSet of the ten-class pickles in or under the directory `path`.

    Images are uint8 [count, 32, 32, 3], labels int32. Raises InputError naming the file at fault.
    """
    folder, names = find(path, *CIFAR10), CIFAR10[1]
    *train, test = [_split(os.path.join(folder, name), 'labels', 10) for name in names]
    together = Split(*(np.concatenate(arrays) for arrays in zip(*[(part.x, part.y) for part in train])))
    return DataSet(together, test, NAMES)


def cifar100(path: str) -> DataSet:
    """The DataSet of the hundred fine classes, in the form of cifar10."""
    folder, names = find(path, *CIFAR100), CIFAR100[1]
    train, test = [_split(os.path.join(folder, name), 'fine_labels', 100) for name in names]
    return DataSet(train, test, _fine_names(os.path.join(folder, 'meta')))


def check_cifar10(path: str) -> None:
    """Raises InputError naming the file when one of cifar10() is missing, truncated or something else."""
    _check(path, *CIFAR10)


def check_cifar100(path: str) -> None:
    """The same of cifar100()."""
    _check(path, *CIFAR100)


def _check(path, name, files):
    folder = find(path, name, files)
    for file in files:
        pickles.check(os.path.join(folder, file))


def has_cifar10(path: str) -> bool:
    """Whether files of CIFAR-10 are in or under the directory `path`."""
    return folder_of(path, *CIFAR10) is not None


def has_cifar100(path: str) -> bool:
    """Whether files of CIFAR-100 are in or under the directory `path`."""
    return folder_of(path, *CIFAR100) is not None


def images(path: str) -> np.ndarray:
    """The images of one batch file, uint8 [count, 32, 32, 3]. Raises InputError naming the file."""
    record = pickles.load(path)
    if 'data' not in record:
        raise InputError("%s: has no 'data'" % path)
    return _images(path, record['data'])


def _fine_names(path):
    """The names of the hundred classes as the file `meta` beside the batches has them; numbers without it."""
    names = pickles.load(path).get('fine_label_names', ()) if os.path.isfile(path) else ()
    texts = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
    return texts if len(texts) == 100 else numbered(100)


def _split(path, label_key, classes):
    record = pickles.load(path)
    for key in ('data', label_key):
        if key not in record:
            raise InputError('%s: has no %r' % (path, key))
    images = _images(path, record['data'])
    return Split(images, check_labels(path, record[label_key], len(images), classes))


def _images(path, rows):
    shape = getattr(rows, 'shape', ())
    if len(shape) != 2 or shape[0] == 0 or shape[1] != ROW or rows.dtype != np.uint8:
        raise InputError('%s: its data must be uint8 rows of %d, not %s of shape %s' % (
            path, ROW, getattr(rows, 'dtype', type(rows).__name__), shape))
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
