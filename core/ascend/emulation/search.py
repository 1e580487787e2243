"""Which operators have to stay in float32 so that a precision mode computes what float32 does, and the files for it.

A mode is measured by the loss and the gradients of some steps, each from the weights that a run in float32 has there
and on its batch, so that nothing adds up from step to step. The fewest operator types, and then the fewest scopes of
the graph, are found by delta debugging (Zeller and Hildebrandt 2002): a set is cut into parts as long as a
part, or what is left without a part, is enough. None of what is found can be left out; another set may be as small.
"""
import json
import os
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple, TypeVar

import numpy as np
import tensorflow as tf

from core.ascend.chip_operators import is_cube
from core.ascend.emulation.emulation import Emulation
from core.ascend.emulation.precision_rules import MIXED, Dtypes, Rules
from core.operators import BLACK, row

Item = TypeVar('Item')
LEAST = 1e-3                   # part of the largest gradient's norm; what is smaller is compared as if it had this norm


class Measured(NamedTuple):
    """A step as one precision computes it."""
    loss: float
    gradients: Dict[str, np.ndarray]       # {variable: its gradient}


class Distance(NamedTuple):
    """How far steps are from those in float32."""
    loss: float                    # largest relative difference
    gradient: float                # largest relative Euclidean distance of the gradient of a variable
    variable: str                  # whose gradient that is

    @property
    def largest(self) -> float:
        """The larger of both, which is compared with --closeness."""
        return max(self.loss, self.gradient)


def distance(steps: Sequence[Measured], reference: Sequence[Measured]) -> Distance:
    """The Distance of `steps` from the same steps in float32; infinite where a value is not finite."""
    loss = max(_finite(abs(one.loss - true.loss) / max(abs(true.loss), np.finfo(np.float32).tiny))
               for one, true in zip(steps, reference))
    gradient, variable = max((_gradient_distance(one.gradients[name], true.gradients, name), name)
                             for one, true in zip(steps, reference) for name in true.gradients)
    return Distance(loss, gradient, variable)


def _gradient_distance(gradient, true, name):
    norms = [np.linalg.norm(one.astype(np.float64)) for one in true.values()]
    own = np.linalg.norm(true[name].astype(np.float64))
    apart = np.linalg.norm(gradient.astype(np.float64) - true[name])
    return _finite(apart / max(own, LEAST * max(norms))) if apart else 0.


def _finite(value):
    return float(value) if np.isfinite(value) else float('inf')


def fewest(items: Sequence[Item], is_enough: Callable[[Sequence[Item]], bool],
           is_late: Callable[[], bool] = lambda: False) -> List[Item]:
    """A part of the items that is_enough() and has no item to spare; all items together have to be enough.

    When is_late(), the part that is enough so far; it may have items to spare.
    """
    items, parts = list(items), 2
    while len(items) > 1:
        cuts = [len(items) * part // parts for part in range(parts + 1)]
        chunks = [items[first:last] for first, last in zip(cuts, cuts[1:])]
        rests = [items[:first] + items[last:] for first, last in zip(cuts, cuts[1:])] if parts > 2 else []
        for number, some in enumerate(chunks + rests):
            if is_late():
                return items
            if is_enough(some):
                items, parts = some, 2 if number < len(chunks) else max(parts - 1, 2)
                break
        else:
            if parts >= len(items):
                break
            parts = min(2 * parts, len(items))
    return items


class Keeping:
    """The operators of a mode that could stay in float32, and the Rules that keep some of them there.

    rules, done: of the mode as it is, and what the emulation did by them; ops: the operators of a step.
    """

    def __init__(self, rules: Rules, done: Emulation, ops: Iterable[tf.Operation]):
        self._rules = rules
        narrow = [op for op in ops if op in done.choices and (done.choices[op].takes or done.choices[op].gives)]
        self.stuck = sorted({row(op.type).chip for op in narrow if rules.lacks_float32(op.type)})
        self._ops = [op for op in narrow if not rules.lacks_float32(op.type)]
        self.hf32 = any(rules.takes_hf32(op.type) for op in self._ops)     # whether float32 is not all of it for some

    @property
    def types(self) -> List[str]:
        """The types of the operators that are narrow, as the chip calls them, in graph order.

        Types of the cube come last, so that the search leaves the cube narrow where other types are enough.
        """
        return list(dict.fromkeys(row(op.type).chip for op in sorted(self._ops, key=lambda op: is_cube(op.type))))

    def scopes(self, types: Sequence[str]) -> List[str]:
        """The scopes in which operators of these types are, in graph order."""
        return list(dict.fromkeys(scope(op) for op in self._ops if row(op.type).chip in types))

    def operators(self, types: Sequence[str], scopes: Sequence[str]) -> List[tf.Operation]:
        """The operators of these types in these scopes, each with its gradient's."""
        return [op for op in self._ops if row(op.type).chip in types and scope(op) in scopes]

    def by_types(self, types: Sequence[str]) -> Rules:
        """The Rules with all operators of these types in float32."""
        if self._rules.action == MIXED:
            return self._rules._replace(colours=dict(self._rules.colours, **dict.fromkeys(types, BLACK)))
        return self.by_operators(self.operators(types, self.scopes(types)))

    def by_operators(self, ops: Iterable[tf.Operation]) -> Rules:
        """The Rules with these operators in float32."""
        return self._rules._replace(customized=dict(self._rules.customized, **{op.name: _wide(op) for op in ops}))


def scope(op: tf.Operation) -> str:
    """The scope of the layer that an operator belongs to; a gradient has the scope of its forward operator."""
    while op._original_op is not None:
        op = op._original_op
    return os.path.dirname(op.name)


def _wide(op: tf.Operation) -> Dtypes:
    """float32 for each operand and result that may be narrow, and for the others their own type."""
    return Dtypes(*(tuple(tensor.dtype.base_dtype.name for tensor in tensors) for tensors in (op.inputs, op.outputs)))


def mixlist(types: Sequence[str]) -> str:
    """The text of a modify_mixlist file that keeps these types in float32."""
    return json.dumps({'black-list': {'to-add': sorted(types)}}, indent=1) + '\n'


def customized(ops: Iterable[tf.Operation]) -> str:
    """The text of a customize_dtypes file that keeps these operators in float32."""
    lines = []
    for op in ops:
        inputs, outputs = (','.join(types) for types in _wide(op))
        parts = ['InputDtype:' + inputs] * bool(inputs) + ['OutputDtype:' + outputs] * bool(outputs)
        lines.append('%s::%s\n' % (op.name, ','.join(parts)))
    return ''.join(lines)


def dense(gradient: Any, shape: Tuple[int, ...]) -> np.ndarray:
    """A gradient as an array of its variable's shape; one of rows of a table is a tf.IndexedSlicesValue."""
    if not hasattr(gradient, 'indices'):
        return np.asarray(gradient)
    found = np.zeros(shape, np.asarray(gradient.values).dtype)
    np.add.at(found, gradient.indices, gradient.values)
    return found
