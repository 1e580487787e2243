"""--profiling off the NPU: the operators of the chosen steps, timed by TensorFlow, in the Ascend profiler's form."""
import re
import time
from typing import Any, Dict, List, Optional, Set, Tuple

import tensorflow as tf

from core.ascend.diagnostics import profile_files, step_graph
from core.ascend.diagnostics.profile_files import Iteration, Operator
from core.log import say

LARGEST = 10                   # operator types told in the log
_BACKWARD = 'gradients'        # name scope of the operators that compute gradients
_LABEL = re.compile(r'= (\w+)\(')    # of a timeline's label, NAME = TYPE(INPUTS)
_WAITS = 'IteratorGetNext'
_FIRST_GRADIENT = re.compile(_BACKWARD + r'(_\d+)?/Fill')   # of the loss by itself
_UPDATES = re.compile(r'(Resource)?Apply|Assign')


class Profile(tf.train.SessionRunHook):
    """Times every operator of the steps from `first` to `last`, counted from 0.

    clock: whose `step` is the number of finished steps; images: examples a step, of all ranks.
    """

    def __init__(self, clock: Any, folder: str, first: int, last: int, images: int, device_id: int):
        self._clock, self._folder, self._first, self._last = clock, folder, first, last
        self._images, self._device_id = images, device_id
        self._operators: List[Operator] = []
        self._iterations: List[Iteration] = []
        self._seconds: Dict[bool, List[float]] = {True: [], False: []}     # of steps with and without profiling
        self._is_written = False

    def begin(self) -> None:
        self._backward = backward_names(tf.get_default_graph())

    def before_run(self, run_context: tf.train.SessionRunContext):
        self._is_profiled = self._first <= step_graph.next_step(self._clock) <= self._last
        self._started = time.time()
        if self._is_profiled:
            return tf.train.SessionRunArgs(None, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE))
        return None

    def after_run(self, run_context, run_values) -> None:
        self._seconds[self._is_profiled].append(time.time() - self._started)
        step = self._clock.step - 1
        if self._is_profiled:
            operators = operators_of(run_values.run_metadata.step_stats, run_context.session.graph)
            self._operators += operators
            self._iterations.append(iteration_of(step, operators, self._backward))
        if step >= self._last and not self._is_written:
            self._write()

    def end(self, session: tf.Session) -> None:
        if self._operators and not self._is_written:  # the run is shorter than the steps that were asked for
            self._write()
        plain = self._seconds[False][1:] or self._seconds[False]  # the first step prepares the graph
        rates = [self._images * len(seconds) / sum(seconds) for seconds in (self._seconds[True], plain) if seconds]
        if len(rates) == 2:
            say('Profile: %.1f images/s with profiling, %.1f without' % tuple(rates))

    def _write(self) -> None:
        self._is_written = True
        directory = profile_files.new_directory(self._folder)
        profile_files.write(directory, self._operators, self._iterations, self._device_id)
        say('Profile of %d steps: %s' % (len(self._iterations), directory))
        for line in summary(self._operators, self._iterations):
            say(line)


class ExportedProfile(tf.train.SessionRunHook):
    """On an NPU: says at the end what the profiler's own export below `folder` holds, where there is one."""

    def __init__(self, folder: str):
        self._folder = folder

    def end(self, session: tf.Session) -> None:
        for line in profile_files.exported_summary(self._folder, LARGEST):
            say(line)


def summary(operators: List[Operator], iterations: List[Iteration]) -> List[str]:
    """Lines about the largest operator types and how a step's time splits."""
    total = sum(op.duration for op in operators) or 1.
    lines = []
    for op_type, durations in list(profile_files.by_type(operators).items())[:LARGEST]:
        spent = sum(durations)
        lines.append('Profile: %5.1f%% %10.3f ms a step in %d %s' % (
            100 * spent / total, spent / 1000 / len(iterations), len(durations) // len(iterations), op_type))
    split = {part: sum(one.split[part] for one in iterations) / len(iterations) / 1000 for part in iterations[0].split}
    lines.append('Profile: of a step ' + ', '.join('%s %.3f ms' % item for item in split.items()))
    return lines


def operators_of(step_stats: Any, graph: tf.Graph) -> List[Operator]:
    """The Operators in a StepStats message. Names that Grappler made keep those of the user's graph in them."""
    known = {op.name: op for op in graph.get_operations()}
    found = []
    for device in step_stats.dev_stats:
        for node in device.node_stats:
            label = _LABEL.search(node.timeline_label)
            op = known.get(node.node_name)
            op_type = label.group(1) if label else op.type if op else node.timeline_label.split()[0:1]
            if not op_type or op_type in ('NoOp', 'Const'):
                continue
            start = node.all_start_micros + node.op_start_rel_micros
            duration = max(node.op_end_rel_micros - node.op_start_rel_micros, 0)
            outputs = [_described(output.tensor_description) for output in node.output]
            inputs = [_of_tensor(tensor) for tensor in op.inputs] if op else []
            found.append(Operator(node.node_name, str(op_type), start, duration, node.thread_id, inputs, outputs))
    return sorted(found, key=lambda operator: operator.start)


def _described(description: Any) -> Tuple[Tuple[int, ...], str]:
    return tuple(dim.size for dim in description.shape.dim), tf.as_dtype(description.dtype).name


def _of_tensor(tensor: tf.Tensor) -> Tuple[Tuple[Any, ...], str]:
    shape = tuple('?' if size is None else size for size in tensor.shape.as_list()) if tensor.shape.ndims is not None \
        else ('?',)
    return shape, tensor.dtype.base_dtype.name


def backward_names(graph: tf.Graph) -> Set[str]:
    """The operators of the backward pass that wait for the forward pass.

    They depend on the batch and on the gradient of the loss by itself. Others in the scope of the gradients (shapes,
    constants, the gradients of regularization) may run at any time before.
    """
    ops = graph.get_operations()
    of_batch = _depending([op for op in ops if op.type == _WAITS])
    of_loss = _depending([op for op in ops if _FIRST_GRADIENT.fullmatch(op.name)])
    return {op.name for op in of_batch & of_loss if op.name.startswith(_BACKWARD) and not _UPDATES.match(op.type)}


def _depending(ops: List[tf.Operation]) -> Set[tf.Operation]:
    """The operators that what `ops` compute reaches, through floating-point tensors."""
    found, open_ops = set(), list(ops)
    while open_ops:
        for tensor in open_ops.pop().outputs:
            if tensor.dtype.base_dtype.is_floating:
                new = set(tensor.consumers()) - found
                found |= new
                open_ops += new
    return found


def iteration_of(step: int, operators: List[Operator], backward: Set[str]) -> Iteration:
    """Where the parts of a step begin and end; backward: of backward_names()."""
    start, end = operators[0].start, max(op.start + op.duration for op in operators)
    waiting = [op for op in operators if op.op_type == _WAITS]
    got = max((op.start + op.duration for op in waiting), default=start)
    late = [op for op in operators if op.name in backward]
    backward_start: Optional[float] = min((op.start for op in late), default=None)
    backward_end = max((op.start + op.duration for op in late), default=end)
    return Iteration(step, start, got, got, end if backward_start is None else max(backward_start, got),
                     max(backward_end, got), end)
