"""--over_dump off the NPU: the first operator of a step whose result leaves the range of its type.

A result leaves its range when it is beyond the largest value of the narrow type that the emulated precision mode gives
it, or is infinite or NaN while the operands are finite. The step is then run again from the state that it started from,
and the operator's operands and results are written in the NPU's form, with the Opdebug file that names the task.
"""
import os
import time
from typing import Any, Dict, List, Sequence, Set

import numpy as np
import tensorflow as tf

from core.ascend.diagnostics import dump_files, overflow_files, step_graph, tensor_dump
from core.ascend.diagnostics.overflow_files import CUBE_ACCUMULATION, FLOATING_POINT, TO_FLOAT16, Overflow
from core.log import say

MOST_DUMPED = 10               # steps with an overflow whose operators are written; later ones are a line of the log
MOST_TOLD = 5                  # operators of such a step in the log; all of them are written
_MODEL_ID = 1


class OverflowSearch(tf.train.SessionRunHook):
    """Looks at every float32 result of every step.

    run: whose clock, step and train_input are those of the training.
    limits: {tensor: largest finite value of its narrow type}; what is not in it has float32's range.
    cube_types: operator types of the chip's cube unit; is_old_form: whether the Opdebug file has the 910's form.
    """

    def __init__(self, run: Any, path: str, limits: Dict[tf.Tensor, float], cube_types: Sequence[str],
                 device_id: int, is_old_form: bool):
        self._run, self._path, self._limits, self._cube_types = run, path, limits, cube_types
        self._device_id, self._is_old_form = device_id, is_old_form
        self._found = 0

    def begin(self) -> None:
        targets = [self._run.step.train_op, self._run.step.loss.op]
        ops = step_graph.computed(step_graph.with_values(step_graph.operators(targets)))
        results = {op: [tensor for tensor in step_graph.results(op) if tensor.dtype == tf.float32] for op in ops
                   if op.type != 'Const' and step_graph.ROUNDING not in op.name}
        self._ops = [op for op in ops if results.get(op)]
        self._leaves = tf.stack([tf.reduce_any(list(map(self._leaves_range, results[op]))) for op in self._ops])
        self._replay = step_graph.Replay(self._run.train_input)

    def _leaves_range(self, tensor: tf.Tensor) -> tf.Tensor:
        if tensor in self._limits:
            return tf.logical_not(tf.reduce_all(tf.abs(tensor) <= self._limits[tensor]))  # NaN is not <= either
        return tf.logical_not(tf.reduce_all(tf.is_finite(tensor)))

    def before_run(self, run_context: tf.train.SessionRunContext):
        self._step = step_graph.next_step(self._run.clock)
        self._state = self._replay.state(run_context.session) if self._found < MOST_DUMPED else None
        return tf.train.SessionRunArgs(self._leaves)

    def after_run(self, run_context, run_values) -> None:
        leaving = {op for op, leaves in zip(self._ops, run_values.results) if leaves}
        if not leaving:
            return
        known = set(self._ops)
        first = [op for op in self._ops if op in leaving and not leaving & _sources(op, known)]
        is_dumped = self._state is not None
        for op in first[:MOST_TOLD if is_dumped else 1]:
            say('Overflow at step %d: %s (%s), made at %s' % (self._step, op.name, op.type, step_graph.line_of(op)))
        say('Overflow at step %d: %d operators leave their range, %d of them with operands within theirs' % (
            self._step, len(leaving), len(first)))
        if is_dumped:
            self._found += 1
            self._dump(run_context.session, first)

    def _dump(self, session: tf.Session, ops: List[tf.Operation]) -> None:
        """Runs the step again to get the values, writes the dumps, and puts the run back where it was."""
        after = self._replay.state(session)
        needed = set(ops) | {tensor.op for op in ops for tensor in op.inputs}
        operators = self._run.step.train_op.graph.get_operations()
        available = step_graph.with_values([op for op in operators if op in needed])
        self._replay.go_back(session, self._state, self._step)
        values = session.run(step_graph.fetches(step_graph.of_variables(available)))
        values.update(session.run([step_graph.fetches(step_graph.computed(available)), self._run.step.train_op])[0])
        self._replay.go_back(session, after, self._step + 1)
        self._write(ops, values)

    def _write(self, ops: List[tf.Operation], values: Dict[str, List[np.ndarray]]) -> None:
        now = time.time()
        directory = dump_files.npu_directory(
            self._path, time.strftime('%Y%m%d%H%M%S', time.localtime(now)), self._device_id, tensor_dump.MODEL_NAME,
            self._step)
        os.makedirs(directory, exist_ok=True)
        for place, op in enumerate(ops):
            timestamp = int(now * 1e6) + 2 * place
            dump = tensor_dump.operator_dump(op, values, 'all', place, timestamp)
            dump_files.write_npu(directory, dump)
            status = CUBE_ACCUMULATION if op.type in self._cube_types else TO_FLOAT16 if any(
                tensor in self._limits for tensor in op.outputs) else FLOATING_POINT
            overflow = Overflow(_MODEL_ID, dump.stream_id, dump.task_id, status)
            overflow_files.write(directory, overflow, timestamp + 1, len(ops) + place, self._is_old_form)


def _sources(op: tf.Operation, known: Set[tf.Operation]) -> Set[tf.Operation]:
    """The operators that compute an operator's operands: of the `known` ones, past those that only move values."""
    found, seen, open_ops = set(), {op}, [op]
    while open_ops:
        for tensor in open_ops.pop().inputs:
            if not tensor.dtype.base_dtype.is_floating or tensor.op in seen:
                continue
            seen.add(tensor.op)
            if tensor.op in known:
                found.add(tensor.op)
            if tensor.op not in known or tensor.op.type in ('Identity', 'Reshape'):
                open_ops.append(tensor.op)
    return found
