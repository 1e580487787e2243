"""What a loader of this package returns, and the checks that loaders share."""
import os
import re
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.settings import paths
from data.listing import counted, shown, what_is_at
from data.loading import LoadOne, Skipped

_ARCHIVE = re.compile(rb'\.(tar|tgz|tbz2?|txz|gz|bz2|xz|zip|7z|rar|zst)(\.[0-9]+|\.part)?$', re.I)
KEPT_BYTES = 256 * 2 ** 20     # decoded images of a whole data set that one rank keeps in memory at most

Order = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]    # order(positions int64 in an epoch, its seed) -> rows


class Split(NamedTuple):
    """Samples and their labels, row by row; each an array, or a tuple or dict of arrays (tf.nest) of as many rows."""
    x: Any         # [count, ...]: images, points, the names of files, {'ids': ..., 'mask': ...}
    y: Any         # [count, ...]: of a classifier int32 [count], classes from 0
    # fetch(rows of the array x, of any shape) -> x of the samples: the bytes of files of those names; None: the same
    fetch: Optional[Callable[[tf.Tensor], tf.Tensor]] = None
    order: Optional[Order] = None  # of an epoch; None: any permutation

    @property
    def size(self) -> int:
        """The number of rows. Raises ValueError when the arrays have different numbers of them."""
        counts = {len(array) for array in tf.nest.flatten((self.x, self.y))}
        if len(counts) != 1:
            raise ValueError('the arrays of a Split have %s rows' % ' and '.join(map(str, sorted(counts))))
        return counts.pop()

    def subset(self, rows: Sequence[int]) -> 'Split':
        """The Split of these rows."""
        return Split(*tf.nest.map_structure(lambda array: array[rows], (self.x, self.y)), self.fetch)


class DataSet(NamedTuple):
    """A training part, the part held out for tests, and perhaps a third that chooses the best of a training."""
    train: Split
    test: Split
    class_names: Tuple[str, ...]
    summary: str = ''                    # what was read, and what was left out and why, in one line
    load_one: Optional[LoadOne] = None   # makes a sample of a row; None: the rows are the samples
    skipped: Optional[Skipped] = None    # counts the rows that cannot be loaded
    shape: Tuple[int, ...] = ()          # of what load_one makes of x whatever its seed, uint8; (): nothing fixed
    validation: Optional[Split] = None   # None: there is none

    @property
    def classes(self) -> int:
        """Their number."""
        return len(self.class_names)

    @property
    def loading(self) -> Dict[str, Any]:
        """The options of data.pipeline's streams that say how a row becomes a sample."""
        size = int(np.prod(self.shape)) * sum(part.size for part in (self.train, self.test, self.validation) if part)
        return dict(load_one=self.load_one, skipped=self.skipped, kept=self.shape if size <= KEPT_BYTES else ())


def is_of_files(split: Split) -> bool:
    """Whether x has the names of files."""
    return isinstance(split.x, np.ndarray) and split.x.dtype == object and split.fetch is tf.read_file


def sample_name(split: Split, row: int) -> str:
    """The file of a row, or 'row N' of a part whose samples are no files of their own."""
    return shown(split.x[row]) if is_of_files(split) else 'row %d' % row


def whole(data: DataSet) -> DataSet:
    """`data` with all its rows in the test part: a file that the training part has several times is there once."""
    parts = [part for part in (data.train, data.test, data.validation) if part]
    x, y = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *((part.x, part.y) for part in parts))
    test = data.test._replace(x=x, y=y)
    if is_of_files(test):
        test = test.subset(np.unique(x, return_index=True)[1])
    return data._replace(test=test)


def numbered(count: int) -> Tuple[str, ...]:
    """The names of classes that have none."""
    return tuple(map(str, range(count)))


def summary(train: int, test: int, classes: int, notes: Sequence[str] = (), noun: str = 'image') -> str:
    """DataSet.summary: 'read 480 training and 120 test images of 8 classes; left out 60 files: .webp'."""
    return '; '.join(['read %d training and %s of %s' % (
        train, counted(test, 'test ' + noun), counted(classes, 'class')), *filter(None, notes)])


def check_directory(path: str) -> None:
    """Raises InputError when --data_path is no directory."""
    paths.check_readable('--data_path', path)


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
    raise InputError('--data_path=%s: none of %s is there, nor in %s/ or dataset/%s/ under it%s' % (
        path, ', '.join(files), name, name, packed(path)))


def packed(path: str) -> str:
    """The end of a message: an archive, or another version of a data set, that lies in the directory `path`; or ''."""
    for name in sorted(os.listdir(os.fsencode(path))):
        if _ARCHIVE.search(name):
            kind = what_is_at(os.path.join(os.fsencode(path), name))
            return '; %s there is %s' % (shown(name), kind or 'an archive: unpack it')
        if re.fullmatch(rb'(data_batch_1|train)\.(bin|mat)', name):
            return '; %s there is of another version of CIFAR: get the python version, a .tar.gz, and unpack it' % (
                shown(name))
    return ''


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
    return split.subset(chosen)
