"""The precision modes of an Ascend chip, emulated in a finished graph on any machine.

A float16 tensor of the chip is a float32 tensor here whose values are rounded to float16. An operator that the chip
would run in float16 gets rounded operands, is computed in float32 and has its result rounded once: for a cube operator
(a convolution, a matrix product) this is what the chip does, which accumulates in float32, and for an elementwise one
it is the correctly rounded result. The operators of the backward pass are treated like those of the forward pass.
"""
from typing import Dict, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from core.device import KEEP_DTYPE
from core.ascend.diagnostics.step_graph import ROUNDING
from core.ascend.emulation import overflow_flag, precision_rules
from core.ascend.emulation.precision_rules import CUBE, FORCE, HF32, IR_TYPES, MIXED, PLAIN, REDUCE, Rules

LARGEST = {'float16': 65504., 'bfloat16': 3.3895313892515355e38, HF32: 3.4011621342146535e38}
_BITS_LOST = {'bfloat16': 16, HF32: 13}   # of the fraction of a float32
# Operators that make or hold values, or take no part in a step's arithmetic: they have no type to choose.
_LEFT_ALONE = frozenset((
    'Const', 'Placeholder', 'PlaceholderWithDefault', 'VariableV2', 'Variable', 'VarHandleOp', 'ReadVariableOp',
    'IteratorGetNext', 'Assign', 'AssignAdd', 'AssignSub', 'AssignVariableOp', 'RestoreV2', 'Cast', 'ScalarSummary',
    'StatelessRandomUniform', 'RandomUniform', 'TruncatedNormal', 'RandomStandardNormal',
    'CollectiveReduce', 'CollectiveBcastSend', 'CollectiveBcastRecv', 'Switch', 'Merge', 'Enter', 'Exit',
    'NextIteration'))
_APPLY = 'Apply'               # the operators that update variables begin with this word
# Operators that hand values on: what is narrow stays narrow without another rounding.
_MOVES = frozenset(('Identity', 'Reshape', 'Transpose', 'ConcatV2', 'Split', 'SplitV', 'Slice', 'StridedSlice',
                    'Squeeze', 'ExpandDims', 'StopGradient', 'Pad', 'Snapshot', 'SpaceToDepth', 'DepthToSpace',
                    'GatherV2', 'Relu', 'MaxPool', 'Max', 'Maximum', 'Minimum', 'Neg', 'Abs', 'Select', 'ReverseV2'))


class Emulation(NamedTuple):
    """What emulate() has done to a graph."""
    rules: Optional[Rules]         # None without an emulation
    limits: Dict[tf.Tensor, float]  # tensor before it is rounded -> the largest value that its narrow type has
    narrow: Dict[tf.Tensor, tf.Tensor]  # output that the chip has in the narrow type -> its rounded form
    types: Dict[tf.Tensor, str]    # tensor that the chip has in a narrow type, rounded or as it was -> that type
    cube: int                      # number of cube operators with narrow operands
    vector: int                    # number of other operators with a narrow result
    hf32: int                      # number of cube operators with float32 operands that are rounded to HF32


NO_EMULATION = Emulation(None, {}, {}, {}, 0, 0, 0)


def round_to(x: tf.Tensor, dtype: str, saturates: bool) -> tf.Tensor:
    """float32 `x` with each value rounded to the nearest one of `dtype`, ties to even.

    saturates: beyond the range comes the largest finite value, and 0 in place of NaN; else inf and NaN as they are.
    """
    with tf.name_scope(ROUNDING + dtype):
        if saturates:
            x = tf.where(tf.is_nan(x), tf.zeros_like(x), x)
            x = tf.clip_by_value(x, -LARGEST[dtype], LARGEST[dtype])
        if dtype == 'float16':
            return tf.cast(tf.cast(x, tf.float16), tf.float32)
        bits, lost = tf.bitcast(x, tf.uint32), _uint32(_BITS_LOST[dtype])
        odd = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, lost), _uint32(1))
        half = 2 ** (_BITS_LOST[dtype] - 1) - 1
        up = tf.bitcast(tf.bitcast(bits, tf.int32) + tf.bitcast(odd, tf.int32) + half, tf.uint32)
        kept = tf.bitwise.left_shift(tf.bitwise.right_shift(up, lost), lost)
        return tf.where(tf.is_finite(x), tf.bitcast(kept, tf.float32), x)


def _uint32(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)


def emulate(graph: tf.Graph, rules: Rules, train_op: Optional[tf.Operation] = None) -> Emulation:
    """Rewrites `graph`, which no session has run yet, so that it computes as the chip does under `rules`.

    train_op: with force_fp16 the variables are rounded, after the update and before this operator runs. Where the chip
    saturates, a loss scale in the graph sees its overflow flag.
    """
    if rules.changes_nothing:
        return Emulation(rules, {}, {}, {}, 0, 0, 0)
    rewriting = _Rewriting(graph, rules)
    for op in graph.get_operations():
        rewriting.visit(op)
    if rules.action == FORCE and train_op is not None:
        rewriting.types.update(dict.fromkeys(_round_variables(train_op, rules), rules.narrow))
    if rules.saturates and train_op is not None:
        overflow_flag.add(train_op, rewriting.limits)
    return Emulation(rules, rewriting.limits, rewriting.narrow, rewriting.types, rewriting.cube, rewriting.vector,
                     rewriting.hf32)


