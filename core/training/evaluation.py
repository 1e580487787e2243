"""Evaluation: the test graph and the metrics over the whole test set."""
from typing import Any, Dict, List, NamedTuple

import numpy as np
import tensorflow as tf

from core.ranks.communicator import Communicator
from core.recipe import Predictions, Recipe
from core.settings.config import Config

_ROWS = ('labels', 'logits', 'weights')


class Evaluation(NamedTuple):
    """The tensors of the test graph. Called with a session it returns the metrics over the whole test set."""
    test_input: Any                # data.pipeline.Input of (x, y, weight)
    names: List[str]               # of the metrics, 'loss' among them
    sums: tf.Tensor                # [metrics + 1], of all ranks' batches: each metric's sum over the rows, their number
    regularization_loss: tf.Tensor   # scalar
    communicator: Communicator
    rows: Dict[str, tf.Tensor]     # labels, logits and weights of a batch
    newest: List[Predictions]      # those of the newest call; empty before

    def __call__(self, session: tf.Session) -> Dict[str, float]:
        """{'loss': ..., 'accuracy': ..., ...}; 'loss' has the regularization loss in it, as in training.

        Raises InputError when too many files of the test set cannot be decoded.
        """
        self.test_input.initialize(session)
        # Always the same fetches, because others would be another graph to compile.
        fetches = dict(sums=self.sums, regularization_loss=self.regularization_loss, rows=self.rows)
        batches = [session.run(fetches) for _ in range(self.test_input.batches)]
        if self.test_input.skipped:
            self.test_input.skipped.check()
        *totals, rows = sum(batch['sums'].astype(np.float64) for batch in batches)
        metrics = {name: float(total) / float(rows) for name, total in zip(self.names, totals)}
        metrics['loss'] += float(batches[-1]['regularization_loss'])
        self.newest[:] = [self._predictions([batch['rows'] for batch in batches])]
        return metrics

    def _predictions(self, batches):
        """The Predictions in the batches; rows of weight 0 are no examples."""
        labels, logits, weights = (np.stack([batch[name] for batch in batches]) for name in _ROWS)
        count, size = labels.shape
        first = (np.arange(count) * self.communicator.ranks + self.communicator.rank) * size
        rows, kept = first[:, None] + np.arange(size), weights > 0
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        return Predictions(rows[kept], labels[kept], (shifted / shifted.sum(-1, keepdims=True))[kept])


def build(recipe: Recipe, config: Config, test_input: Any, communicator: Communicator) -> Evaluation:
    """Builds the Evaluation of `recipe` on `test_input`; it shares the variables of a training graph, if there is one.

    Each rank evaluates the batches of its own test_input, which are as many on every rank.
    """
    *batch, weight = test_input.batch
    outputs = recipe.model(tuple(batch), False, config, no_dropout)
    values = dict(outputs.metrics, loss=outputs.losses)
    names = sorted(values)
    sums, = communicator.sum([
        tf.stack([tf.reduce_sum(values[name] * weight) for name in names] + [tf.reduce_sum(weight)])])
    rows = dict(zip(_ROWS, (batch[-1], outputs.logits, weight)))
    return Evaluation(test_input, names, sums, outputs.regularization_loss, communicator, rows, [])


def no_dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """The dropout of a test graph: none."""
    del rate
    return x
