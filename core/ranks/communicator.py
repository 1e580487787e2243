"""What Communicators have in common: how the ranks of a job exchange tensors. core/training/loop.py chooses one.

All ranks build the same graph and run the same operators, because an exchange waits until every rank has come to it.
"""
import os
import sys

import tensorflow as tf

from core.device import OWN_GRADIENTS
from core.errors import RankLost


class MeanGradients(tf.train.Optimizer):
    """`optimizer` with gradients that are their mean over the ranks of `communicator`."""

    def __init__(self, optimizer, communicator):
        super().__init__(use_locking=False, name='MeanGradients')
        self._optimizer, self._communicator = optimizer, communicator

    def compute_gradients(self, *args, **kwargs):
        pairs = [(g, v) for g, v in self._optimizer.compute_gradients(*args, **kwargs) if g is not None]
        # Packed from the last layer to the first, because the backward pass has the last layer's gradients first.
        pairs.reverse()
        gradients = [self._own(gradient, variable) for gradient, variable in pairs]
        for gradient in gradients:
            tf.add_to_collection(OWN_GRADIENTS, getattr(gradient, 'values', gradient))
        means = self._communicator.mean([self._beside_others(g.values) if isinstance(g, tf.IndexedSlices) else g
                                         for g in gradients])
        means = [self._of_all_ranks(mean, g) if isinstance(g, tf.IndexedSlices) else mean
                 for mean, g in zip(means, gradients)]
        return [(mean, variable) for mean, (_, variable) in zip(means, pairs)][::-1]

    def _own(self, gradient, variable):
        """The gradient with a static shape: sparse where the rows of all ranks are fewer than the variable has."""
        rows = gradient.indices.shape.num_elements() if isinstance(gradient, tf.IndexedSlices) else None
        if rows is None or rows * self._communicator.ranks >= variable.shape[0].value:
            gradient = tf.convert_to_tensor(gradient)
            gradient.set_shape(variable.shape)
        else:
            gradient.values.set_shape([rows] + variable.shape.as_list()[1:])
        return gradient

    def _beside_others(self, rows):
        """[ranks, ...]: the rows of this rank, and zeros where other ranks have theirs."""
        ranks, rank = self._communicator.ranks, self._communicator.rank
        return tf.pad(rows[None], [[rank, ranks - 1 - rank]] + [[0, 0]] * rows.shape.ndims)

    def _of_all_ranks(self, mean, gradient):
        """The IndexedSlices of all ranks' rows. mean: [ranks, rows of a rank, ...] of their values."""
        indices, = self._communicator.sum([self._beside_others(gradient.indices)])
        return tf.IndexedSlices(tf.reshape(mean, [-1] + mean.shape.as_list()[2:]), tf.reshape(indices, [-1]),
                                gradient.dense_shape)

    def apply_gradients(self, *args, **kwargs):
        return self._optimizer.apply_gradients(*args, **kwargs)


def end_process(line: str) -> None:
    """Prints `line` and ends this process with status 1, even while its main thread waits inside TensorFlow.

    No exception and no signal handler of Python's reaches a thread that waits there.
    """
    sys.stderr.write(line + '\n')
    sys.stderr.flush()
    os._exit(RankLost.status)