class _Rewriting:
    """One pass over the operators in the order in which they were made, which is an order of computation."""

    def __init__(self, graph: tf.Graph, rules: Rules):
        self._graph, self._rules = graph, rules
        self._consumers = {tensor: list(tensor.consumers()) for op in graph.get_operations() for tensor in op.outputs}
        self.narrow: Dict[tf.Tensor, tf.Tensor] = {}
        self._operands: Dict[Tuple[tf.Tensor, str], tf.Tensor] = {}   # tensor, type -> what an operand of it is
        self._sources = set()                             # rounded forms: nothing is rounded twice
        self.limits: Dict[tf.Tensor, float] = {}
        self.types: Dict[tf.Tensor, str] = {}
        self.cube = self.vector = self.hf32 = 0

    def visit(self, op: tf.Operation) -> None:
        if op.type in _LEFT_ALONE or op._get_control_flow_context() is not None:
            return
        if op.type.startswith(_APPLY):                 # the variables themselves: see _round_variables()
            if self._rules.action == FORCE and KEEP_DTYPE not in op.node_def.attr:
                self._narrow_inputs(op, ())
            return
        if not any(output.dtype == tf.float32 for output in op.outputs):
            return
        ir_type = IR_TYPES.get(op.type, op.type)
        takes, gives = self._types(op, ir_type)
        custom = self._rules.custom(op.name, ir_type)
        if KEEP_DTYPE in op.node_def.attr:
            takes = gives = False
        if takes or (custom and custom.inputs):
            self._narrow_inputs(op, custom.inputs if custom else ())
        elif ir_type in self._rules.hf32:
            self._narrow_inputs(op, (HF32,) * len(op.inputs))
            self.hf32 += 1
        if gives or (custom and custom.outputs):
            self._narrow_outputs(op, ir_type, custom.outputs if custom else ())
        self.cube += bool(takes and ir_type in CUBE)
        self.vector += bool(gives and ir_type not in CUBE)

    def _types(self, op, ir_type):
        """(whether the operands are narrow, whether the result is)."""
        action = self._rules.action
        if action == PLAIN:
            return False, False
        is_cube = ir_type in CUBE
        narrow_result = is_cube and ir_type not in precision_rules.FLOAT32_OUTPUT
        if action == FORCE:
            return True, narrow_result or not is_cube
        if action == MIXED:
            colour = self._rules.colour(ir_type)
            if colour == 'white':
                return True, narrow_result or not is_cube
            if colour == 'black':
                return False, False
            follows = self._first_is_narrow(op) or ir_type in self._rules.float16_only
            return follows, follows
        if action == REDUCE:
            reduced = is_cube or ir_type in self._rules.float16_only
            return reduced, narrow_result or ir_type in self._rules.float16_only
        return is_cube, False  # CUBE_ONLY

    def _first_is_narrow(self, op):
        """Whether the operator that the first float32 operand comes from has a narrow result.

        Constants and variables count as the last operands, as CANN's operator engine sorts them (SortInputBySequence):
        0.5 * x, 1 - x and bias + x follow x.
        """
        operands = [tensor for tensor in op.inputs if tensor.dtype.base_dtype == tf.float32]
        first = next(iter(sorted(operands, key=_is_held)), None)
        return first is not None and (first in self._sources or first in self.narrow)

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
            op._update_input(index, self._operands[tensor, wanted])

    def _narrow_outputs(self, op, ir_type, dtypes):
        outputs = op.outputs[:1] if ir_type in precision_rules.FIRST_OUTPUT_ONLY else op.outputs
        moved = op.type in _MOVES and all(
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
                for place, operand in enumerate(consumer.inputs):
                    if operand is tensor:
                        consumer._update_input(place, rounded)

    def _rounded(self, tensor, dtype):
        with self._graph.as_default(), tf.control_dependencies(None):
            return round_to(tensor, dtype, self._rules.saturates)


def _is_held(tensor: tf.Tensor) -> bool:
    """Whether a tensor is a constant or the value of a variable."""
    op = tensor.op
    while op.type in ('Identity', 'Enter', 'Switch', 'ReadVariableOp'):
        op = op.inputs[0].op
    return op.type in ('Const', 'VariableV2', 'Variable', 'VarHandleOp')


def _is_statistic(op: tf.Operation, index: int) -> bool:
    """Whether operand `index` is a batch norm's scale, offset or statistic, which stays float32."""
    return op.type.startswith('FusedBatchNorm') and index >= (2 if 'Grad' in op.type else 1)


def _round_variables(train_op: tf.Operation, rules: Rules) -> List[tf.Tensor]:
    """Rounds the variables after the update: under force_fp16 the chip holds them in float16. Returns their tensors."""
    # TensorFlow hangs a control dependency on the operands of an operator where they were made under it, too.
    before = {op for waiting in [train_op, *(tensor.op for tensor in train_op.inputs)] for op in waiting.control_inputs}
    with train_op.graph.as_default(), tf.control_dependencies(list(before)), tf.name_scope(ROUNDING + rules.narrow):
        variables = [v for v in tf.global_variables()
                     if v.dtype.base_dtype == tf.float32 and KEEP_DTYPE not in v.op.node_def.attr]
        # TensorFlow's optimizer may move the reading of a reference variable before its control dependencies; the
        # subtraction of nothing stays behind them, and its result is read by an edge of the graph.
        rounded = tf.group(*[tf.assign(v, round_to(tf.identity(tf.assign_sub(v, tf.zeros(v.shape))), rules.narrow,
                                                   rules.saturates)) for v in variables])
    train_op._add_control_input(rounded)
    return [v.op.outputs[0] for v in variables]
