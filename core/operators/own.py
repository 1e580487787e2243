"""Operators that a device has of its own, each for a whole function of a network.

A network is written in TensorFlow's operators, of which every device has kernels. Where a device has one operator for
a function, its `graph` context offers that by the function's name, for the graphs that are built in the context only;
an exported graph is built outside of it.
"""
import contextlib
from typing import Any, Callable, Dict, Iterator, Optional

_offered: Dict[str, Callable[..., Any]] = {}


def own_operator(function: str) -> Optional[Callable[..., Any]]:
    """The device's own operator for the function of this name; None where the device has none."""
    return _offered.get(function)


@contextlib.contextmanager
def own_operators(functions: Dict[str, Callable[..., Any]]) -> Iterator[None]:
    """A context in which own_operator() knows these: {name: function that adds the operator to the graph}."""
    _offered.update(functions)
    try:
        yield
    finally:
        for name in functions:
            del _offered[name]
