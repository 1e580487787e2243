"""Scores of a model in a graph, and their sums over batches: for training, tests and an inference device's outputs."""
import contextlib
import os
import traceback
from typing import Any, Callable, Dict, Iterator, Tuple

import numpy as np
import tensorflow as tf

from core.device import Dropout, keep_dtype
from core.errors import InputError
from core.recipe import Head, Model, Scores, Total
from core.settings.config import Config

_LONGEST = 160                 # characters of another library's message
# Where no line of a user's code is: this room, and TensorFlow's packages, of which the names start alike.
_FOREIGN = os.path.dirname(os.path.abspath(__file__)), os.path.dirname(tf.__file__)


def computed(model: Model, inputs: Any, labels: Any, is_training: bool, config: Config,
             dropout: Dropout) -> Tuple[Any, Scores]:
    """(outputs, Scores) of a batch. Raises InputError, in words, for what a net or a head must not return."""
    with _in_words(config, lambda: 'its net cannot take inputs %s' % form(inputs)):
        outputs = model.net(inputs, is_training, config, dropout)
    for output in outputs.values() if isinstance(outputs, dict) else [outputs]:
        if not isinstance(output, tf.Tensor):
            raise InputError('--network=%s: a net must return a tensor or {name: tensor}, not %s' % (
                config.network, type(output).__name__))
    return outputs, scored(model.head, outputs, labels, config)


def scored(head: Head, outputs: Any, labels: Any, config: Config) -> Scores:
    """The Scores of outputs and labels, whose forms are checked. Raises InputError."""
    with _in_words(config, lambda: 'its head cannot score outputs %s with labels %s' % (form(outputs), form(labels))):
        scores = head.score(outputs, labels, config)
    _check(scores, head, config.network)
    return scores


@contextlib.contextmanager
def _in_words(config: Config, what: Callable[[], str]) -> Iterator[None]:
    """A context in which TensorFlow's exceptions for shapes and types are an InputError of one line: what() fails."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        line = [frame for frame in traceback.extract_tb(error.__traceback__)
                if not frame.filename.startswith(_FOREIGN)][-1]
        raise InputError('--network=%s: %s: %s (%s:%d)' % (
            config.network, what(), (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST], line.filename,
            line.lineno)) from error


def form(nest: Any) -> str:
    """The types and shapes of tensors, in words: float32 [8, 10]."""
    if isinstance(nest, dict):
        return '{%s}' % ', '.join('%s: %s' % (name, form(part)) for name, part in nest.items())
    if isinstance(nest, tuple):
        return '(%s)' % ', '.join(map(form, nest))
    return '%s %s' % (nest.dtype.base_dtype.name, nest.shape.as_list() if nest.shape.ndims is not None else '?')


def _check(scores, head, network):
    wrong = None
    if scores.losses.shape.ndims != 1 or not scores.losses.dtype.is_floating:
        raise InputError('--network=%s: losses must be [batch], floating-point; this head returns %s' % (
            network, form(scores.losses)))
    count = scores.losses.shape
    for name, metric in scores.metrics.items():
        if isinstance(metric, Total):
            if not metric.parts.shape.ndims or not metric.parts.shape[:1].is_compatible_with(count):
                wrong = 'the parts of the Total %s must be [batch, ...]' % name, metric.parts
        elif not metric.shape.is_compatible_with(count) or not metric.dtype.is_floating:
            wrong = 'the metric %s must be [batch], floating-point, or a Total' % name, metric
    if wrong:
        raise InputError('--network=%s: %s, with batch %s; this head returns %s' % (
            network, wrong[0], count[0], form(wrong[1])))
    if head.headline not in scores.metrics and head.headline != 'loss':
        raise InputError('--network=%s: the headline %s is none of the metrics of its head: %s' % (
            network, head.headline, ', '.join(sorted(scores.metrics)) or 'there are none'))


def means(scores: Scores) -> Dict[str, tf.Tensor]:
    """{name: scalar}: the means over the batch of the losses and of all metrics but the Totals."""
    found = {name: tf.reduce_mean(metric) for name, metric in scores.metrics.items() if not isinstance(metric, Total)}
    return dict(found, loss=tf.reduce_mean(scores.losses))


def summed(scores: Scores, weight: tf.Tensor) -> Tuple[tf.Tensor, Callable[[np.ndarray], Dict[str, float]]]:
    """(sums, metrics_of): all that a batch adds, as one vector, and what makes the metrics of such sums.

    weight: float32 [batch]; rows of weight 0 are no examples. metrics_of({float64 sums over batches}) -> {name: value},
    'loss' without the penalty among them.
    """
    values = dict(scores.metrics, loss=scores.losses)
    names = sorted(values)
    with keep_dtype():             # float16 counts to 2048 only
        parts = [tf.reduce_sum(_weighted(values[name], weight), 0) for name in names] + [tf.reduce_sum(weight)]
        sums = tf.concat([tf.reshape(part, [-1]) for part in parts], 0)
    shapes = [part.shape.as_list() for part in parts]

    def metrics_of(totals):
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        *found, rows = (part.reshape(shape) for part, shape in zip(np.split(totals, cuts), shapes))
        return {name: float(values[name].value(total)) if isinstance(values[name], Total) else float(total / rows)
                for name, total in zip(names, found)}
    return sums, metrics_of


def _weighted(metric, weight):
    parts = tf.cast(metric.parts if isinstance(metric, Total) else metric, tf.float32)
    return parts * tf.reshape(weight, [-1] + [1] * (parts.shape.ndims - 1))
