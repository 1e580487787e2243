"""Global contrast normalization and ZCA whitening as in SESEMI (arXiv 1906.10343), in NumPy.

Contrast: an image minus its mean, divided by its Euclidean norm, times 55. ZCA: x -> (x - m) W,
where m and C are the mean and covariance of the normalised training images and
W = (C + 0.1 I) ** -1/2. The vendor's code decomposes in single precision and anew in every run.
"""
import contextlib
import hashlib
import os
from typing import NamedTuple

import numpy as np

from core import files

SCALE, IDENTITY = 55, 0.1
FLAT = 1e-10                   # norm of an image below which it has one colour only
BLOCK = 2000  # images worked on at a time: the float64 copies stay small


class Whitening(NamedTuple):
    """The linear map x -> (x - mean) @ matrix of flattened images."""
    mean: np.ndarray    # float32 [features]
    matrix: np.ndarray  # float32 [features, features]


def normalize_contrast(images: np.ndarray) -> np.ndarray:
    """Images [count, ...] of any type as float32, each of mean 0 and norm 55 (0 if it is flat)."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    norm[norm < FLAT] = 1
    return (SCALE * flat / norm).reshape(images.shape)


def fit_whitening(images: np.ndarray) -> Whitening:
    """The Whitening of uint8 training images [count, ...], after normalize_contrast."""
    features = images[0].size
    total, products = np.zeros(features), np.zeros([features, features])
    for block in _blocks(images):
        flat = block.astype(np.float64)
        total += flat.sum(axis=0)
        products += flat.T @ flat
    mean = total / len(images)
    covariance = (products - len(images) * np.outer(mean, mean)) / (len(images) - 1)
    values, vectors = np.linalg.eigh(covariance)
    matrix = vectors / np.sqrt(values + IDENTITY) @ vectors.T
    return Whitening(mean.astype(np.float32), matrix.astype(np.float32))


def whiten(images: np.ndarray, whitening: Whitening) -> np.ndarray:
    """uint8 images [count, ...], contrast-normalised and whitened, as float32."""
    whitened = [(block - whitening.mean) @ whitening.matrix for block in _blocks(images)]
    return np.concatenate(whitened).reshape(images.shape)


def cached_whitening(images: np.ndarray, folder: str) -> Whitening:
    """fit_whitening(images), read from a file in `folder` where an earlier run has stored it for these very images.

    A damaged file is computed again. The file appears only when it is whole, because other runs may read it meanwhile.
    """
    digest = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()[:16]
    path = os.path.join(folder, 'zca-%g-%g-%s.npz' % (SCALE, IDENTITY, digest))
    whitening = _load(path, images[0].size)
    if whitening:
        return whitening
    whitening = fit_whitening(images)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        _store(whitening, path)
    return whitening


def _load(path, features):
    """The Whitening in a file; None if it is not there or damaged."""
    try:
        with files.opened(path) as file, np.load(file, allow_pickle=False) as arrays:
            whitening = Whitening(arrays['mean'], arrays['matrix'])
    except Exception:  # damage can end in any exception of zipfile and NumPy
        return None
    sound = [array.shape for array in whitening] == [(features,), (features, features)] and all(
        array.dtype == np.float32 and np.isfinite(array).all() for array in whitening)
    return whitening if sound else None


def _store(whitening, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    unfinished = '%s.%d' % (path, os.getpid())
    with open(unfinished, 'wb') as file:
        np.savez(file, **whitening._asdict())
    os.replace(unfinished, path)


def _blocks(images):
    for start in range(0, len(images), BLOCK):
        block = normalize_contrast(images[start:start + BLOCK])
        yield block.reshape(len(block), -1)
