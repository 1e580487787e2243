"""--over_dump off the NPU: the first operators of a step with results beyond the range of their type.

A result leaves its range when it is beyond the largest value of the narrow type that the emulated precision mode gives
it, or is infinite or NaN, while the operands, variables among them, are within theirs. Of an update the variable that
it writes is looked at. The step is then run again from the state that it started from, and the operands and results of
these operators are written in the NPU's form, with the Opdebug file that names the task.
"""
import os
import time
from typing import Any, Dict, List, Set

import numpy as np
import tensorflow as tf

from core.ascend.chip_operators import Forms, is_cube
from core.ascend.diagnostics import dump_files, ge_graph, overflow_files, step_graph, tensor_dump
from core.ascend.diagnostics.overflow_files import CUBE_ACCUMULATION, FLOATING_POINT, TO_FLOAT16, Overflow
from core.ascend.emulation.emulation import Emulation
from core.ascend.emulation.precision_rules import LARGEST
from core.log import say
from core.operators import own_operator, row
from core.run import Run

MOST_DUMPED = 10               # steps with an overflow that write operators; later steps are a line of the log
MOST_TOLD = 5                  # operators of such a step in the log; all of them are written
SUMMARY = 'summary_%d.txt'      # of the device with that number; the launcher shows it at the end of the run
_MODEL_ID = 1
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_APPLY = 'Apply'               # operators of optimizers begin with this word


class OverflowSearch(tf.train.SessionRunHook):
    """Looks at every float32 result and every variable of every step.

    run: of the training, for its clock, step and train_input; done: what the emulation has made of its graph;
    is_old_form: whether the Opdebug file has the 910's form.
    """

    def __init__(self, run: Run, path: str, done: Emulation, device_id: int, is_old_form: bool):
        self._run, self._path, self._done = run, path, done
        self._device_id, self._is_old_form = device_id, is_old_form
        self._found = self._steps = self._overflowed = 0
        self._unsound: Set[tf.Operation] = set()     # variables that are out of range when a step begins
        with run.step.loss.graph.as_default():
            self._look()

    def _look(self) -> None:
        """Adds what looks at results and variables; here, because the device offers its own operator for it."""
        step_ops = step_graph.operators([self._run.step.train_op, self._run.step.loss.op])
        available = [op for op in step_graph.with_values(step_ops) if step_graph.ROUNDING not in op.name]
        results = {op: [tensor for tensor in step_graph.results(op) if tensor.dtype == tf.float32]
                   for op in step_graph.computed(available) if op.type != 'Const'}
        self._ops = [op for op in results if results[op]]
        looks = {op: [self._is_within(tensor) for tensor in results[op]] for op in self._ops}
        self._within = tf.stack([tf.reduce_all(made) if made[1:] else made[0] for made in looks.values()])
        _look_at_once(looks, step_ops)
        self._updates = _updates(available)
        self._variables = [op for op in step_ops if op.outputs and op.outputs[0].dtype.base_dtype == tf.float32
                           and step_graph.variable_of(op.outputs[0]) is op.outputs[0]]
        self._sound = tf.stack([self._is_sound(op.outputs[0]) for op in self._variables])
        # In the run of the step, because another run of the session takes as long as many of its operators.
        with tf.control_dependencies([self._run.step.train_op]):
            self._sound_after = tf.stack([self._is_sound(op.outputs[0]) for op in self._variables])
        self._order = {op: number for number, op in enumerate(step_ops)}
        self._available = available

    def begin(self) -> None:
        self._replay = step_graph.Replay(self._run.train_input)
        self._before = self._replay.state_before(list(self._order))
        self._forms = Forms(self._run.step.loss.graph, self._done.types, self._done.wide)

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        self._unsound = self._unsound_variables(session.run(self._sound))

    def _is_within(self, tensor: tf.Tensor) -> tf.Tensor:
        """Whether all values of a result are within the range of its type; NaN is not."""
        if tensor not in self._done.types and tensor not in self._done.limits:
            return _all_within(tensor, _LARGEST_FLOAT32)
        largest = self._done.limits.get(tensor) or LARGEST[self._done.types[tensor]]
        # What an operator before this one has saturated sits at the largest value.
        return _all_within(tensor, largest, not (self._done.rules and self._done.rules.saturates))

    def _is_sound(self, variable: tf.Tensor) -> tf.Tensor:
        """Whether a variable holds what its type, or the narrow type that it is read in, can hold."""
        value = tf.identity(variable)
        if variable in self._done.types:   # what was beyond the range is stored as the largest value, or as inf
            return _all_within(value, LARGEST[self._done.types[variable]], may_be_largest=False)
        limits = [self._done.limits[tensor] for op in variable.consumers() if op.type == 'Identity'
                  for tensor in op.outputs if tensor in self._done.limits]
        return _all_within(value, min(limits, default=_LARGEST_FLOAT32))

    def _unsound_variables(self, are_sound: np.ndarray) -> Set[tf.Operation]:
        return {op for op, is_sound in zip(self._variables, are_sound) if not is_sound}

    def before_run(self, run_context: tf.train.SessionRunContext):
        self._step = step_graph.next_step(self._run.clock)
        return tf.train.SessionRunArgs((
            self._within, self._sound_after, self._before if self._found < MOST_DUMPED else []))

    def after_run(self, run_context, run_values) -> None:
        within, are_sound, self._state = run_values.results
        stored = self._unsound_variables(are_sound)
        leaving = {op for op, is_within in zip(self._ops, within) if not is_within}
        leaving |= {self._updates[op] for op in stored - self._unsound if op in self._updates}
        self._steps += 1
        if leaving:
            self._overflowed += 1
            self._tell(run_context.session, leaving)
        self._unsound = stored

    def end(self, session: tf.Session) -> None:
        line = 'Overflow in %d of %d steps' % (self._overflowed, self._steps) if self._overflowed else (
            'No overflow in %d steps' % self._steps)
        say(line)
        with open(os.path.join(self._path, SUMMARY % self._device_id), 'w') as file:
            file.write(line + '\n')

    def _tell(self, session: tf.Session, leaving: Set[tf.Operation]) -> None:
        known = set(self._ops) | set(self._variables)
        first = [op for op in sorted(leaving, key=self._order.get)
                 if not (leaving | self._unsound) & _sources(op, known)]
        is_dumped = bool(self._state)
        for op in first[:MOST_TOLD if is_dumped else 1]:
            say('Overflow at step %d: %s, made at %s' % (self._step, _name(op), step_graph.line_of(op)))
        say('Overflow at step %d: %d operators leave their range, %d of them with operands within theirs' % (
            self._step, len(leaving), len(first)))
        if self._unsound:
            say('Overflow at step %d: %d variables were out of range before it, %s among them' % (
                self._step, len(self._unsound), min(self._unsound, key=self._order.get).name))
        if is_dumped and first:
            self._found += 1
            self._dump(session, first)

    def _dump(self, session: tf.Session, ops: List[tf.Operation]) -> None:
        """Runs the step again to get the values, writes the dumps, and puts the run back where it was."""
        after = self._replay.state(session)
        needed = set(ops) | {tensor_dump.source(tensor) for op in ops for tensor in op.inputs}
        operators = self._run.step.train_op.graph.get_operations()
        available = step_graph.StepValues(
            step_graph.with_values([op for op in operators if op in needed]), self._done.narrow)
        self._replay.go_back(session, self._state, self._step)
        values = available.before(session)
        values.update(session.run([available.beside, self._run.step.train_op])[0])
        values.update(available.after(session))
        self._replay.go_back(session, after, self._step + 1)
        self._write(ops, values)

    def _write(self, ops: List[tf.Operation], values: Dict[str, List[np.ndarray]]) -> None:
        now = time.time()
        directory = dump_files.npu_directory(
            self._path, time.strftime('%Y%m%d%H%M%S', time.localtime(now)), self._device_id, tensor_dump.MODEL_NAME,
            self._step)
        os.makedirs(directory, exist_ok=True)
        ge_graph.write(self._path, tensor_dump.MODEL_NAME, self._available, self._forms)
        for number, op in enumerate(ops):
            timestamp = int(now * 1e6) + 2 * number
            dump = tensor_dump.operator_dump(op, values, 'all', number, timestamp, self._forms)
            dump_files.write_npu(directory, dump)
            overflow = Overflow(_MODEL_ID, dump.stream_id, dump.task_id, self._status(op))
            overflow_files.write(directory, overflow, timestamp + 1, len(ops) + number, self._is_old_form)

    def _status(self, op: tf.Operation) -> int:
        if is_cube(op.type):
            return CUBE_ACCUMULATION
        variable = step_graph.updated(op)
        is_narrow = variable in self._done.types or any(tensor in self._done.limits for tensor in op.outputs)
        return TO_FLOAT16 if is_narrow else FLOATING_POINT


