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
    batch_sums: tf.Tensor          # [metrics + 1]: each metric's sum over the rows of a batch, and how many rows
    rank_sums: tf.Tensor           # placeholder [metrics + 1]: the sums of batch_sums over this rank's batches
    total_sums: tf.Tensor          # [metrics + 1]: the sums of rank_sums over the ranks
    regularization_loss: tf.Tensor   # scalar
    communicator: Communicator
    rows: Dict[str, tf.Tensor]     # labels, logits and weights of a batch
    newest: List[Predictions]      # those of the newest call; empty before

    def __call__(self, session: tf.Session) -> Dict[str, float]:
        """{'loss': ..., 'accuracy': ..., ...}; 'loss' has the regularization loss in it, as in training.

        Raises InputError when too many files of the test set cannot be decoded.
        """
        self.test_input.initialize(session)
        fetches = dict(sums=self.batch_sums, rows=self.rows)
        batches = [session.run(fetches) for _ in range(self.test_input.batches)]
        rank_sums = sum(batch['sums'].astype(np.float64) for batch in batches)
        if self.test_input.skipped:
            self.test_input.skipped.check()
        *totals, rows = session.run(self.total_sums, {self.rank_sums: rank_sums})
        metrics = {name: float(total) / float(rows) for name, total in zip(self.names, totals)}
        metrics['loss'] += float(session.run(self.regularization_loss))
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

    Each rank evaluates the batches of its own test_input.
    """
    *batch, weight = test_input.batch
    outputs = recipe.model(tuple(batch), False, config, no_dropout)
    values = dict(outputs.metrics, loss=outputs.losses)
    names = sorted(values)
    batch_sums = tf.stack([tf.reduce_sum(values[name] * weight) for name in names] + [tf.reduce_sum(weight)])
    rank_sums = tf.placeholder(tf.float32, batch_sums.shape)
    total_sums, = communicator.sum([rank_sums])
    rows = dict(zip(_ROWS, (batch[-1], outputs.logits, weight)))
    return Evaluation(test_input, names, batch_sums, rank_sums, total_sums, outputs.regularization_loss, communicator,
                      rows, [])


def no_dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """The dropout of a test graph: none."""
    del rate
    return x
