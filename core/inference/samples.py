"""Samples for an inference device: raw inputs in the form that the tool msame reads, and the labels of their outputs.

    DIR/manifest.json     network and its settings, number of samples, inputs, output, labels, class names
    DIR/labels.npy        the labels of the samples; of a nest of them labels_0.npy, labels_1.npy, ...
    DIR/input/000000.bin  a batch as raw bytes in C order, the last one filled up with copies of its last sample;
                          of several inputs each has a directory of its own, DIR/input/NAME/
"""
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files
from core.ascend.diagnostics import npy_files
from core.errors import InputError
from core.settings.table import MOST, SWITCHES, Switch
from core.training import forms

MANIFEST, INPUTS = 'manifest.json', 'input'
_FORMAT = 2
LOGITS, PROBABILITIES, OUTPUT = 'logits', 'probabilities', 'output'
_MOST_LABELS = 32              # tensors of a nest of labels
MEMBERS = (MANIFEST, INPUTS, 'labels.npy') + tuple('labels_%d.npy' % number for number in range(_MOST_LABELS))


class Manifest(NamedTuple):
    """The content of a manifest file."""
    network: str                   # its name
    settings: Dict[str, Any]       # {switch: value} of what its functions read
    samples: int                   # that count; the last batch may have more rows
    inputs: List[List[Any]]        # [name, type, shape of a batch] of each
    output: str                    # PROBABILITIES, or what else the output is called
    output_key: str                # the net's own name of the output; '' for a net that returns one tensor
    output_shape: List[int]        # of a batch
    labels: str                    # their form: forms.text()
    class_names: List[str]
    penalty: float                 # of the checkpoint, part of the loss that evaluation prints
    files: List[str]               # of the batches, relative to the directory of the manifest; * is an input's name

    def names(self) -> List[str]:
        """The names of the batches: an inference tool's outputs are called after them."""
        return [os.path.splitext(os.path.basename(file))[0] for file in self.files]


