"""Samples for an inference device: raw inputs in the form that the tool msame reads, and what their answers should be.

    DIR/manifest.json     network, number of samples, shape and type of an input, kind of the output, class names
    DIR/labels.npy        int32 [samples]: the class of each sample
    DIR/input/000000.bin  a batch as raw bytes in C order, the last one filled up with copies of its last sample
"""
import json
import os
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from core import files
from core.ascend.diagnostics import npy_files
from core.errors import InputError
from core.settings.table import MOST

MEMBERS = MANIFEST, LABELS, INPUTS = 'manifest.json', 'labels.npy', 'input'
_FORMAT = 1
LOGITS, PROBABILITIES = 'logits', 'probabilities'


class Manifest(NamedTuple):
    """What a manifest file says."""
    network: str
    samples: int                   # that count; the last batch may have more rows
    input_name: str
    input_shape: List[int]         # of a batch
    input_dtype: str               # float32 or uint8
    output: str                    # LOGITS or PROBABILITIES
    class_names: List[str]
    regularization_loss: float     # of the checkpoint, part of the loss that evaluation prints
    files: List[str]               # of the batches, relative to the directory of the manifest

    def names(self) -> List[str]:
        """Those of the batches, without directory and suffix: an inference tool's outputs are called after them."""
        return [os.path.splitext(os.path.basename(file))[0] for file in self.files]

    def output_shape(self) -> Tuple[int, int]:
        """Of one batch."""
        return self.input_shape[0], len(self.class_names)


class Writer:
    """Writes the first `limit` samples (None: all) of a test set into `directory`, batch by batch."""

    def __init__(self, directory: str, limit: Optional[int]) -> None:
        self._directory, self._limit = directory, limit
        self._labels, self._files = [], []
        os.makedirs(os.path.join(directory, INPUTS))

    def add(self, batch: np.ndarray, labels: np.ndarray) -> None:
        """Adds a batch, whose first len(labels) rows count."""
        left = len(labels) if self._limit is None else min(self._limit - len(self._labels), len(labels))
        if left > 0:
            self._files.append('%s/%06d.bin' % (INPUTS, len(self._files)))
            batch.tofile(os.path.join(self._directory, self._files[-1]))
            self._labels.extend(labels[:left])

    def finish(self, **description: Any) -> Manifest:
        """Writes the labels and the manifest. Raises InputError when fewer samples came than were asked for."""
        if self._limit is not None and len(self._labels) < self._limit:
            raise InputError('--samples=%d: the test set has only %d; give that many, or all' % (
                self._limit, len(self._labels)))
        np.save(os.path.join(self._directory, LABELS), np.array(self._labels, np.int32))
        manifest = Manifest(samples=len(self._labels), files=self._files, **description)
        with open(os.path.join(self._directory, MANIFEST), 'w', encoding='utf-8') as file:
            json.dump(dict(manifest._asdict(), format=_FORMAT), file, indent=1, ensure_ascii=False)
        return manifest


def read(path: str) -> Tuple[Manifest, np.ndarray]:
    """(manifest, labels) of a manifest file. Raises InputError for what no Writer has written."""
    try:
        content = files.json_object(path)
        if content.pop('format', None) != _FORMAT:
            raise ValueError('its format is not %d' % _FORMAT)
        manifest = Manifest(**content)
        _check(manifest)
    except (ValueError, TypeError) as error:
        raise InputError('--manifest=%s: not what launchers.export writes: %s' % (path, error))
    return manifest, _labels(os.path.join(os.path.dirname(path), LABELS), manifest)


def _labels(path: str, manifest: Manifest) -> np.ndarray:
    """The classes of the samples. Raises InputError when they are not classes, or not as many as the samples."""
    try:
        labels = npy_files.read(path)
        if labels.shape != (manifest.samples,) or labels.dtype.kind not in 'iu':
            raise ValueError('%s %s are not the labels of %d samples' % (
                labels.dtype, list(labels.shape), manifest.samples))
        classes = len(manifest.class_names)
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if wrong.size:
            raise ValueError('sample %d has the label %d; there are the classes 0 to %d' % (
                wrong[0], labels[wrong[0]], classes - 1))
    except ValueError as error:
        raise InputError('%s: not the labels of %s: %s' % (path, MANIFEST, error)) from None
    return labels


def _check(manifest: Manifest) -> None:
    """Raises ValueError for values that no Writer writes."""
    for name in ('class_names', 'files', 'input_shape'):
        if not isinstance(getattr(manifest, name), list) or not getattr(manifest, name):
            raise ValueError('%s is not a list of some' % name)
    texts = [manifest.network, manifest.input_name, *manifest.class_names, *manifest.files]
    numbers = [manifest.samples, *manifest.input_shape]
    if not all(isinstance(text, str) for text in texts) or not all(
            type(number) is int and 0 < number <= MOST for number in numbers):
        raise ValueError('a value has another type, or is no number that counts something')
    if not isinstance(manifest.regularization_loss, (int, float)) or isinstance(manifest.regularization_loss, bool):
        raise ValueError('regularization_loss is not a number')
    if manifest.input_dtype not in ('float32', 'uint8') or manifest.output not in (LOGITS, PROBABILITIES):
        raise ValueError('input_dtype or output is unknown')
    if not manifest.samples <= len(manifest.files) * manifest.input_shape[0]:
        raise ValueError('%d samples in %d files' % (manifest.samples, len(manifest.files)))


def read_input(directory: str, manifest: Manifest, file: str) -> np.ndarray:
    """A batch. Raises InputError when the file is missing or of another size."""
    path = os.path.join(directory, file)
    try:
        return np.frombuffer(files.contents(path), manifest.input_dtype).reshape(manifest.input_shape)
    except ValueError as error:
        raise InputError('%s: not a batch of %s %s: %s' % (path, manifest.input_dtype, manifest.input_shape, error))
