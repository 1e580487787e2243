"""A validation part that is held out of the training part, apart from the test part: --validation."""
from typing import Any

import numpy as np

from core.errors import InputError
from data.dataset import is_of_files


def held_out(data: Any, part: float, seed: int) -> Any:
    """`data`, a DataSet or a like record, with a `part` of its training samples as its validation part, drawn by `seed`.

    Of classes each gives its part, at least one sample of those that have two. A file that the training part has
    several times is one sample. Raises InputError when nothing is left for one of the parts.
    """
    train = data.train
    first, sample = np.arange(train.size), np.arange(train.size)     # a row of each sample, the sample of each row
    if is_of_files(train):
        _, first, sample = np.unique(train.x, return_index=True, return_inverse=True)
    drawn = _drawn(train.y, first, part, seed)
    if not 0 < len(drawn) < len(first):
        raise InputError('--validation=%g: %d of %d training samples; give a part that leaves some for both' % (
            part, len(drawn), len(first)))
    return data._replace(
        train=train.subset(np.flatnonzero(~np.isin(sample, drawn))),
        validation=train.subset(np.sort(first[drawn])),
        summary='; '.join(filter(None, (data.summary, '%d of the training samples are held out for validation' %
                                        len(drawn)))))


def _drawn(y, first, part, seed):
    """The samples of the validation part, as indices of `first`, the row of each."""
    order = np.random.RandomState(seed).permutation(len(first))
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in 'iu':
        return order[:int(round(part * len(order)))]
    of_class = order[np.argsort(y[first[order]], kind='stable')]
    counts = np.unique(y[first], return_counts=True)[1]
    starts = np.cumsum(counts) - counts
    taken = np.minimum(np.maximum(np.round(part * counts).astype(int), 1), counts - 1)
    return np.concatenate([of_class[start:start + count] for start, count in zip(starts, taken)])
