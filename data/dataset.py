"""What a loader of this package returns, and the checks that loaders share."""
import os
from typing import NamedTuple

import numpy as np

from core.errors import InputError


class Split(NamedTuple):
    """Samples and their labels, row by row."""
    x: np.ndarray  # [count, ...]: images, points or the names of files
    y: np.ndarray  # [count] int32: classes, from 0


class DataSet(NamedTuple):
    """A training part and the part held out for tests."""
    train: Split
    test: Split
    classes: int


def find(path, name, files):
    """The directory that holds `files`: `path` itself, or `name` or dataset/`name` under it.

    The first with any of them counts, so that its caller can name the one that is missing.
    """
    for folder in (path, os.path.join(path, name), os.path.join(path, 'dataset', name)):
        if any(os.path.isfile(os.path.join(folder, file)) for file in files):
            return folder
    if not os.path.isdir(path):
        raise InputError(f'--data_path={path}: no such directory')
    raise InputError(f'--data_path={path}: none of {", ".join(files)} is there, nor in {name}/ '
                     f'or dataset/{name}/ under it')


def check_labels(path, values, count, classes):
    """The labels of `count` samples as int32 [count]; InputError naming the file `path`."""
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in 'iu':
        raise InputError(f'{path}: its labels must be a list of whole numbers')
    if len(labels) != count:
        raise InputError(f'{path}: has {len(labels)} labels for {count} images')
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(f'{path}: label {wrong[0]} is out of range 0 to {classes - 1}')
    return labels.astype(np.int32)


def labelled_subset(split, classes, labels, seed):
    """`labels` samples of `split`, drawn by `seed`, as many of each class; all of them if asked.

    Raises InputError naming --labels when the classes cannot share them evenly.
    """
    if labels == len(split.y):
        return split
    if labels < classes or labels % classes:
        raise InputError(f'--labels={labels}: must be a multiple of the {classes} classes')
    order = np.random.RandomState(seed).permutation(len(split.y))
    of_class = [order[split.y[order] == label][:labels // classes] for label in range(classes)]
    fewest = min(map(len, of_class))
    if fewest < labels // classes:
        raise InputError(f'--labels={labels}: too many, a class has only {fewest} of the '
                         f'{len(split.y)} images; use at most {fewest * classes}')
    chosen = np.concatenate(of_class)
    return Split(split.x[chosen], split.y[chosen])
