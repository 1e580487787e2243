"""Gaussian blobs, the data of the SWA system (docs/vendor-contract.md section 1): NumPy only.

Points around a few centres, drawn as scikit-learn's make_blobs does: centres uniform in
[-10, 10], equally many points around each, then shuffled. The vendor tests on the training
points; the test points here are fresh ones around the same centres.
"""
import numpy as np

from data.dataset import DataSet, Split, numbered


def blobs(train: int = 131072, test: int = 16384, centres: int = 3, std: float = 2., seed: int = 2) -> DataSet:
    """A DataSet of 2-D points, float32 [count, 2]. Its labels are the numbers of the centres."""
    random = np.random.RandomState(seed)
    means = random.uniform(-10, 10, [centres, 2])
    splits = [_points(means, count, std, random) for count in (train, test)]
    return DataSet(*splits, numbered(centres))


def _points(means, count, std, random):
    labels = np.sort(np.arange(count) % len(means))
    points = random.normal(means[labels], std)
    order = random.permutation(count)
    return Split(points[order].astype(np.float32), labels[order].astype(np.int32))
