"""Evaluation: the scores of a model in a graph, their sums over batches, and the metrics over the whole test set.

Before it, batch-norm statistics are computed anew, as means over batches at the weights of the moment: PreciseBN of Wu
and Johnson 2021 (Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3).
"""
import contextlib
import os
import traceback
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import tensorflow as tf

from core.device import Dropout, keep_dtype
from core.errors import InputError
from core.progress import BETWEEN, EVALUATION, progress
from core.recipe import BATCH_STATISTICS, Head, Model, Recipe, Scores, Total, first_output
from core.run import Communicator, Input, Predictions, Run
from core.settings.config import Config

_LONGEST = 160                 # characters of another library's message
# Where no line of a user's code is: this room, and TensorFlow's packages, of which the names start alike.
_FOREIGN = os.path.dirname(os.path.abspath(__file__)), os.path.dirname(tf.__file__)
BATCHES = 50                   # before an evaluation


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
    """The Scores of outputs and labels, with their forms checked. Raises InputError."""
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


class Evaluation(NamedTuple):
    """The tensors of the test graph. Called with a session it returns the metrics over the whole test set."""
    test_input: Input              # of (inputs, labels, weight)
    sums: tf.Tensor                # what a batch of all ranks adds to the metrics, as one vector
    metrics_of: Callable[[np.ndarray], Dict[str, float]]   # of the sums over all batches
    penalty: tf.Tensor             # scalar
    communicator: Communicator
    rows: Dict[str, tf.Tensor]     # of a classifier's batch: labels, classes, probabilities, weight; {}: not looked at
    classes: int                   # their number; 0 without rows
    exchange: Tuple[tf.Tensor, ...]   # (a placeholder for what a rank has found, the sum over the ranks); (): one rank
    newest: List[Predictions]      # of the newest call; empty before, and without rows

    def __call__(self, session: tf.Session) -> Dict[str, float]:
        """{'loss': ..., metric: ..., ...}; 'loss' has the penalty in it, as in training.

        Raises InputError when too many files of the test set cannot be decoded.
        """
        progress.now(EVALUATION)
        self.test_input.initialize(session)
        # Always the same fetches, because others would be another graph to compile.
        fetches = dict(sums=self.sums, penalty=self.penalty, rows=self.rows)
        totals, right, wrong = 0., np.zeros(self.classes, int), []
        for number in range(self.test_input.batches):
            progress.now(EVALUATION)
            batch = session.run(fetches)
            totals = totals + batch['sums'].astype(np.float64)
            if self.rows:
                wrong.append(self._mistakes(number, right, **batch['rows']))
        progress.now(BETWEEN)
        if self.test_input.skipped:
            self.test_input.skipped.check()
        metrics = self.metrics_of(totals)
        metrics['loss'] += float(batch['penalty'])
        if self.rows:
            self.newest[:] = [self._of_all_ranks(session, right, *map(np.concatenate, zip(*wrong)))]
        return metrics

    def _mistakes(self, number, right, labels, classes, probabilities, weight):
        """(rows, labels, classes, probabilities) of the mistakes in a batch; the others are counted in `right`.

        Rows of weight 0 are no examples.
        """
        first = (number * self.communicator.ranks + self.communicator.rank) * len(labels)
        is_right = labels == classes
        right += np.bincount(labels[is_right & (weight > 0)], minlength=self.classes)
        wrong = np.flatnonzero(~is_right & (weight > 0))
        return first + wrong, labels[wrong], classes[wrong], probabilities[wrong]

    def _of_all_ranks(self, session, right, rows, *columns):
        """The Predictions. Ranks exchange a table of the test set, in which the mistakes have a label from 1 on."""
        if self.exchange:
            own, everywhere = self.exchange
            table = np.zeros([3, self.test_input.size])
            table[:, rows] = columns
            table[0, rows] += 1
            found = session.run(everywhere, {own: np.append(right, table)})
            right, table = found[:self.classes].astype(int), found[self.classes:].reshape(table.shape)
            rows = np.flatnonzero(table[0])
            columns = table[0, rows].astype(int) - 1, table[1, rows].astype(int), table[2, rows]
        return Predictions(right, rows, *columns)


