"""--profiling off the NPU: the operators of the chosen steps, timed by TensorFlow, in the Ascend profiler's form.

The times are this machine's; types, data types and task types are the chip's, so that the profiler's own tools see the
network as they will see it on the chip. The graph is the one that trains without the switch, so an operator in which
core/cpu/kernels joins several is one task here, with the type of the main one.
"""
import bisect
import ctypes
import re
import statistics
import time
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Set

import tensorflow as tf
from tensorflow.core.protobuf.trace_events_pb2 import Trace
from tensorflow.python import pywrap_tensorflow_internal
from tensorflow.python.eager import profiler

from core.ascend import chip_operators
from core.ascend.diagnostics import profile_files, step_graph
from core.ascend.diagnostics.profile_columns import metric_columns
from core.ascend.diagnostics.profile_files import Described, Iteration, ProfiledOperator
from core.log import say
from core.operators import row
from core.run import Clock

LARGEST = 10                   # operator types in the log
_BACKWARD = 'gradients'        # name scope of the operators that compute gradients
_RUN = re.compile(r'id=(-?\d+),device=\S*/device:CPU:\d+,async=(true|false)')     # the label of an operator of a CPU
_STREAM = re.compile(r'/device:GPU:\d+/stream:all$')      # the device of a GPU's operators
_FIRST_GRADIENT = re.compile(_BACKWARD + r'(_\d+)?/Fill')   # of the loss by itself
# TensorFlow's profiler leaves out operators of less than some 5,000 cycles, because it traces at level 2.
_LEVEL_OF_ALL = 3
_LEVEL = '_ZN10tensorflow8profiler15TraceMeRecorder12trace_level_E'
_PICOSECONDS = 10 ** 6         # of a microsecond


class ProfileRequest(NamedTuple):
    """What to profile, as the switches set it."""
    folder: str
    first: int                     # profiled steps, counted from 0
    last: int
    images: int                    # examples a step, of all ranks
    chip: str                      # of table.CHIPS
    aic_metrics: str = 'PipeUtilization'
    device_id: int = 0


class Profile(tf.train.SessionRunHook):
    """Times every operator of the steps in `request`.

    clock: `step` is the number of finished steps; narrow: {tensor: type} of what the emulation makes narrow.
    TensorFlow's profiler costs a fifth of what its trace of a session.run does (RunOptions.trace_level), which makes a
    step of many small operators a third longer.
    """

    def __init__(self, clock: Clock, request: ProfileRequest, narrow: Mapping[tf.Tensor, str]):
        self._clock, self._request, self._narrow = clock, request, narrow
        self._is_tracing = self._is_profiled = False
        self._seconds: Dict[bool, List[float]] = {True: [], False: []}     # of steps with and without profiling
        self._is_first = True

    def begin(self) -> None:
        graph = tf.get_default_graph()
        with tf.device('/cpu:0'):                  # because timed_steps() looks for it there
            self._mark = tf.no_op('profiled_step')     # tells a step from what hooks run, the step again too
        self._backward = backward_names(graph)
        self._describe = Describer(graph, self._request.chip, self._narrow)

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs:
        step = step_graph.next_step(self._clock)
        self._is_profiled = self._request.first <= step <= self._request.last
        if self._is_profiled and not self._is_tracing:
            self._is_tracing, self._first, self._origin = True, step, round(time.time() * 10 ** 6)
            profiler.start()
            library = ctypes.CDLL(pywrap_tensorflow_internal._pywrap_tensorflow_internal.__file__)
            ctypes.c_int.in_dll(library, _LEVEL).value = _LEVEL_OF_ALL
        self._started = time.monotonic()
        return tf.train.SessionRunArgs(self._mark)     # in every step, because other fetches are another graph

    def after_run(self, run_context, run_values) -> None:
        if not self._is_first:     # the first run of a session prepares the graph
            self._seconds[self._is_profiled].append(time.monotonic() - self._started)
        self._is_first = False
        if self._clock.step > self._request.last:
            self._write()

    def end(self, session: tf.Session) -> None:
        self._write()              # where the run ends before the last of these steps
        # The median, because a step that other hooks fetch more from than before prepares a graph of its own.
        rates = [self._request.images / statistics.median_low(seconds) for seconds in (
            self._seconds[True], self._seconds[False]) if seconds]
        if len(rates) == 2:
            say('Profile: %.1f images/s with profiling, %.1f without' % tuple(rates))

    def _write(self) -> None:
        """Writes what is traced and not yet written."""
        if not self._is_tracing:
            return
        self._is_tracing = False
        request, steps = self._request, timed_steps(Trace.FromString(profiler.stop()), self._mark.name)
        described = [self._describe.operators(timed, self._origin) for timed in steps]
        operators = [operator for of_step in described for operator in of_step]
        iterations = [iteration_of(self._first + i, of_step, self._backward) for i, of_step in enumerate(described)]
        directory = profile_files.new_directory(request.folder)
        profile_files.write(directory, operators, iterations, request.device_id,
                            metric_columns(request.aic_metrics, request.chip))
        say('Profile of %d steps: %s' % (len(iterations), directory))
        for line in summary(operators, iterations) + self._describe.notes():
            say(line)


