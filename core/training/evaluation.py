"""Evaluation: the test graph and the metrics over the whole test set."""
from typing import Any, Dict, List, NamedTuple

import numpy as np
import tensorflow as tf

from core.ranks.communicator import Communicator
from core.recipe import Recipe
from core.settings.config import Config


class Evaluation(NamedTuple):
    """The tensors of the test graph. Called with a session it returns the metrics over the whole test set."""
    test_input: Any                # data.pipeline.Input of (x, y, weight)
    names: List[str]               # of the metrics, 'loss' among them
    batch_sums: tf.Tensor          # [metrics + 1]: each metric's sum over the rows of a batch, and how many rows
    rank_sums: tf.Tensor           # placeholder [metrics + 1]: the sums of batch_sums over this rank's batches
    total_sums: tf.Tensor          # [metrics + 1]: the sums of rank_sums over the ranks
    regularization_loss: tf.Tensor   # scalar

    def __call__(self, session: tf.Session) -> Dict[str, float]:
        """{'loss': ..., 'accuracy': ..., ...}; 'loss' has the regularization loss in it, as in training.

        Raises InputError when too many files of the test set cannot be decoded.
        """
        self.test_input.initialize(session)
        rank_sums = sum(session.run(self.batch_sums).astype(np.float64) for _ in range(self.test_input.batches))
        if self.test_input.skipped:
            self.test_input.skipped.check()
        *totals, rows = session.run(self.total_sums, {self.rank_sums: rank_sums})
        metrics = {name: float(total) / float(rows) for name, total in zip(self.names, totals)}
        metrics['loss'] += float(session.run(self.regularization_loss))
        return metrics


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
    return Evaluation(test_input, names, batch_sums, rank_sums, total_sums, outputs.regularization_loss)


def no_dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """The dropout of a test graph: none."""
    del rate
    return x
