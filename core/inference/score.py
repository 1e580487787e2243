"""Metrics of outputs that an inference device computed, from the files that the tool msame writes."""
import contextlib
import glob
import os
from typing import Any, Callable, ContextManager, Dict, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.inference import samples
from core.inference.inputs import shape_of
from core.inference.runner import PB, Runner
from core.inference.samples import PROBABILITIES, Manifest
from core.recipe import Recipe
from core.device import call_of, cpu_session
from core.settings.config import Config
from core.settings.table import Switch
from core.training import evaluation, forms

_ENDINGS = ('_output_0.bin', '_output_0.txt', '_0.bin', '_0.txt')   # of msame, and of ais_bench, which came after it
_NAMED = 5                     # at most so many files at fault are named in a line


class Scorer:
    """The metrics that a recipe's head finds in outputs, batch by batch, in a graph of its own: a context.

    shape: of a batch of outputs; output, output_key: see trained.InferenceGraph; labels: their form; fast: see
    runner.Runner.
    Raises InputError for probabilities that the head does not compute by a softmax.
    """

    def __init__(self, recipe: Recipe, config: Config, shape: Sequence[int], output: str, output_key: str, labels: Any,
                 fast: Callable[[], ContextManager] = contextlib.nullcontext) -> None:
        self._size, head = shape[0], recipe.model.head
        if not head.of_outputs:
            raise InputError('--network=%s: its metrics need the inputs beside the outputs; evaluate has both' %
                             config.network)
        with tf.Graph().as_default(), fast() as configure:
            logits = outputs = tf.placeholder(tf.float32, shape)
            nest = forms.placeholders(forms.named(labels, 'labels', self._size))
            weight = tf.placeholder(tf.float32, [self._size])
            if output == PROBABILITIES:
                if head.predictions.get(PROBABILITIES) is not tf.nn.softmax:
                    raise InputError('--probabilities: this network\'s loss needs its logits; export without it')
                logits = tf.log(tf.maximum(outputs, np.finfo(np.float32).tiny))    # but for a constant
            scores = evaluation.scored(head, {output_key: logits} if output_key else logits, nest, config)
            sums, self._metrics_of = evaluation.summed(scores, weight)
            self._session = cpu_session(configure)
        self._sums_of = call_of(self._session, sums, [outputs, *tf.nest.flatten(nest), weight])
        self._totals = 0.

    def add(self, outputs: np.ndarray, labels: Sequence[np.ndarray]) -> None:
        """Adds a batch of outputs; its first rows count, as many as there are labels."""
        count = len(labels[0])
        filled = [np.concatenate([part, np.repeat(part[-1:], self._size - count, 0)]) for part in labels]
        sums = self._sums_of(outputs, *filled, np.arange(self._size) < count)
        self._totals = self._totals + sums.astype(np.float64)

    def metrics(self, penalty: float) -> Dict[str, float]:
        """The metrics of all that was added; penalty: of the checkpoint, part of the loss."""
        found = self._metrics_of(self._totals)
        return dict(found, loss=found['loss'] + penalty)

    def __enter__(self) -> 'Scorer':
        return self

    def __exit__(self, *_: Any) -> None:
        self._session.close()


def metrics(recipe: Recipe, config: Config, manifest_path: str, outputs: str, dtype: str,
            fast: Callable[[], ContextManager] = contextlib.nullcontext) -> Dict[str, float]:
    """The metrics of evaluation for the outputs in the directory `outputs`, or in the only directory in it.

    NAME_output_0.bin holds numbers of `dtype` (float32 or float16), NAME_output_0.txt numbers as text.
    Raises InputError naming the files that are missing, of the wrong size or not finite.
    """
    manifest, labels = samples.read(manifest_path, recipe.switches)
    folder, faults, size = _folder(outputs, manifest), [], manifest.output_shape[0]
    with Scorer(recipe, config, manifest.output_shape, manifest.output, manifest.output_key,
                forms.read(manifest.labels), fast) as scorer:
        for number, name in enumerate(manifest.names()):
            try:
                batch = _read(_path(folder, name, manifest), manifest.output_shape, dtype)
            except (OSError, ValueError) as error:
                faults.append('%s: %s' % (name, error))
            else:
                scorer.add(batch, [part[number * size:(number + 1) * size] for part in labels])
        if faults:
            raise InputError('--outputs=%s: %d of %d outputs cannot be used: %s%s' % (
                outputs, len(faults), len(manifest.files), '; '.join(faults[:_NAMED]),
                '; ...' * (len(faults) > _NAMED)))
        return scorer.metrics(manifest.penalty)


