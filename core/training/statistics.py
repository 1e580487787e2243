"""Batch-norm statistics computed anew, as means over batches at the weights of the moment.

This is PreciseBN of Wu and Johnson 2021 (Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3).
"""
from typing import List, Tuple

import tensorflow as tf

from core.recipe import BATCH_STATISTICS
from core.run import Communicator, Run

BATCHES = 50                   # before an evaluation


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

    batch: scalar float32, the index of the batch that the run sees. Where a layer is called several times in a batch,
    the mean over its calls counts.
    """
    values = {}
    for variable, value in tf.get_collection(BATCH_STATISTICS):
        values.setdefault(variable, []).append(value)
    means = communicator.mean([tf.add_n(calls) / len(calls) if len(calls) > 1 else calls[0]
                               for calls in values.values()])
    seen = batch + 1
    return list(values), tf.group(*[
        variable.assign((variable * batch + mean) / seen) for variable, mean in zip(values, means)])
