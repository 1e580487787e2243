"""Evaluation: the test graph and the metrics over the whole test set."""
from typing import Callable, Dict, List, NamedTuple

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
    rows: Dict[str, tf.Tensor]     # of a batch, for the pictures of a report: fields of Predictions; {}: there are none
    newest: List[Predictions]      # those of the newest call; empty before, and without rows

    def __call__(self, session: tf.Session) -> Dict[str, float]:
        """{'loss': ..., metric: ..., ...}; 'loss' has the penalty in it, as in training.

        Raises InputError when too many files of the test set cannot be decoded.
        """
        progress.now(EVALUATION)
        self.test_input.initialize(session)
        # Always the same fetches, because others would be another graph to compile.
        fetches = dict(sums=self.sums, penalty=self.penalty, rows=self.rows)
        totals, rows = 0., []
        for _ in range(self.test_input.batches):
            progress.now(EVALUATION)
            batch = session.run(fetches)
            totals = totals + batch['sums'].astype(np.float64)
            rows.append(batch['rows'])
        progress.now(BETWEEN)
        if self.test_input.skipped:
            self.test_input.skipped.check()
        metrics = self.metrics_of(totals)
        metrics['loss'] += float(batch['penalty'])
        self.newest[:] = [self._predictions(rows)] if self.rows else []
        return metrics

    def _predictions(self, batches):
        """The Predictions in the batches; rows of weight 0 are no examples."""
        found = {name: np.stack([batch[name] for batch in batches]) for name in self.rows}
        kept = found.pop('weight') > 0
        count, size = kept.shape
        first = (np.arange(count) * self.communicator.ranks + self.communicator.rank) * size
        return Predictions((first[:, None] + np.arange(size))[kept], **{name: one[kept] for name, one in found.items()})


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
    return Evaluation(test_input, sums, metrics_of, penalty, communicator, _rows(recipe, outputs, labels, weight), [])


def _rows(recipe, outputs, labels, weight):
    """What the pictures of a classifier are made of; {} where no picture is, or the outputs are no classes' logits."""
    probabilities = recipe.model.head.predictions.get('probabilities')
    logits = first_output(outputs)
    if recipe.pictures is dict or not probabilities or logits.shape.ndims != 2:
        return {}
    found = probabilities(tf.cast(logits, tf.float32))
    return dict(labels=labels, classes=tf.argmax(found, 1, output_type=tf.int32), weight=weight,
                probabilities=tf.reduce_max(found, 1))


def no_dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """The dropout of a test graph: none."""
    del rate
    return x