class ExportedProfile(tf.train.SessionRunHook):
    """On an NPU: logs at the end what the profiler's own export below `folder` holds, where there is one."""

    def __init__(self, folder: str):
        self._folder = folder

    def end(self, session: tf.Session) -> None:
        for line in profile_files.exported_summary(self._folder, LARGEST):
            say(line)


def summary(operators: List[ProfiledOperator], iterations: List[Iteration]) -> List[str]:
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


class Timed(NamedTuple):
    """One run of one of TensorFlow's operators. Times are microseconds."""
    name: str
    op_type: str
    start: float                   # since the profiler has begun
    duration: float
    thread: int
    is_async: bool                 # the duration is that of asking for the result


def timed_steps(trace: Trace, mark: str) -> List[List[Timed]]:
    """The operators of each step that the profiler has seen, by start.

    mark: the name of the operator that tells a step from other runs of sessions. The operators of a CPU have the number
    of their run in their label; those of a GPU belong to the step in which they start.
    """
    runs: Dict[str, List[Timed]] = {}
    of_streams = []
    for event in trace.trace_events:
        name, op_type, *_ = (event.args['long name'] + ':').split(':')     # NAME:TYPE
        label = _RUN.match(event.args['label'])
        one = Timed(name, op_type, event.timestamp_ps / _PICOSECONDS, event.duration_ps / _PICOSECONDS,
                    event.resource_id, bool(label) and label.group(2) == 'true')
        if label:
            runs.setdefault(label.group(1), []).append(one)
        elif _STREAM.search(trace.devices[event.device_id].name):
            of_streams.append(one)
    steps = sorted((sorted(run, key=_start) for run in runs.values() if any(one.name == mark for one in run)),
                   key=lambda step: step[0].start)
    starts = [step[0].start for step in steps]
    for one in of_streams:
        if starts and one.start >= starts[0]:
            steps[bisect.bisect(starts, one.start) - 1].append(one)
    return [sorted(step, key=_start) for step in steps]


def _start(timed: Timed) -> float:
    return timed.start


