"""Evaluation: the test graph and the metrics over the whole test set."""
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import tensorflow as tf

from core.progress import BETWEEN, EVALUATION, progress
from core.recipe import Recipe, first_output
from core.run import Communicator, Input, Predictions
from core.settings.config import Config
from core.training import scoring


class Evaluation(NamedTuple):
    """The tensors of the test graph. Called with a session it returns the metrics over the whole test set."""
    test_input: Input              # of (inputs, labels, weight)
    sums: tf.Tensor                # what a batch of all ranks adds to the metrics, as one vector
    metrics_of: Callable[[np.ndarray], Dict[str, float]]   # of the sums over all batches
    penalty: tf.Tensor             # scalar
    communicator: Communicator
    rows: Dict[str, tf.Tensor]     # of a classifier's batch: labels, classes, probabilities, weight; {}: another head
    classes: int                   # their number; 0: another head
    exchange: Tuple[tf.Tensor, ...]   # (a placeholder for what a rank has found, the sum over the ranks); (): one rank
    newest: List[Predictions]      # those of the newest call; empty before, and without rows

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


def build(recipe: Recipe, config: Config, test_input: Input, communicator: Communicator) -> Evaluation:
    """Builds the Evaluation of `recipe` on `test_input`; it shares the variables of a training graph, if there is one.

    Each rank evaluates the batches of its own test_input, which are as many on every rank. Raises InputError for a
    model that returns something else than it must.
    """
    inputs, labels, weight = test_input.batch
    config = config._replace(label_smoothing=0.)   # which is for training alone
    outputs, scores = scoring.computed(recipe.model, inputs, labels, False, config, no_dropout)
    penalty = recipe.model.penalty(config)
    sums, metrics_of = scoring.summed(scores, weight)
    sums, = communicator.sum([sums])
    rows, classes = _rows(recipe.model.head, outputs, labels, weight)
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
