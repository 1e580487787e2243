"""Functions of a network that a device may compute by one operator of its own.

A network is written in TensorFlow's operators, of which every device has its own. Where a device has one operator for
a whole function, its `graph` context puts that in the function's place, for the graphs built in the context only; an
exported graph is built outside of it.
"""
import contextlib
import functools
from typing import Callable, Dict, Iterator

import tensorflow as tf

Function = Callable[[tf.Tensor], tf.Tensor]

_in_place: Dict[str, Function] = {}


def replaceable(function: Function) -> Function:
    """`function` of a tensor, which replaced() can replace by its name."""
    @functools.wraps(function)
    def chosen(x: tf.Tensor) -> tf.Tensor:
        return _in_place.get(function.__name__, function)(x)
    return chosen


@contextlib.contextmanager
def replaced(functions: Dict[str, Function]) -> Iterator[None]:
    """A context in which the replaceable functions of these names are others: {name: function}."""
    before = dict(_in_place)
    _in_place.update(functions)
    try:
        yield
    finally:
        _in_place.clear()
        _in_place.update(before)