class SamplesWriter:
    """Writes the first `limit` samples (None: all) of a test set into `directory`, batch by batch."""

    def __init__(self, directory: str, limit: Optional[int]) -> None:
        self._directory, self._limit = directory, limit
        self._labels, self._count, self._files = [], 0, []
        os.makedirs(os.path.join(directory, INPUTS))

    def add(self, batch: Dict[str, np.ndarray], labels: Sequence[np.ndarray]) -> None:
        """Adds a batch {name of the input: array}; its first rows count, as many as there are labels.

        labels: an array for each tensor of the nest of labels.
        """
        count = len(labels[0])
        left = count if self._limit is None else min(self._limit - self._count, count)
        if left <= 0:
            return
        self._files.append('%s/%s%06d.bin' % (INPUTS, '' if len(batch) == 1 else '*/', len(self._files)))
        for name, array in batch.items():
            path = os.path.join(self._directory, self._files[-1].replace('*', name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            array.tofile(path)
        self._labels.append([part[:left] for part in labels])
        self._count += left

    def finish(self, **description: Any) -> Manifest:
        """Writes the labels and the manifest. Raises InputError when fewer samples came than were asked for."""
        if self._limit is not None and self._count < self._limit:
            raise InputError('--samples=%d: the test set has only %d; give that many, or all' % (
                self._limit, self._count))
        parts = [np.concatenate(part) for part in zip(*self._labels)]
        for name, part in zip(_label_files(len(parts)), parts):
            np.save(os.path.join(self._directory, name), part)
        manifest = Manifest(samples=self._count, files=self._files, **description)
        with open(os.path.join(self._directory, MANIFEST), 'w', encoding='utf-8') as file:
            json.dump(dict(manifest._asdict(), format=_FORMAT), file, indent=1, ensure_ascii=False)
        return manifest


def _label_files(count: int) -> List[str]:
    return ['labels.npy'] if count == 1 else ['labels_%d.npy' % number for number in range(count)]


def read(path: str, own: Sequence[Switch] = ()) -> Tuple[Manifest, List[np.ndarray]]:
    """(manifest, an array for each tensor of its labels) of a manifest file; own: the switches of its recipe.

    Raises InputError for what no SamplesWriter has written.
    """
    try:
        content = files.json_object(path)
        written = content.pop('format', None)
        if written not in (1, _FORMAT):
            raise ValueError('its format is not %d' % _FORMAT)
        manifest = Manifest(**(_of_format_1(content) if written == 1 else content))
        _check(manifest, own)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise InputError('--manifest=%s: not what export writes: %s' % (path, error))
    return manifest, _labels(os.path.dirname(path), manifest)


def _labels(directory: str, manifest: Manifest) -> List[np.ndarray]:
    """The labels of the samples. Raises InputError when they have another form, or are no classes."""
    specs, found = tf.nest.flatten(forms.read(manifest.labels)), []
    for spec, name in zip(specs, _label_files(len(specs))):
        path = os.path.join(directory, name)
        try:
            labels = npy_files.read(path)
            if labels.dtype != spec.dtype.as_numpy_dtype or labels.shape != (manifest.samples, *spec.shape.as_list()):
                raise ValueError('%s %s are not the labels of %d samples' % (
                    labels.dtype, list(labels.shape), manifest.samples))
            classes = len(manifest.class_names)
            wrong = np.flatnonzero((labels < 0) | (labels >= classes)) if classes and labels.dtype.kind in 'iu' else ()
            if len(wrong):
                raise ValueError('sample %d has the label %d; there are the classes 0 to %d' % (
                    wrong[0], labels.flat[wrong[0]], classes - 1))
        except ValueError as error:
            raise InputError('%s: not the labels of %s: %s' % (path, MANIFEST, error)) from None
        found.append(labels)
    return found


def _of_format_1(content: Dict[str, Any]) -> Dict[str, Any]:
    """What earlier versions wrote: of classifiers with one input alone."""
    name, shape, dtype = (content.pop('input_' + part) for part in ('name', 'shape', 'dtype'))
    return dict(content, settings={}, inputs=[[name, dtype, shape]], output_key='', labels='"int32"',
                output_shape=[shape[0], len(content['class_names'])], penalty=content.pop('regularization_loss'))


def _check(manifest: Manifest, own: Sequence[Switch]) -> None:
    """Raises ValueError for values that no SamplesWriter writes."""
    for name in ('files', 'inputs', 'output_shape'):
        if not isinstance(getattr(manifest, name), list) or not getattr(manifest, name):
            raise ValueError('%s must be a non-empty list' % name)
    if not isinstance(manifest.class_names, list) or not isinstance(manifest.settings, dict):
        raise ValueError('class_names or settings have another type')
    known = [row.name for row in (*SWITCHES, *own)]
    for name, value in manifest.settings.items():
        if name not in known or not isinstance(value, (str, int, float, list, type(None))):
            raise ValueError('the setting %.40s is none; a recipe of your own has to be named by --network' % name)
    texts = [manifest.network, manifest.output, manifest.output_key, manifest.labels, *manifest.class_names,
             *manifest.files]
    numbers = [manifest.samples, *manifest.output_shape]
    for name, dtype, shape in manifest.inputs:
        texts += [name, dtype]
        numbers += shape
        if np.dtype(dtype).hasobject:
            raise ValueError('the input %s has no numbers' % name)
    if not all(isinstance(text, str) for text in texts) or not all(
            type(number) is int and 0 < number <= MOST for number in numbers):
        raise ValueError('a value has another type, or is no number that counts something')
    if not isinstance(manifest.penalty, (int, float)) or isinstance(manifest.penalty, bool):
        raise ValueError('penalty is not a number')
    if not manifest.samples <= len(manifest.files) * manifest.output_shape[0]:
        raise ValueError('%d samples in %d files' % (manifest.samples, len(manifest.files)))
    forms.read(manifest.labels)


def read_inputs(directory: str, manifest: Manifest, file: str) -> Dict[str, np.ndarray]:
    """{name of an input: a batch of it}. Raises InputError when a file is missing or of another size."""
    found = {}
    for name, dtype, shape in manifest.inputs:
        path = os.path.join(directory, file.replace('*', name))
        try:
            found[name] = np.frombuffer(files.contents(path), dtype).reshape(shape)
        except ValueError as error:
            raise InputError('%s: not a batch of %s %s: %s' % (path, dtype, shape, error))
    return found
