"""The floating-point operations of a training step, counted from the shapes of its convolutions and matrix products.

A product of [m, k] and [k, n] is 2 m k n operations, a convolution 2 for each output value and kernel tap that makes
it, padding included. Forward pass, gradient of the kernel and gradient of the input are as many each; nobody needs the
gradient of the images. Everything else (batch norm, activations, the optimizer) is left out, as is usual.
"""
from typing import Iterable, List, NamedTuple

import tensorflow as tf


class Layer(NamedTuple):
    """One convolution or dense layer of a graph."""
    name: str
    forward: int               # operations of the forward pass
    takes_images: bool         # its input depends on no weights, so that no gradient of the input is computed

    @property
    def training(self) -> int:
        """The operations of a training step."""
        return self.forward * (2 if self.takes_images else 3)


def layers(graph: tf.Graph) -> List[Layer]:
    """The layers of a graph that has no gradients yet and whose shapes are all known."""
    return [Layer(op.name, _forward(op), not _depends_on_weights(op.inputs[0]))
            for op in graph.get_operations() if op.type in ('Conv2D', 'MatMul')]


def training_step(graph: tf.Graph) -> int:
    """The operations of a training step of such a graph."""
    return sum(layer.training for layer in layers(graph))


def _forward(op: tf.Operation) -> int:
    outputs = op.outputs[0].shape.num_elements()
    if op.type == 'MatMul':
        rows = op.inputs[0].shape.as_list()
        return 2 * outputs * rows[0 if op.get_attr('transpose_a') else 1]
    height, width, channels, _ = op.inputs[1].shape.as_list()
    return 2 * outputs * height * width * channels


def _depends_on_weights(tensor: tf.Tensor) -> bool:
    weights = {variable.op for variable in tf.trainable_variables()}
    return any(op in weights for op in _sources([tensor]))


def _sources(tensors: Iterable[tf.Tensor]):
    """Every operation that the tensors depend on."""
    waiting, seen = [tensor.op for tensor in tensors], set()
    while waiting:
        op = waiting.pop()
        if op not in seen:
            seen.add(op)
            yield op
            waiting += [tensor.op for tensor in op.inputs]
