"""What a training step computes: its operators in graph order, and the way to run a step twice from one state."""
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from core.operators import nearest, of_operator, row as row_of
from core.errors import InputError
from core.run import Clock, Input

_NO_VALUES = frozenset((tf.resource, tf.variant, tf.string))
ROUNDING = 'emulated_'          # in the names of the operators that only round to an emulated type
_READS = frozenset(('Identity', 'ReadVariableOp'))
_PASS_REFERENCES = frozenset(('Switch', 'RefSwitch', 'Enter', 'RefEnter', 'Identity', 'RefIdentity'))


def operators(targets: Sequence[tf.Operation]) -> List[tf.Operation]:
    """The operators that a run of the `targets` executes, in an order of computation."""
    seen, open_ops = set(), list(targets)
    while open_ops:
        op = open_ops.pop()
        if op not in seen:
            seen.add(op)
            open_ops += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return [op for op in targets[0].graph.get_operations() if op in seen]


def with_values(ops: Sequence[tf.Operation]) -> List[tf.Operation]:
    """The part of `ops` with outputs that can be fetched: not control flow, not handles, not text.

    An update inside a tf.cond counts, because what it leaves is in its variable.
    """
    return [op for op in ops if updated(op) is not None or op.outputs and all(
        tensor.dtype.base_dtype not in _NO_VALUES and op.graph.is_fetchable(tensor) for tensor in op.outputs)]


def updated(op: tf.Operation) -> Optional[tf.Tensor]:
    """The variable that an operator such as ApplyMomentum or AssignAdd writes; None for any other operator."""
    if op.type in _PASS_REFERENCES or not (op.inputs and op.outputs and op.outputs[0].dtype._is_ref_dtype):
        return None
    return variable_of(op.inputs[0])


def variable_of(tensor: tf.Tensor) -> Optional[tf.Tensor]:
    """The variable of a tensor that is its value or a reference to it; None for any other tensor."""
    while tensor.op.type in _PASS_REFERENCES:
        tensor = tensor.op.inputs[0]
    return tensor if row_of(tensor.op.type).has('variable') else None


