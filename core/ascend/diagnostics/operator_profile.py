"""--profiling off the NPU: the operators of the chosen steps, timed by TensorFlow, in the Ascend profiler's form.

The times are this machine's; types, data types and task types are the chip's, so that the profiler's own tools see the
network as they will see it on the chip. The graph is the one that trains without the switch, so an operator in which
core/cpu/kernels joins several is one task here, with the type of the main one.
"""
import re
import statistics
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

import tensorflow as tf
from tensorflow.python import pywrap_tensorflow

from core.ascend import chip_operators
from core.ascend.diagnostics import profile_files, step_graph
from core.ascend.diagnostics.profile_columns import metric_columns
from core.ascend.diagnostics.profile_files import Described, Iteration, ProfiledOperator
from core.log import say
from core.operators import row
from core.run import Clock

LARGEST = 10                   # operator types in the log
_BACKWARD = 'gradients'        # name scope of the operators that compute gradients
_LABEL = re.compile(r'= (\w+)\(')    # of a timeline's label, NAME = TYPE(INPUTS)
_DEVICE = re.compile(r'/device:CPU:\d+$|/device:GPU:\d+/stream:all$')     # that runs operators of the graph
_FIRST_GRADIENT = re.compile(_BACKWARD + r'(_\d+)?/Fill')   # of the loss by itself


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
    """

    def __init__(self, clock: Clock, request: ProfileRequest, narrow: Mapping[tf.Tensor, str]):
        self._clock, self._request, self._narrow = clock, request, narrow
        self._timed: List[Tuple[int, bytes]] = []      # step, its RunMetadata
        self._is_profiled = False
        self._seconds: Dict[bool, List[float]] = {True: [], False: []}     # of steps with and without profiling
        self._is_first = True

    def begin(self) -> None:
        graph = tf.get_default_graph()
        self._backward = backward_names(graph)
        self._describe = Describer(graph, self._request.chip, self._narrow)

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        kinds = [device.device_type for device in session.list_devices()]
        # A CPU's operators are in the less costly trace, too.
        self._trace = tf.RunOptions(
            trace_level=tf.RunOptions.FULL_TRACE if 'GPU' in kinds else tf.RunOptions.SOFTWARE_TRACE)
        session._call_tf_sessionrun = self._keeping_bytes(session._call_tf_sessionrun)

    def before_run(self, run_context: tf.train.SessionRunContext):
        self._is_profiled = self._request.first <= step_graph.next_step(self._clock) <= self._request.last
        self._started = time.monotonic()
        if self._is_profiled:
            return tf.train.SessionRunArgs(None, options=self._trace)
        return None

    def after_run(self, run_context, run_values) -> None:
        if not self._is_first:     # the first run of a session prepares the graph
            self._seconds[self._is_profiled].append(time.monotonic() - self._started)
        self._is_first = False
        step = self._clock.step - 1
        if self._is_profiled:      # described later, because that takes as long as a short step
            self._timed.append((step, self._metadata))
        if step >= self._request.last:
            self._write()

    def end(self, session: tf.Session) -> None:
        self._write()              # where the run ends before the last of these steps
        # The median, because a step that other hooks fetch more from than before prepares a graph of its own.
        rates = [self._request.images / statistics.median_low(seconds) for seconds in (
            self._seconds[True], self._seconds[False]) if seconds]
        if len(rates) == 2:
            say('Profile: %.1f images/s with profiling, %.1f without' % tuple(rates))

    def _keeping_bytes(self, run: Callable) -> Callable:
        """`run`, a session's, that keeps the RunMetadata of a profiled step as it is.

        To make messages of it takes up to a sixth of a short step. Hooks that run the session give no buffer for it.
        """
        def call(options, feeds, fetches, targets, metadata):
            if not self._is_profiled or metadata is None:
                return run(options, feeds, fetches, targets, metadata)
            kept = pywrap_tensorflow.TF_NewBuffer()
            try:
                values = run(options, feeds, fetches, targets, kept)
                self._metadata = pywrap_tensorflow.TF_GetBuffer(kept)
                return values
            finally:
                pywrap_tensorflow.TF_DeleteBuffer(kept)
        return call

    def _write(self) -> None:
        """Writes what has been timed and not yet written."""
        if not self._timed:
            return
        request = self._request
        steps = [(step, self._describe.operators(tf.RunMetadata.FromString(metadata).step_stats))
                 for step, metadata in self._timed]
        self._timed = []
        operators = [operator for _, of_step in steps for operator in of_step]
        iterations = [iteration_of(step, of_step, self._backward) for step, of_step in steps]
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


class Describer:
    """Makes the profiler's rows of what TensorFlow timed.

    graph: the training graph; chip: of table.CHIPS; narrow: {tensor: type} of what the emulation narrows.
    """

    def __init__(self, graph: tf.Graph, chip: str, narrow: Mapping[tf.Tensor, str]):
        self._known = {op.name: op for op in graph.get_operations()}
        self._forms, self._chip = chip_operators.Forms(graph, narrow), chip
        self._joined: Set[str] = set()       # types that were in what operators() has seen

    def operators(self, step_stats: Any) -> List[ProfiledOperator]:
        """The tasks in a StepStats message, by start: what the chip does not run, and the host's threads, are left out.

        Grappler's names have the names of the user's graph in them.
        """
        devices = [device for device in step_stats.dev_stats if _DEVICE.search(device.device)]
        streams = {thread: number for number, thread in enumerate(sorted({
            node.thread_id for device in devices for node in device.node_stats}))}
        found = []
        for device in devices:
            for node in device.node_stats:
                name, op_type = _name_and_type(node, self._known)
                task_type = op_type and chip_operators.task_type(op_type, self._chip)
                if not task_type or step_graph.ROUNDING in name:
                    continue
                if row(op_type).has('joined'):
                    self._joined.add(op_type)
                start = node.all_start_micros + node.op_start_rel_micros
                duration = max(node.op_end_rel_micros - node.op_start_rel_micros, 0)
                op = self._known.get(name)
                inputs = [self._input(tensor) for tensor in op.inputs if tensor.dtype != tf.resource] if op else []
                outputs = [self._output(op, output) for output in node.output]
                found.append(ProfiledOperator(name, chip_operators.chip_type(op_type), task_type, start, duration,
                                              streams[node.thread_id], inputs, outputs))
        return sorted(found, key=lambda operator: operator.start)

    def notes(self) -> List[str]:
        """A line about operators that stand for several of the chip's; none where there were none."""
        return ['Profile: one task here, several on an NPU: %s' % ', '.join(
            '%s (as %s)' % (joined, row(joined).chip) for joined in sorted(self._joined))] if self._joined else []

    def _input(self, tensor: tf.Tensor) -> Described:
        shape = ['?' if size is None else size for size in tensor.shape.as_list()] if tensor.shape.ndims is not None \
            else ['?']
        return self._described(tensor, tuple(shape))

    def _output(self, op: Optional[tf.Operation], output: Any) -> Described:
        description = output.tensor_description
        shape = tuple(dim.size for dim in description.shape.dim)
        if op and output.slot < len(op.outputs):
            return self._described(op.outputs[output.slot], shape)
        return Described(shape, chip_operators.profiler_type(tf.as_dtype(description.dtype).base_dtype.name), 'ND')

    def _described(self, tensor: tf.Tensor, shape: Tuple[Any, ...]) -> Described:
        return Described(shape, chip_operators.profiler_type(self._forms.data_type(tensor)),
                         self._forms.layout(tensor, len(shape)))


def _name_and_type(node: Any, known: Mapping[str, tf.Operation]) -> Tuple[str, Optional[str]]:
    """(name, TensorFlow type) of a NodeExecStats; the type is None where it is unknown."""
    if ':' in node.node_name:      # in a GPU's stream: NAME:TYPE
        name, op_type, *_ = node.node_name.split(':')
        return name, op_type
    label = _LABEL.search(node.timeline_label)
    op = known.get(node.node_name)
    return node.node_name, label.group(1) if label else op.type if op else None


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