def _all_within(x: tf.Tensor, largest: float, may_be_largest: bool = True) -> tf.Tensor:
    """Whether all magnitudes of float32 `x` are at most `largest`, or smaller; NaN is not."""
    own = own_operator('is_within')
    if own:
        return own(x, largest=largest, may_be_largest=may_be_largest)
    # Of magnitudes the largest has the largest bits, and NaN has larger ones than infinity.
    limit = np.float32(largest).view(np.int32) - (not may_be_largest)
    return tf.reduce_max(tf.bitcast(tf.abs(x), tf.int32)) <= limit


def _look_at_once(looks: Dict[tf.Operation, List[tf.Tensor]], step_ops: List[tf.Operation]) -> None:
    """Lets the users of a result wait for the look at it, because memory is slow to read when it is no longer cached,
    and could not be used for other results before.
    """
    of_step = set(step_ops)
    for op, made in looks.items():
        if op._get_control_flow_context() is None:
            for user in {user for tensor in op.outputs for user in tensor.consumers()} & of_step:
                if user._get_control_flow_context() is None and not row(user.type).has('shares'):
                    user._add_control_inputs([tensor.op for tensor in made])


def _updates(ops: List[tf.Operation]) -> Dict[tf.Operation, tf.Operation]:
    """{variable: the operator that updates it in a step}; of several the optimizer's."""
    found: Dict[tf.Operation, tf.Operation] = {}
    for op in ops:
        variable = step_graph.updated(op)
        if variable is not None and (variable.op not in found or op.type.startswith(_APPLY)):
            found[variable.op] = op
    return found


def _name(op: tf.Operation) -> str:
    variable = step_graph.updated(op)
    return '%s (%s)' % (op.name, op.type) if variable is None else '%s of %s' % (op.type, variable.op.name)


def _sources(op: tf.Operation, known: Set[tf.Operation]) -> Set[tf.Operation]:
    """The `known` operators and variables that an operator's operands come from, past what only moves values."""
    found, seen, open_ops = set(), {op}, [op]
    while open_ops:
        # Behind the rounding, because without compiled kernels it computes with integers, at which this walk ends.
        for tensor in map(step_graph.before_rounding, open_ops.pop().inputs):
            if not tensor.dtype.base_dtype.is_floating or tensor.op in seen:
                continue
            seen.add(tensor.op)
            if tensor.op in known:
                found.add(tensor.op)
            if tensor.op not in known or row(tensor.op.type).has('shares'):
                open_ops.append(tensor.op)
    return found
