"""The precision modes of an Ascend chip, emulated in a finished graph on any machine.

A float16 tensor of the chip is here a float32 tensor of values that are rounded to float16. An operator that the chip
would run in float16 gets rounded operands, is computed in float32 and has its result rounded once: for a cube operator
(a convolution, a matrix product) this is what the chip does, which accumulates in float32, and for an elementwise one
it is the correctly rounded result. The operators of the backward pass are treated alike.
"""
import functools
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from core import operators
from core.device import KEEP_DTYPE
from core.ascend.chip_operators import is_cube
from core.ascend.diagnostics.step_graph import ROUNDING
from core.ascend.emulation import overflow_flag
from core.ascend.emulation.precision_rules import FORCE, HF32, LARGEST, MIXED, PLAIN, REDUCE, Rules

CUSTOMIZED = 'customize_dtypes'        # the reason of a Choice
_BITS_LOST = {'bfloat16': 16, HF32: 13}   # of the fraction of a float32


class Choice(NamedTuple):
    """Which operands and results of an operator the chip has in the narrow type, and why."""
    takes: bool                    # narrow operands
    gives: bool                    # a narrow result
    reason: str


class Emulation(NamedTuple):
    """What emulate() has done to a graph."""
    rules: Optional[Rules]         # None without an emulation
    limits: Dict[tf.Tensor, float]  # tensor before it is rounded -> the largest value that its narrow type has
    narrow: Dict[tf.Tensor, tf.Tensor]  # output that the chip has in the narrow type -> its rounded form
    types: Dict[tf.Tensor, str]    # tensor that the chip has in a narrow type, rounded or as it was -> that type
    choices: Dict[tf.Operation, Choice]     # of every operator that has a type to choose
    functions: List[tf.Operation]  # operators that run functions, inside which nothing is emulated
    hf32: int                      # number of cube operators with float32 operands that are rounded to HF32

    @property
    def wide(self) -> Set[tf.Operation]:
        """The operators that keep float32 operands: a narrow tensor is cast for them."""
        return {op for op, choice in self.choices.items() if not choice.takes and choice.reason != CUSTOMIZED}

    @property
    def cube(self) -> int:
        """The number of cube operators with narrow operands."""
        return sum(choice.takes and is_cube(op.type) for op, choice in self.choices.items())

    @property
    def vector(self) -> int:
        """The number of other operators with a narrow result."""
        return sum(choice.gives and not is_cube(op.type) for op, choice in self.choices.items())


NO_EMULATION = Emulation(None, {}, {}, {}, {}, [], 0)


def round_to(x: tf.Tensor, dtype: str, saturates: bool) -> tf.Tensor:
    """float32 `x` with each value rounded to the nearest one of `dtype`, ties to even.

    saturates: beyond the range comes the largest finite value, and 0 instead of NaN; else inf and NaN as they are.
    A 0 has the sign of what it comes from.
    """
    own = operators.own_operator('round_to')
    if own:
        return own(x, dtype=dtype, largest=LARGEST[dtype], saturates=saturates, name=ROUNDING + dtype)[0]
    with tf.name_scope(ROUNDING + dtype):
        if saturates:
            magnitude = tf.abs(x)
            # Of a NaN and another number TensorFlow's maximum is the first operand.
            within = tf.minimum(tf.maximum(np.float32(0), magnitude), np.float32(LARGEST[dtype]))
            rounded = _to_half(within) if dtype == 'float16' else _without_last_bits(within, _BITS_LOST[dtype])
            # Sums of integers, which have the sign of x again, are faster than to take bits apart.
            bits_of = functools.partial(tf.bitcast, type=tf.int32)
            return tf.bitcast(bits_of(x) + (bits_of(rounded) - bits_of(magnitude)), tf.float32)
        if dtype == 'float16':
            return tf.cast(tf.cast(x, tf.float16), tf.float32)
        return tf.where(tf.is_nan(x), x, _without_last_bits(x, _BITS_LOST[dtype]))


def _to_half(x: tf.Tensor) -> tf.Tensor:
    """`x`, from 0 to 65504, rounded to float16 by sums, which TensorFlow computes faster than casts.

    x rounds to as many bits as 8193 * x exceeds it by (Veltkamp's splitting; ties go to even, because two sums round),
    and next to .75 the values of a float32 are as far apart as the denormal ones of a float16.
    """
    shift = tf.maximum(x * np.float32(2 ** _BITS_LOST[HF32] + 1), np.float32(.75))
    return shift - (shift - x)


def _without_last_bits(x: tf.Tensor, lost: int) -> tf.Tensor:
    """`x`, of which nothing is NaN, rounded to multiples of the bit before the last ones of the fraction."""
    bits = tf.bitcast(x, tf.int32)
    odd = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, lost), 1)
    return tf.bitcast(tf.bitwise.bitwise_and(bits + odd + (2 ** (lost - 1) - 1), -2 ** lost), tf.float32)