def run_pb(path: str, manifest_path: str, outputs: str, own: Sequence[Switch] = (),
           fast: Callable[[], ContextManager] = contextlib.nullcontext) -> int:
    """Writes the outputs of a frozen graph for all inputs of the manifest, as msame would; returns their number.

    own: the switches of the manifest's recipe; fast: see runner.Runner.
    Raises InputError when the graph has other inputs or another output than the manifest, and when one of the outputs
    is there.
    """
    manifest, _ = samples.read(manifest_path, own)
    there = [path for path in (os.path.join(outputs, name + _ENDINGS[0]) for name in manifest.names())
             if os.path.lexists(path)]
    if there:
        raise InputError('--outputs: %s is there, and %d more; --run_pb writes such files: name another directory' % (
            there[0], len(there) - 1))
    directory = os.path.dirname(manifest_path)
    with Runner(PB, path, fast=fast) as model:
        size = manifest.output_shape[0]
        found = [[name, one.dtype.name, shape_of(one, size)] for name, one in model.inputs.items()]
        wanted = sorted(manifest.inputs), manifest.output_shape
        if wanted != (found, shape_of(model.output, size)):
            raise InputError('--run_pb=%s: takes %s and gives %s; the manifest has %s and %s' % (
                (path, _words(found), shape_of(model.output, size), _words(wanted[0]), wanted[1])))
        os.makedirs(outputs, exist_ok=True)
        for name, file in zip(manifest.names(), manifest.files):
            answer = model(samples.read_inputs(directory, manifest, file))
            answer.tofile(os.path.join(outputs, name + _ENDINGS[0]))
    return len(manifest.files)


def _words(inputs: List[List[Any]]) -> str:
    return ', '.join('%s %s %s' % tuple(one) for one in inputs)


def _folder(outputs: str, manifest: Manifest) -> str:
    """The directory of the outputs: msame makes one, named by the time, in what it is given."""
    if not os.path.isdir(outputs):
        raise InputError('--outputs=%s: no such directory' % outputs)
    inner = [entry.path for entry in os.scandir(outputs) if os.path.isdir(entry.path)]
    found = [folder for folder in [outputs] + sorted(inner)
             if any(_path(folder, name, manifest) for name in manifest.names())]
    if len(found) > 1:
        raise InputError('--outputs=%s: outputs lie in %s; name one of these directories' % (outputs, ', '.join(found)))
    return found[0] if found else outputs


def _path(folder: str, name: str, manifest: Manifest) -> Optional[str]:
    """The file with the output of the batch `name`; of the only batch also MODEL_output_0, named after the model."""
    paths = [os.path.join(folder, name + ending) for ending in _ENDINGS]
    if len(manifest.files) == 1:
        for ending in _ENDINGS[:2]:
            found = glob.glob(os.path.join(glob.escape(folder), '*' + ending))
            paths += found if len(found) == 1 else []
    return next(filter(os.path.isfile, paths), None)


def _read(path: Optional[str], shape: Sequence[int], dtype: str) -> np.ndarray:
    """The outputs of one batch. Raises ValueError for what is none."""
    if not path:
        raise ValueError('missing')
    words, count = ' x '.join(map(str, shape)), int(np.prod(shape))
    if path.endswith('.txt'):
        rows = np.array(files.text(path).replace(',', ' ').split(), np.float64)
    else:
        content = files.contents(path)
        if len(content) != count * np.dtype(dtype).itemsize:
            raise ValueError('%d bytes, not those of %s %s' % (len(content), words, dtype))
        rows = np.frombuffer(content, dtype)
    if rows.size != count:
        raise ValueError('%d numbers, not %s' % (rows.size, words))
    if not np.isfinite(rows).all():
        raise ValueError('has numbers that are NaN or infinite')
    return rows.reshape(shape)
