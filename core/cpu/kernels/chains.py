"""Chains: what an emulated precision has made of elementwise operators, computed in one pass over memory.

An emulation rounds the operands and results of operators, which the graph does in operators of their own. Here those
between two operators that are not elementwise become one, core/cpu/kernels/chain.cc, with the same bits. A product of
few inputs is computed there, too, because memory takes longer to write and read its result. The operators that a chain
replaces stay in the graph for whoever fetches their results.
"""
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow as tf

from core.cpu.kernels import replace
from core.operators import stand_for

# As in chain.cc.
MULTIPLY, ADD, SUBTRACT, NEGATE, RELU, RELU_GRADIENT, ROUND, IS_WITHIN, PRODUCT, PRODUCT_TRANSPOSED = range(10)
FEW, MANY = 4, 1024            # as in product.h: the most inputs, and the fewest rows, of a product that a chain has
_BINARY = {'Mul': MULTIPLY, 'Add': ADD, 'AddV2': ADD, 'Sub': SUBTRACT, 'BiasAdd': ADD, 'ReluGrad': RELU_GRADIENT}
_UNARY = {'Neg': NEGATE, 'Relu': RELU}
_OTHERS = ('AddN', 'TanhGrad', 'SigmoidGrad', 'RoundTo')
_MOVES = ('Identity', 'Reshape', 'Squeeze', 'ExpandDims')
_TYPES = frozenset((*_BINARY, *_UNARY, *_OTHERS, *_MOVES, 'MatMul'))
_GATE = 'tuple/group_deps'     # ends the name of what lets the gradients of an operator wait for each other
_MOST = 40                     # operators of a chain
_Y = -1


def join(train_op: tf.Operation, chain: Callable) -> None:
    """Replaces chains of elementwise operators of a training step that no session has run yet.

    chain: the operator of the library.
    """
    _open_gates(train_op.graph.get_operations())
    ops = [op for op in _in_order(train_op) if op.type != 'IsWithin']
    step = set(ops)
    _share_looks(ops)
    after_flags = _after(op for flagged in ops if flagged.type == 'RoundTo'
                         for op in flagged.outputs[1].consumers() if op in step)
    groups = _groups(ops, step, after_flags)
    looks = _looks(groups)
    for sink, members in groups.items():
        if _computes(members) and sum(op.type not in _MOVES for op in members) + len(looks.get(sink, ())) > 1:
            _Chain(sink, members, looks.get(sink, [])).replace(chain)


def _open_gates(ops: Iterable[tf.Operation]) -> None:
    """Lets no gradient wait for another one of the same operator: those that nobody uses are not computed then."""
    for gate in ops:
        if gate.type == 'NoOp' and gate.name.endswith(_GATE):
            _release(gate)


def _share_looks(ops: Iterable[tf.Operation]) -> None:
    """Looks once at numbers that operators only move, and where they are made: there they are cached.

    Not so at a variable, because the moves may read it before and after an update.
    """
    # {numbers: (the same where they are made, {kind of look: what it has found})}
    known: Dict[tf.Tensor, Tuple[tf.Tensor, Dict[Tuple[float, bool], tf.Tensor]]] = {}
    for op in ops:
        if op.type not in _MOVES or op.inputs[0].dtype._is_ref_dtype:
            continue
        x, y = op.inputs[0], op.outputs[0]
        made, looks = known[y] = known.setdefault(x, (x, {_kind(look): look.outputs[0] for look in _looks_at(x)}))
        for look in _looks_at(y):
            found = looks.setdefault(_kind(look), look.outputs[0])
            if found is look.outputs[0]:
                if made.shape == y.shape:          # TensorFlow changes no edge to another shape
                    look._update_input(0, made)
            else:
                replace(look.outputs[0], found)
                _release(look)


def _looks_at(tensor: tf.Tensor) -> List[tf.Operation]:
    """The operators IsWithin that look at a tensor, and of which somebody takes what they find."""
    return [op for op in tensor.consumers() if op.type == 'IsWithin' and op.outputs[0].consumers()
            and op._get_control_flow_context() is None]


def _kind(look: tf.Operation) -> Tuple[float, bool]:
    return look.get_attr('largest'), look.get_attr('may_be_largest')


def _release(awaited: tf.Operation) -> None:
    """Lets nobody wait for an operator without using its result."""
    for op in list(awaited._control_outputs):
        _wait_for(op, [other for other in op.control_inputs if other is not awaited])


def _in_order(last: tf.Operation) -> List[tf.Operation]:
    """All operators that `last` waits for, and it, in an order of computation. What comes back in a loop is ignored."""
    ordered: Dict[tf.Operation, None] = {}
    seen, waiting = set(), [last]
    while waiting:
        op = waiting[-1]
        if op in seen:
            ordered[waiting.pop()] = None
        else:
            seen.add(op)
            waiting += [other for other in [*(x.op for x in op.inputs), *op.control_inputs] if other not in seen]
    return list(ordered)


