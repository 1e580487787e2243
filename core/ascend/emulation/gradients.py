"""The gradient of each variable, remembered while an emulated training step is built."""
from typing import Any, List, Tuple

import tensorflow as tf

_COLLECTION = 'gradients_of_variables'     # of pairs (variable, gradient), in a graph


class Watched:
    """An optimizer whose gradients are remembered: unscaled, means over the ranks, as the update takes them."""

    def __init__(self, optimizer: tf.train.Optimizer):
        self._optimizer = optimizer

    def compute_gradients(self, *arguments: Any, **named: Any) -> List[Tuple[Any, tf.Variable]]:
        """As tf.train.Optimizer's."""
        pairs = self._optimizer.compute_gradients(*arguments, **named)
        for gradient, variable in pairs:
            if gradient is not None:
                tf.add_to_collection(_COLLECTION, (variable, gradient))
        return pairs

    def apply_gradients(self, *arguments: Any, **named: Any) -> tf.Operation:
        """As tf.train.Optimizer's."""
        return self._optimizer.apply_gradients(*arguments, **named)


def of_graph(graph: tf.Graph) -> List[Tuple[tf.Variable, Any]]:
    """[(variable, its gradient: a tensor or tf.IndexedSlices)] of the watched optimizer of a graph."""
    return graph.get_collection(_COLLECTION)