class Describer:
    """Makes the profiler's rows of what TensorFlow timed.

    graph: the training graph; chip: of table.CHIPS; narrow: {tensor: type} of what the emulation narrows.
    """

    def __init__(self, graph: tf.Graph, chip: str, narrow: Mapping[tf.Tensor, str]):
        self._known = {op.name: op for op in graph.get_operations()}
        self._forms, self._chip = chip_operators.Forms(graph, narrow), chip
        self._joined: Set[str] = set()       # types that were in what operators() has seen

    def operators(self, step: Iterable[Timed], origin: float) -> List[ProfiledOperator]:
        """The tasks of a step, by start, without what the chip does not run.

        origin: when the profiler began, in microseconds since 1970. Grappler's names have the names of the user's graph
        in them.
        """
        step = list(step)
        streams = {thread: number for number, thread in enumerate(sorted({one.thread for one in step}))}
        starts = {one.name: one.start for one in reversed(step)}
        found = []
        for one in step:
            task_type = chip_operators.task_type(one.op_type, self._chip)
            if not task_type or step_graph.ROUNDING in one.name:
                continue
            if row(one.op_type).has('joined'):
                self._joined.add(one.op_type)
            op = self._known.get(one.name)
            inputs = [self._described(tensor) for tensor in op.inputs if tensor.dtype != tf.resource] if op else []
            outputs = [self._described(tensor) for tensor in op.outputs] if op else []
            found.append(ProfiledOperator(
                one.name, chip_operators.chip_type(one.op_type), task_type, origin + one.start,
                _until_used(one, op, starts) if one.is_async and op else one.duration,
                streams[one.thread], inputs, outputs))
        return found

    def notes(self) -> List[str]:
        """A line about operators that stand for several of the chip's; none where there were none."""
        return ['Profile: one task here, several on an NPU: %s' % ', '.join(
            '%s (as %s)' % (joined, row(joined).chip) for joined in sorted(self._joined))] if self._joined else []

    def _described(self, tensor: tf.Tensor) -> Described:
        shape = ['?' if size is None else size for size in tensor.shape.as_list()] if tensor.shape.ndims is not None \
            else ['?']
        return Described(tuple(shape), chip_operators.profiler_type(self._forms.data_type(tensor)),
                         self._forms.layout(tensor, len(shape)))


def _until_used(timed: Timed, op: tf.Operation, starts: Mapping[str, float]) -> float:
    """The microseconds until the first operator begins that takes a result of `op`; starts: {name: its start}."""
    users = [starts[user.name] for tensor in op.outputs for user in tensor.consumers() if user.name in starts]
    return min(users, default=timed.start + timed.duration) - timed.start


def backward_names(graph: tf.Graph) -> Set[str]:
    """The operators of the backward pass that wait for the forward pass.

    They depend on the batch and on d loss / d loss, with which the backward pass begins. Others in the scope of the
    gradients (shapes, constants, the gradients of regularization) may run at any time before.
    """
    ops = graph.get_operations()
    of_batch = _depending([op for op in ops if row(op.type).has('wait')])
    of_loss = _depending([op for op in ops if _FIRST_GRADIENT.fullmatch(op.name)])
    return {op.name for op in of_batch & of_loss if op.name.startswith(_BACKWARD) and not _writes(op)}


def _writes(op: tf.Operation) -> bool:
    return row(op.type).has('update') or row(op.type).has('writes')


def _depending(ops: List[tf.Operation]) -> Set[tf.Operation]:
    """The operators that depend on `ops` through floating-point tensors."""
    found, open_ops = set(), list(ops)
    while open_ops:
        for tensor in open_ops.pop().outputs:
            if tensor.dtype.base_dtype.is_floating:
                new = set(tensor.consumers()) - found
                found |= new
                open_ops += new
    return found


def iteration_of(step: int, operators: List[ProfiledOperator], backward: Set[str]) -> Iteration:
    """Where the parts of a step begin and end; backward: of backward_names()."""
    start, end = operators[0].start, max(op.start + op.duration for op in operators)
    waiting = [op for op in operators if row(op.op_type).has('wait')]
    got = max((op.start + op.duration for op in waiting), default=start)
    late = [op for op in operators if op.name in backward]
    backward_start: Optional[float] = min((op.start for op in late), default=None)
    backward_end = max((op.start + op.duration for op in late), default=end)
    return Iteration(step, start, got, got, end if backward_start is None else max(backward_start, got),
                     max(backward_end, got), end)