def _wait_for(op: tf.Operation, others: List[tf.Operation]) -> None:
    op._remove_all_control_inputs()
    op._add_control_inputs(others)


def _after(ops: Iterable[tf.Operation]) -> Set[tf.Operation]:
    """`ops` and all that is computed from them."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [user for tensor in op.outputs for user in tensor.consumers()]
            if op.type != 'IsWithin':
                waiting += op._control_outputs
    return found


def _groups(ops, step, after_flags) -> Dict[tf.Operation, List[tf.Operation]]:
    """{last operator of a chain: its operators, in an order of computation}.

    All users of an operator but the last are in its chain, so that nothing outside waits for a part of it.
    """
    sink_of: Dict[tf.Operation, tf.Operation] = {}
    members: Dict[tf.Operation, List[tf.Operation]] = {}
    for op in reversed(ops):
        if not _fits(op):
            continue
        users = {user for user in op.outputs[0].consumers() if user in step}
        sinks = {None if user.type == 'MatMul' else sink_of.get(user) for user in users}
        sink = sinks.pop() if len(sinks) == 1 else None
        if (sink is None or len(members[sink]) >= _MOST or _waiting(op, step) or _size(op) != _size(sink)
                or (op in after_flags) != (sink in after_flags)):
            sink = op
        sink_of[op] = sink
        members.setdefault(sink, []).append(op)
    return {sink: found[::-1] for sink, found in members.items()}


def _fits(op: tf.Operation) -> bool:
    """Whether an operator can be a part of a chain."""
    if op.type not in _TYPES or op.outputs[0].dtype != tf.float32 or op._get_control_flow_context() is not None:
        return False
    if any(other.type != 'IsWithin' for other in op.control_inputs) or not op.outputs[0].shape.is_fully_defined():
        return False
    if op.type == 'BiasAdd' and op.get_attr('data_format') != b'NHWC':
        return False
    shape, whole = op.outputs[0].shape, _operands(op)
    if not shape.num_elements() or any(x.dtype != tf.float32 or not x.shape.is_fully_defined() for x in whole):
        return False
    if op.type in _MOVES:
        return shape.rank > 0 and whole[0].shape.rank > 0 and whole[0].shape[-1] == shape[-1]
    if op.type == 'MatMul':
        return not op.get_attr('transpose_a') and whole[0].shape[1].value <= FEW and shape[0].value >= MANY
    return all(x.shape == shape or x.shape.rank == 0 or op.type == 'BiasAdd' or _is_spread(x.shape, shape)
               for x in whole)


def _is_spread(of: tf.TensorShape, shape: tf.TensorShape) -> bool:
    """Whether a shape has one number for each vector along the last axis of `shape`."""
    return of.rank == shape.rank > 1 and of[-1] == 1 and of[:-1] == shape[:-1]


def _operands(op: tf.Operation) -> List[tf.Tensor]:
    """The operands that are numbers."""
    return list(op.inputs)[:1 if op.type in _MOVES else None]


def _size(op: tf.Operation) -> Tuple[int, int]:
    shape = op.outputs[0].shape
    return shape.num_elements(), shape[-1].value if shape.rank else 1


def _waiting(op: tf.Operation, step: Set[tf.Operation]) -> bool:
    """Whether an operator of the step waits for this one without using its result."""
    return any(other in step for other in op._control_outputs)


def _computes(members: Iterable[tf.Operation]) -> bool:
    return any(op.type not in _MOVES for op in members)


def _looks(groups) -> Dict[tf.Operation, List[tf.Operation]]:
    """{last operator of a chain: the operators IsWithin that look at what it computes or takes}."""
    chain_of: Dict[tf.Tensor, tf.Operation] = {}
    computing = [(sink, op) for sink, members in groups.items() if _computes(members) for op in members]
    for sink, op in computing:
        chain_of.update((x, sink) for x in _operands(op) if x.shape.num_elements() == _size(sink)[0])
    chain_of.update((op.outputs[0], sink) for sink, op in computing)     # rather than where it is taken
    found: Dict[tf.Operation, List[tf.Operation]] = {}
    for tensor, sink in chain_of.items():
        found.setdefault(sink, []).extend(_looks_at(tensor))
    return found


class _Instruction(NamedTuple):
    code: int
    a: Any                     # operands, as `to`
    b: Any                     # None: there is none
    number: int                # of ROUND and IS_WITHIN what stands in the place of b
    to: Any                    # what it makes, a tensor or something between two; None: IS_WITHIN makes nothing
    flag: Optional[tf.Tensor]


class _Chain:
    """The program of a chain, and its place in the graph."""

    def __init__(self, sink: tf.Operation, members: Sequence[tf.Operation], looks: Sequence[tf.Operation]):
        self._sink, self._members, self._looks = sink, set(members), looks
        self._same: Dict[tf.Tensor, tf.Tensor] = {}    # result of what only moves values -> these
        self._types: List[Tuple[str, float, bool]] = []
        self._program: List[_Instruction] = []
        looks_at = {look.inputs[0]: [] for look in looks}
        for look in looks:
            looks_at[look.inputs[0]].append(look)
        for tensor, some in looks_at.items():
            if tensor.op not in self._members:
                self._look(some)
        for op in members:
            self._add(op)
            self._look(looks_at.get(op.outputs[0], []))

    def replace(self, chain: Callable) -> None:
        """Puts the chain into the graph."""
        y = self._sink.outputs[0]
        made_here = {None, *(one.to for one in self._program)}
        inputs = list(dict.fromkeys(x for one in self._program for x in (one.a, one.b) if x not in made_here))
        flags = [one.flag for one in self._program if one.flag is not None]
        with y.graph.as_default(), tf.control_dependencies(None):
            made, found = chain(
                inputs, m=len(flags), program=self._words(inputs, flags), dtypes=[kind[0] for kind in self._types],
                largest=[kind[1] for kind in self._types], saturates=[kind[2] for kind in self._types],
                shape=y.shape, name=self._sink.name + '/Chain')
        stand_for(made, y)
        for old, new in zip([y, *flags], [made, *found]):
            replace(old, new, but=self._members.union(self._looks))
        for op in list(self._sink._control_outputs):
            _wait_for(op, [made.op if other is self._sink else other for other in op.control_inputs])
        for look in self._looks:
            _release(look)

    def _add(self, op):
        x, y = [self._same.get(tensor, tensor) for tensor in _operands(op)], op.outputs[0]
        if op.type in _MOVES:
            self._same[y] = x[0]
        elif op.type == 'MatMul':
            self._put(PRODUCT_TRANSPOSED if op.get_attr('transpose_b') else PRODUCT, x[0], x[1], y)
        elif op.type in _BINARY:
            self._put(_BINARY[op.type], x[0], x[1], y)
        elif op.type in _UNARY:
            self._put(_UNARY[op.type], x[0], None, y)
        elif op.type == 'AddN':
            total = x[0]
            for number, other in enumerate(x[1:]):
                made = y if number == len(x) - 2 else object()
                self._put(ADD, total, other, made)
                total = made
        elif op.type == 'RoundTo':
            kind = op.get_attr('dtype').decode(), op.get_attr('largest'), op.get_attr('saturates')
            if kind not in self._types:
                self._types.append(kind)
            self._program.append(_Instruction(ROUND, x[0], None, self._types.index(kind), y,
                                              op.outputs[1] if op.outputs[1].consumers() else None))
        else:                                          # dy (1 - y^2), or dy y (1 - y)
            with op.graph.as_default(), tf.control_dependencies(None):
                one = tf.constant(1.)
            product, rest = object(), object()
            if op.type == 'TanhGrad':
                self._put(MULTIPLY, x[0], x[0], product)
                self._put(SUBTRACT, one, product, rest)
                self._put(MULTIPLY, x[1], rest, y)
            else:
                self._put(MULTIPLY, x[1], x[0], product)
                self._put(SUBTRACT, one, x[0], rest)
                self._put(MULTIPLY, product, rest, y)

    def _put(self, code, a, b, y):
        self._program.append(_Instruction(code, a, b, 0, y, None))

    def _look(self, looks):
        for look in looks:
            largest, may_be_largest = _kind(look)
            bits = int(np.float32(largest).view(np.int32)) - (not may_be_largest)
            x = self._same.get(look.inputs[0], look.inputs[0])
            self._program.append(_Instruction(IS_WITHIN, x, None, bits, None, look.outputs[0]))

    def _words(self, inputs, flags) -> List[int]:
        """The program, in which a register is used again after the last use of what it holds."""
        y = self._same.get(self._sink.outputs[0], self._sink.outputs[0])
        last = {x: number for number, one in enumerate(self._program) for x in (one.a, one.b)}
        register = {x: number for number, x in enumerate(inputs)}
        register[y] = _Y
        free, most, words = [], len(inputs), []
        for number, one in enumerate(self._program):
            a, b = register[one.a], one.number if one.b is None else register[one.b]
            free += [register[x] for x in {one.a, one.b} - {None, y} if last[x] == number and x not in inputs]
            if one.to is not None and one.to is not y:
                if not free:
                    free.append(most)
                    most += 1
                register[one.to] = free.pop()
            words += [one.code, a, b, _Y if one.to is None else register[one.to],
                      -1 if one.flag is None else flags.index(one.flag)]
        return words