def emulate(graph: tf.Graph, rules: Rules, train_op: Optional[tf.Operation] = None) -> Emulation:
    """Rewrites `graph`, which no session has run yet, so that it computes as the chip does under `rules`.

    train_op: with force_fp16 the variables are rounded, after the update and before this operator runs. Where the chip
    saturates, a loss scale in the graph sees its overflow flag.
    """
    if rules.changes_nothing:
        return NO_EMULATION._replace(rules=rules)
    rewriting = _Rewriting(graph, rules)
    for op in _in_order(graph.get_operations()):
        rewriting.visit(op)
    if rules.action == FORCE and train_op is not None:
        rewriting.types.update(dict.fromkeys(_round_variables(train_op, rules), rules.narrow))
    if rules.saturates and train_op is not None:
        overflow_flag.add(train_op, rewriting.limits)
    operators.tell_unlisted(rewriting.choices)
    return Emulation(rules, rewriting.limits, rewriting.narrow, rewriting.types, rewriting.choices, rewriting.functions,
                     rewriting.hf32)


def _in_order(ops: List[tf.Operation]) -> List[tf.Operation]:
    """`ops` in an order of computation: that in which they were made, but that a branch makes its inputs after its first
    operator. What comes back in a loop counts as nothing.
    """
    ordered: Dict[tf.Operation, None] = {}
    for op in ops:
        waiting = [op]
        while waiting:
            missing = [tensor.op for tensor in waiting[-1].inputs
                       if tensor.op not in ordered and tensor.op.type != 'NextIteration']
            waiting += missing
            if not missing:
                ordered[waiting.pop()] = None
    return list(ordered)


class _Rewriting:
    """One pass over the operators of a graph in an order of computation."""

    def __init__(self, graph: tf.Graph, rules: Rules):
        self._graph, self._rules = graph, rules
        self._consumers = {tensor: list(tensor.consumers()) for op in graph.get_operations() for tensor in op.outputs}
        self.narrow: Dict[tf.Tensor, tf.Tensor] = {}
        self._operands: Dict[Tuple[tf.Tensor, str], tf.Tensor] = {}   # tensor, type -> what an operand of it is
        self._sources = set()                             # rounded forms: nothing is rounded twice
        self.limits: Dict[tf.Tensor, float] = {}
        self.types: Dict[tf.Tensor, str] = {}
        self.choices: Dict[tf.Operation, Choice] = {}
        self.functions: List[tf.Operation] = []
        self.hf32 = 0

    def visit(self, op: tf.Operation) -> None:
        row = operators.row(op.type)
        if row.has('update'):                          # the variables themselves: see _round_variables()
            if self._rules.action == FORCE and KEEP_DTYPE not in op.node_def.attr:
                self._narrow_inputs(op, ())
            return
        if row.has('fixed') or not any(output.dtype == tf.float32 for output in op.outputs):
            return
        if any(attribute.WhichOneof('value') == 'func' for attribute in op.node_def.attr.values()):
            self.functions.append(op)
            return
        custom = self._rules.custom(op.name, op.type)
        choice = self._choice(op, row)
        if choice.takes or (custom and custom.inputs):
            self._narrow_inputs(op, custom.inputs if custom else ())
        elif self._rules.takes_hf32(op.type):
            self._narrow_inputs(op, (HF32,) * len(op.inputs))
            self.hf32 += 1
            choice = choice._replace(reason=choice.reason + ', HF32')
        if choice.gives or (custom and custom.outputs):
            self._narrow_outputs(op, row, custom.outputs if custom else ())
        self.choices[op] = choice._replace(reason=CUSTOMIZED) if custom else choice

    def _choice(self, op: tf.Operation, row: operators.Operator) -> Choice:
        action, on_cube = self._rules.action, is_cube(op.type)
        narrow_result = not row.has('wide_output')
        if KEEP_DTYPE in op.node_def.attr:
            return Choice(False, False, 'keep_dtype')
        if action == PLAIN:
            return Choice(False, False, 'own type')
        if action == FORCE:
            return Choice(True, narrow_result, 'every operator')
        if action == MIXED:
            colour = self._rules.colour(op.type)
            if colour != operators.GRAY:
                return Choice(colour == operators.WHITE, colour == operators.WHITE and narrow_result, colour)
            first = self._first_operand(op)
            follows = first is not None and (first in self._sources or first in self.narrow)
            if not follows and self._rules.has_only_narrow(op.type):
                return Choice(True, True, 'gray, and has no float32 kernel')
            return Choice(follows, follows, 'gray, after nothing' if first is None else 'gray, after ' + _named(first))
        if on_cube:
            return Choice(True, narrow_result and action == REDUCE, 'cube')
        only_narrow = action == REDUCE and self._rules.has_only_narrow(op.type)
        return Choice(only_narrow, only_narrow, 'has no float32 kernel' if only_narrow else 'vector')

    def _first_operand(self, op: tf.Operation) -> Optional[tf.Tensor]:
        """The float32 operand that a gray operator follows.

        Constants and variables count as the last operands, as CANN's operator engine sorts them (SortInputBySequence):
        0.5 * x, 1 - x and bias + x follow x.
        """
        return next(iter(sorted((tensor for tensor in op.inputs if tensor.dtype.base_dtype == tf.float32),
                                key=_is_held)), None)

    def _narrow_inputs(self, op, dtypes):
        for index, tensor in enumerate(op.inputs):
            wanted = dtypes[index] if index < len(dtypes) else self._rules.narrow
            if tensor.dtype != tf.float32 or tensor in self._sources or wanted not in LARGEST:
                continue
            if _is_statistic(op, index):
                continue
            if (tensor, wanted) not in self._operands:
                rounded = self._operands[tensor, wanted] = self._rounded(tensor, wanted)
                if wanted != HF32:     # which is a way to compute with float32, and no type of tensors
                    self.types[rounded], self.limits[tensor] = wanted, LARGEST[wanted]
                    self._sources.add(rounded)
            op._update_input(index, self._operands[tensor, wanted])

    def _narrow_outputs(self, op, row, dtypes):
        outputs = op.outputs[:1] if row.has('first_output') else op.outputs
        moved = row.has('moves') and all(
            tensor in self._sources for tensor in op.inputs if tensor.dtype.base_dtype == tf.float32)
        for index, tensor in enumerate(outputs):
            wanted = dtypes[index] if index < len(dtypes) else self._rules.narrow
            if tensor.dtype != tf.float32 or wanted not in LARGEST:
                continue
            self.types[tensor] = wanted
            if moved:
                self._sources.add(tensor)
                continue
            rounded = self._rounded(tensor, wanted)
            self._sources.add(rounded)
            self.types[rounded], self.limits[tensor] = wanted, LARGEST[wanted]
            self.narrow[tensor] = rounded
            for consumer in self._consumers[tensor]:
                for index, operand in enumerate(consumer.inputs):
                    if operand is tensor:
                        consumer._update_input(index, rounded)

    def _rounded(self, tensor, dtype):
        context = control_flow_util.GetOutputContext(tensor.op)
        with self._graph.as_default(), tf.control_dependencies(None):
            self._graph._set_control_flow_context(context)     # until control_dependencies() ends
            # In a loop, constants without a control input would wait for the loop's condition, which may need them.
            with tf.control_dependencies([tensor.op] if context else []):
                return round_to(tensor, dtype, self._rules.saturates)


