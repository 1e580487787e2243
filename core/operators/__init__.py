"""The table of operator types, table.tsv: what TensorFlow's operators are on a chip, and how they may be treated.

Kernels, emulation, precision rules, dumps, overflow search, profiles, frozen graphs and fine-tuning read it.

A network is written in TensorFlow's operators, of which every device has kernels. Where a device has one operator for
a whole function of a network, its `graph` context offers that by the function's name, for the graphs that are built in
the context only; an exported graph is built outside of it. Input pipelines are computed by the host, whatever the
device: its operators have the bits of TensorFlow's, so that a run may go on where they are missing.
"""
import contextlib
import difflib
import functools
import os
import re
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Set

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue

from core.log import say

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'table.tsv')
CUBE, VECTOR, AI_CPU, EXCHANGE, NO_TASK = 'cube', 'vector', 'cpu', 'exchange', 'none'     # units
WHITE, BLACK, GRAY = 'white', 'black', 'gray'                                             # colours
_OF = '_of'                     # the attribute of an operator that stands for another's result
_OLD_ENDING = re.compile(r'(?<=[a-z])D$')
_told: Set[str] = set()        # types that tell_unlisted() has named
_offered: Dict[str, Callable[..., Any]] = {}    # own operators of the device, by the function's name
_of_host: List[Callable[[], Any]] = []           # loads the library of the host's operators


class Operator(NamedTuple):
    """A row of the table; the table itself explains the columns."""
    chip: str
    unit: str
    colour: str
    traits: Dict[str, int]         # {trait: its number, 0 where it has none}

    def has(self, trait: str) -> bool:
        """Whether the operator type has a trait."""
        return trait in self.traits


@functools.lru_cache(maxsize=None)
def table() -> Dict[str, Operator]:
    """{TensorFlow operator type: its row}."""
    with open(TABLE, encoding='utf-8') as file:
        rows = [line.rstrip('\n').split('\t') for line in file if not line.startswith('#')]
    return {name: Operator(name if chip == '=' else chip, unit, colour, _traits(traits))
            for name, chip, unit, colour, traits in rows}


def _traits(words: str) -> Dict[str, int]:
    pairs = [word.partition(':') for word in words.split() if word != '-']
    return {trait: int(number or 0) for trait, _, number in pairs}


def row(op_type: str) -> Operator:
    """The row of an operator type; of one that the table lacks what tell_unlisted() says is assumed."""
    return table().get(op_type) or Operator(op_type, VECTOR, GRAY, {})


def types_with(trait: str) -> FrozenSet[str]:
    """The operator types that have a trait."""
    return frozenset(name for name, operator in table().items() if operator.has(trait))


def chip_name(spelled: str) -> str:
    """The table's name of a chip's operator type: ReduceMean, also for the ReduceMeanD of CANN 2021."""
    return _OLD_ENDING.sub('', spelled)


def nearest(name: str, known: Iterable[str]) -> Optional[str]:
    """The name among the `known` that is spelled most like `name`; None where none is alike."""
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_lower, 1, .6)
    return by_lower[close[0]] if close else None


def tell_unlisted(ops: Iterable[tf.Operation]) -> List[str]:
    """Says once which types of operators that compute floating-point values the table lacks, and what is assumed.

    Returns the types that it named now.
    """
    types = {op.type for op in ops if any(tensor.dtype.base_dtype.is_floating for tensor in op.outputs)}
    new = sorted(types - set(table()) - _told)
    if new:
        say('Operator types that core/operators/table.tsv lacks: %s; each is taken for a vector operator that computes '
            'new values, gray in mixed precision; add a row for it' % ', '.join(new))
        _told.update(new)
    return new


def stand_for(new: tf.Tensor, old: tf.Tensor) -> None:
    """Notes that `new`, the first output of its operator, has the values that a chip's operator computes as `old`."""
    new.op._set_attr(_OF, AttrValue(s=old.name.encode()))


def of_operator(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor of a chip's operator that `tensor` stands for; else itself."""
    try:
        return tensor.graph.get_tensor_by_name(tensor.op.get_attr(_OF).decode())
    except ValueError:                 # it has no such attribute
        return tensor


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


def offer_on_host(load: Callable[[], Any]) -> None:
    """Makes known the operators of the host: load() -> the module that adds them to a graph; None without a library."""
    _of_host[:] = [load]


def host_operator(function: str) -> Optional[Callable[..., Any]]:
    """The host's operator for a function of an input pipeline, by its name; None where the host has none."""
    return next((getattr(load(), function, None) for load in _of_host), None)
