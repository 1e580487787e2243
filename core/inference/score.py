"""Metrics of outputs that an inference device computed, from the files that the tool msame writes."""
import os
from typing import Dict, Optional

import numpy as np

from core import files
from core.errors import InputError
from core.inference import samples
from core.inference.runner import PB, Runner
from core.inference.samples import Manifest

_ENDINGS = ('_output_0.bin', '_output_0.txt', '_0.bin', '_0.txt')   # of msame, and of ais_bench, which came after it
_NAMED = 5                     # at most so many files at fault are named in a line


def metrics(manifest_path: str, outputs: str, dtype: str) -> Dict[str, float]:
    """'accuracy' and 'loss' of the outputs in the directory `outputs`, or in the only directory in it.

    NAME_output_0.bin holds numbers of `dtype` (float32 or float16), NAME_output_0.txt numbers as text.
    Raises InputError naming the files that are missing, of the wrong size or not finite.
    """
    manifest, labels = samples.read(manifest_path)
    folder = _folder(outputs, manifest)
    batches, faults = [], []
    for name in manifest.names():
        try:
            batches.append(_read(_path(folder, name), manifest, dtype))
        except ValueError as error:
            faults.append('%s: %s' % (name, error))
    if faults:
        raise InputError('--outputs=%s: %d of %d outputs cannot be used: %s%s' % (
            outputs, len(faults), len(manifest.files), '; '.join(faults[:_NAMED]), '; ...' * (len(faults) > _NAMED)))
    rows = np.concatenate(batches)[:manifest.samples]
    return of_outputs(rows, labels, manifest.output, manifest.regularization_loss)


def of_outputs(rows: np.ndarray, labels: np.ndarray, output: str, regularization_loss: float) -> Dict[str, float]:
    """'accuracy' and 'loss' of outputs [samples, classes], which are `output`: samples.LOGITS or PROBABILITIES."""
    correct = rows.argmax(1) == labels
    rows = rows.astype(np.float64)
    if output == samples.LOGITS:
        rows = np.exp(rows - rows.max(1, keepdims=True))
        rows /= rows.sum(1, keepdims=True)
    of_class = rows[np.arange(len(labels)), labels]
    return dict(accuracy=float(np.mean(correct)),
                loss=float(-np.log(np.maximum(of_class, np.finfo(np.float32).tiny)).mean() + regularization_loss))


def run_pb(path: str, manifest_path: str, outputs: str) -> int:
    """Writes the outputs of a frozen graph for all inputs of the manifest, as msame would; returns their number.

    Raises InputError when the graph has another input than the manifest, or another number of classes, and when one of
    the outputs is there.
    """
    manifest, _ = samples.read(manifest_path)
    there = [path for path in (os.path.join(outputs, name + _ENDINGS[0]) for name in manifest.names())
             if os.path.lexists(path)]
    if there:
        raise InputError('--outputs: %s is there, and %d more; --run_pb writes such files: name another directory' % (
            there[0], len(there) - 1))
    directory = os.path.dirname(manifest_path)
    with Runner(PB, path) as model:
        wanted = manifest.input_dtype, manifest.input_shape, list(manifest.output_shape())
        found = model.input.dtype.name, model.input.shape.as_list(), model.output.shape.as_list()
        if wanted != found:
            raise InputError('--run_pb=%s: takes %s %s and gives %s; the manifest has %s %s and %s' % (
                (path,) + found + wanted))
        os.makedirs(outputs, exist_ok=True)
        for name, file in zip(manifest.names(), manifest.files):
            answer = model(samples.read_input(directory, manifest, file))
            answer.tofile(os.path.join(outputs, name + _ENDINGS[0]))
    return len(manifest.files)


def _folder(outputs: str, manifest: Manifest) -> str:
    """Where the outputs are: msame makes a directory, named by the time, in the one it is given."""
    if not os.path.isdir(outputs):
        raise InputError('--outputs=%s: no such directory' % outputs)
    inner = [entry.path for entry in os.scandir(outputs) if entry.is_dir()]
    found = [folder for folder in [outputs] + sorted(inner) if any(_path(folder, name) for name in manifest.names())]
    if len(found) > 1:
        raise InputError('--outputs=%s: outputs lie in %s; name one of these directories' % (outputs, ', '.join(found)))
    return found[0] if found else outputs


def _path(folder: str, name: str) -> Optional[str]:
    """The file with the output of the batch `name`."""
    paths = [os.path.join(folder, name + ending) for ending in _ENDINGS]
    return next(filter(os.path.isfile, paths), None)


def _read(path: Optional[str], manifest: Manifest, dtype: str) -> np.ndarray:
    """The outputs of one batch, [batch, classes]. Raises ValueError for what is none."""
    if not path:
        raise ValueError('missing')
    shape = manifest.output_shape()
    if path.endswith('.txt'):
        rows = np.array(files.text(path).replace(',', ' ').split(), np.float64)
    else:
        content = files.contents(path)
        if len(content) != shape[0] * shape[1] * np.dtype(dtype).itemsize:
            raise ValueError('%d bytes, not those of %d x %d %s' % ((len(content),) + shape + (dtype,)))
        rows = np.frombuffer(content, dtype)
    if rows.size != shape[0] * shape[1]:
        raise ValueError('%d numbers, not %d x %d' % ((rows.size,) + shape))
    if not np.isfinite(rows).all():
        raise ValueError('has numbers that are NaN or infinite')
    return rows.reshape(shape)