def before_rounding(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor of the user's graph that the emulation has rounded to `tensor`; any other one itself."""
    tensor = of_operator(tensor)
    while ROUNDING in tensor.op.name:
        tensor = of_operator(tensor.op.inputs[2 if tensor.op.type == 'Select' else 0])   # Select(condition, other, x)
    return tensor


def named(ops: Sequence[tf.Operation], layers: str) -> List[tf.Operation]:
    """The part of `ops` that --dump_layer names: operator names, separated by spaces; all where it is ''.

    Raises InputError for a name that no operator has.
    """
    wanted = layers.split()
    known = {op.name for op in ops}
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            raise InputError('--dump_layer: a training step has no operator %s%s; the names are those of the graph' % (
                name, ', did you mean %s?' % near if near else ''))
    return [op for op in ops if op.name in wanted] if wanted else list(ops)


def line_of(op: tf.Operation) -> str:
    """FILE:LINE of the statement outside TensorFlow that made an operator, or what it is the gradient of.

    The statement that called it follows, because most operators are made by a function that many layers share.
    """
    made = op
    while made._original_op is not None:
        made = made._original_op
    frames = ['%s:%d' % (file, line) for file, line, *_ in reversed(made.traceback) if 'tensorflow_core' not in file]
    return ', called from '.join(frames[:2]) or 'unknown'


def next_step(clock: Clock) -> int:
    """The number, from 0, of the training step that hooks see in the next run of the session."""
    return clock.step + clock.steps_per_run - 1


class Replay:
    """Runs a training step again from the state that it started from.

    A batch and every random draw are a function of the seed and the step, so the variables and the position of the
    input are the whole state.
    """

    def __init__(self, train_input: Input):
        self._input = train_input
        # One array for each type, because each that is fetched has a cost of its own.
        groups: Dict[Any, List[tf.Variable]] = {}
        for v in tf.global_variables() + tf.local_variables():
            groups.setdefault(v.dtype.base_dtype if v.shape.is_fully_defined() else v, []).append(v)
        self._arrays, self._values, restored = [], [], []
        for some in groups.values():
            if len(some) == 1:         # a copy, because an array takes over memory that nobody else has
                self._arrays.append(tf.raw_ops.DeepCopy(x=some[0]))
            else:
                self._arrays.append(tf.concat([tf.reshape(v, [-1]) for v in some], 0))
            value = tf.placeholder(self._arrays[-1].dtype, self._arrays[-1].shape)
            self._values.append(value)
            parts = [value] if len(some) == 1 else [tf.reshape(part, v.shape) for v, part in zip(
                some, tf.split(value, [v.shape.num_elements() for v in some]))]
            restored += [tf.assign(v, part, validate_shape=False) for v, part in zip(some, parts)]
        self._restore = tf.group(*restored)

    def state(self, session: tf.Session) -> List[np.ndarray]:
        """The values of all variables now."""
        return session.run(self._arrays)

    def state_before(self, ops: Sequence[tf.Operation]) -> List[tf.Tensor]:
        """What a run of `ops` can fetch: the values of all variables before it.

        Whatever else than a read takes a variable waits for them, because it may write it or pass it to a branch.
        """
        variables = {v.op for v in tf.global_variables() + tf.local_variables()}
        for op in ops:
            if op.type not in _READS and any(tensor.op in variables for tensor in op.inputs):
                op._add_control_inputs([array.op for array in self._arrays])
        return self._arrays

    def go_back(self, session: tf.Session, state: List[np.ndarray], step: int) -> None:
        """Makes `state` the variables' values again, and the batch of `step` the next one."""
        session.run(self._restore, dict(zip(self._values, state)))
        self._input.initialize(session, step)


def results(op: tf.Operation) -> List[tf.Tensor]:
    """The outputs of an operator, without those that no kernel fills."""
    return list(op.outputs)[:row_of(op.type).traits.get('outputs')]


class StepValues:
    """Fetches the outputs of `ops` in one training step.

    Values of variables are fetched before the step, computed values beside it, and updated variables after it.
    rounded: {output: its form in the chip's type}, which is fetched instead.
    """

    def __init__(self, ops: Sequence[tf.Operation], rounded: Mapping[tf.Tensor, tf.Tensor]):
        self._before = fetches(of_variables(ops))
        self.beside = {name: [rounded.get(tensor, tensor) for tensor in tensors]
                       for name, tensors in fetches(computed(ops)).items()}
        self._after = {op.name: [updated(op)] for op in ops if updated(op) is not None}

    def __contains__(self, op: tf.Operation) -> bool:
        return any(op.name in moment for moment in (self._before, self.beside, self._after))

    def before(self, session: tf.Session) -> Dict[str, List[np.ndarray]]:
        """{operator's name: values} that have to be fetched before the step."""
        return session.run(self._before)

    def after(self, session: tf.Session) -> Dict[str, List[np.ndarray]]:
        """{operator's name: values} that have to be fetched after the step."""
        return session.run(self._after)


def fetches(ops: Sequence[tf.Operation]) -> Dict[str, List[tf.Tensor]]:
    """{operator's name: its results}, as a session takes it."""
    return {op.name: results(op) for op in ops}


def of_variables(ops: Sequence[tf.Operation]) -> List[tf.Operation]:
    """The part of `ops` with outputs in the memory of a variable.

    Fetched beside a training step, their values could be those before or after the update; fetch them before it.
    """
    sharing, tensors = [], set()
    for op in ops:
        reads = any(tensor.dtype._is_ref_dtype or tensor in tensors for tensor in op.inputs)
        row = row_of(op.type)
        if row.has('variable') or (row.has('shares') and reads):
            sharing.append(op)
            tensors.update(op.outputs)
    return sharing


def computed(ops: Sequence[tf.Operation]) -> List[tf.Operation]:
    """The part of `ops` that computes values of its own, neither reading nor writing a variable in place."""
    sharing = set(of_variables(ops))
    return [op for op in ops if op not in sharing and not any(tensor.dtype._is_ref_dtype for tensor in op.outputs)]