def _named(tensor: tf.Tensor) -> str:
    """The operator that a tensor comes from, past those that round it."""
    op = tensor.op
    while ROUNDING in op.name:
        op = op.inputs[0].op
    return op.name


def _is_held(tensor: tf.Tensor) -> bool:
    """Whether a tensor is a constant or the value of a variable."""
    op = tensor.op
    while op.type in ('Identity', 'Enter', 'Switch', 'RefEnter', 'RefSwitch', 'ReadVariableOp'):
        op = op.inputs[0].op
    return op.type == 'Const' or operators.row(op.type).has('variable')


def _is_statistic(op: tf.Operation, index: int) -> bool:
    """Whether operand `index` is a batch norm's scale, offset or statistic, which stays float32."""
    return index >= operators.row(op.type).traits.get('statistics', len(op.inputs))


def _round_variables(train_op: tf.Operation, rules: Rules) -> List[tf.Tensor]:
    """Rounds the variables after the update: under force_fp16 the chip holds them in float16. Returns their tensors."""
    # Inputs that were made inside the same control_dependencies() block carry the dependency as well.
    before = {op for waiting in [train_op, *(tensor.op for tensor in train_op.inputs)] for op in waiting.control_inputs}
    # One operator waits for all of them, because each variable with each of its own would be a million edges.
    with train_op.graph.as_default(), tf.name_scope(ROUNDING + rules.narrow), \
            tf.control_dependencies([tf.group(*before)]):
        variables = [v for v in tf.global_variables()
                     if v.dtype.base_dtype == tf.float32 and KEEP_DTYPE not in v.op.node_def.attr]
        # TensorFlow's optimizer may move the reading of a reference variable before its control dependencies; the
        # subtraction of nothing stays behind them, and its result is read by an edge of the graph.
        own = operators.own_operator('round_variable')
        rounded = tf.group(*[
            own(v, dtype=rules.narrow, largest=LARGEST[rules.narrow], saturates=rules.saturates)
            if own and v.dtype._is_ref_dtype else
            tf.assign(v, round_to(tf.identity(tf.assign_sub(v, tf.zeros(v.shape))), rules.narrow, rules.saturates))
            for v in variables])
    train_op._add_control_input(rounded)
    return [v.op.outputs[0] for v in variables]