def build(recipe: Recipe, config: Config, test_input: Input, communicator: Communicator,
          finds_mistakes: bool = True) -> Evaluation:
    """Builds the Evaluation of `recipe` on `test_input`; it shares the variables of a training graph, if there is one.

    Each rank evaluates the batches of its own test_input, which are as many on every rank. finds_mistakes: whether a
    classifier's Predictions are wanted beside the metrics. Raises InputError for a model that returns something else
    than it must.
    """
    inputs, labels, weight = test_input.batch
    config = config._replace(label_smoothing=0.)   # which is for training alone
    outputs, scores = computed(recipe.model, inputs, labels, False, config, no_dropout)
    penalty = recipe.model.penalty(config)
    sums, metrics_of = summed(scores, weight)
    sums, = communicator.sum([sums])
    rows, classes = _rows(recipe.model.head, outputs, labels, weight) if finds_mistakes else ({}, 0)
    exchange = ()
    if rows and communicator.ranks > 1:
        own = tf.placeholder(tf.float32, [classes + 3 * test_input.size])
        exchange = own, *communicator.sum([own])
    return Evaluation(test_input, sums, metrics_of, penalty, communicator, rows, classes, exchange, [])


def _rows(head, outputs, labels, weight):
    """(rows, classes) of an Evaluation; ({}, 0) of a head that does not choose one of several classes."""
    probabilities, logits = head.predictions.get('probabilities'), first_output(outputs)
    is_of_classes = isinstance(labels, tf.Tensor) and labels.dtype.is_integer and labels.shape.ndims == 1
    if probabilities is not tf.nn.softmax or logits.shape.ndims != 2 or not is_of_classes:
        return {}, 0
    found = probabilities(tf.cast(logits, tf.float32))
    return dict(labels=labels, classes=tf.argmax(found, 1, output_type=tf.int32), weight=weight,
                probabilities=tf.reduce_max(found, 1)), found.shape[-1].value


def no_dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """The dropout of a test graph: none."""
    del rate
    return x


class Renewal:
    """Called with a session after a step, it replaces batch-norm statistics by their means over the newest batches.

    Moving averages lag behind weights that move fast: over a tenth of the run while their momentum warms up (nets/
    layers.py), and a deep network multiplies the error of each layer. Without this, an evaluation measures the lag of
    the averages, not the weights. The batches are the last BATCHES ones, in the order of training, so that the stream
    is where it was afterwards and a resumed run computes the same. The graph is not finished yet.
    """

    def __init__(self, run: Run):
        self._clock, self._input = run.clock, run.train_input
        self._batch = tf.placeholder(tf.float32, [])
        self._statistics, self._see_batch = cumulative_averages(self._batch, run.communicator)

    @property
    def is_needed(self) -> bool:
        """Whether the network has batch-norm statistics."""
        return bool(self._statistics)

    def __call__(self, session: tf.Session) -> None:
        count = min(BATCHES, self._clock.step)
        self.over(session, self._clock.step - count, count)

    def over(self, session: tf.Session, first: int, count: int) -> None:
        """Makes the statistics their means over `count` batches of the training stream from batch `first` on."""
        if self.is_needed:
            self._input.initialize(session, first)
            for batch in range(count):
                session.run(self._see_batch, {self._batch: batch})


def cumulative_averages(batch: tf.Tensor, communicator: Communicator) -> Tuple[List[tf.Variable], tf.Operation]:
    """(batch-norm statistics, op): each run of the op makes them their means over all ranks' batches 0 to `batch`.

    batch: scalar float32, the index of the batch that the run sees; statistics are vectors. Where a layer is called
    several times in a batch, the mean over its calls counts.
    """
    values = {}
    for variable, value in tf.get_collection(BATCH_STATISTICS):
        values.setdefault(variable, []).append(value)
    if not values:
        return [], tf.no_op()
    means = communicator.mean([tf.add_n(calls) / len(calls) if len(calls) > 1 else calls[0]
                               for calls in values.values()])
    # As one vector, because four operators for each statistic would be a tenth of a deep network's graph.
    averages = (tf.concat(list(values), 0) * batch + tf.concat(means, 0)) / (batch + 1)
    parts = tf.split(averages, [variable.shape[0].value for variable in values])
    return list(values), tf.group(*[variable.assign(part) for variable, part in zip(values, parts)])
