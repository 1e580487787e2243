"""What a loader of this package returns, and the checks that loaders share."""
import os
from typing import Any, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError


class Split(NamedTuple):
    """Samples and their labels, row by row; each an array, or a tuple or dict of arrays (tf.nest) of as many rows."""
    x: Any         # [count, ...]: images, points, the names of files, {'ids': ..., 'mask': ...}
    y: Any         # [count, ...]: of a classifier int32 [count], classes from 0

    @property
    def size(self) -> int:
        """The number of rows. Raises ValueError when the arrays have different numbers of them."""
        counts = {len(array) for array in tf.nest.flatten(tuple(self))}
        if len(counts) != 1:
            raise ValueError('the arrays of a Split have %s rows' % ' and '.join(map(str, sorted(counts))))
        return counts.pop()


class DataSet(NamedTuple):
    """A training part and the part held out for tests."""
    train: Split
    test: Split
    class_names: Tuple[str, ...]

    @property
    def classes(self) -> int:
        """Their number."""
        return len(self.class_names)


def numbered(count: int) -> Tuple[str, ...]:
    """The names of classes that have none."""
    return tuple(map(str, range(count)))


def check_directory(path: str) -> None:
    """Raises InputError when --data_path is no directory."""
    if not os.path.isdir(path):
        raise InputError('--data_path=%s: no such directory' % path)


def folder_of(path: str, name: str, files: Sequence[str]) -> Optional[str]:
    """The directory that holds `files`: `path` itself, or `name` or dataset/`name` under it; None without one.

    The first with any of them counts, so that its caller can name the one that is missing.
    """
    for folder in (path, os.path.join(path, name), os.path.join(path, 'dataset', name)):
        if any(os.path.isfile(os.path.join(folder, file)) for file in files):
            return folder


def find(path: str, name: str, files: Sequence[str]) -> str:
    """folder_of(). Raises InputError without one."""
    folder = folder_of(path, name, files)
    if folder:
        return folder
    check_directory(path)
    raise InputError('--data_path=%s: none of %s is there, nor in %s/ or dataset/%s/ under it' % (
        path, ', '.join(files), name, name))


def check_labels(path: str, values: Any, count: int, classes: int) -> np.ndarray:
    """The labels of `count` samples as int32 [count]; InputError naming the file `path`."""
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in 'iu':
        raise InputError('%s: its labels must be a list of whole numbers' % path)
    if len(labels) != count:
        raise InputError('%s: has %d labels for %d images' % (path, len(labels), count))
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError('%s: label %d is out of range 0 to %d' % (path, wrong[0], classes - 1))
    return labels.astype(np.int32)


def labelled_subset(split: Split, classes: int, labels: int, seed: int) -> Split:
    """`labels` samples of `split`, drawn by `seed`, as many of each class; all of them if asked.

    Raises InputError naming --labels when the classes cannot share them evenly.
    """
    if labels == len(split.y):
        return split
    if labels < classes or labels % classes:
        raise InputError('--labels=%d: must be a multiple of the %d classes' % (labels, classes))
    order = np.random.RandomState(seed).permutation(len(split.y))
    of_class = [order[split.y[order] == label][:labels // classes] for label in range(classes)]
    fewest = min(map(len, of_class))
    if fewest < labels // classes:
        raise InputError('--labels=%d: too many, a class has only %d of the %d images; use at most %d' % (
            labels, fewest, len(split.y), fewest * classes))
    chosen = np.concatenate(of_class)
    return Split(split.x[chosen], split.y[chosen])
