"""--data_dump_flag off the NPU: the tensors of the chosen steps, as ground truth or in the NPU's form.

The tensors are fetched beside the training step. TensorFlow's debugger would watch the graph that Grappler has made of
it, in which operators are merged, renamed or gone; what is fetched is kept under its own name.
"""
import csv
import math
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from core.ascend.chip_operators import Forms, chip_type, ge_type
from core.ascend.diagnostics import dump_files, ge_graph, step_graph
from core.ascend.diagnostics.dump_files import OperatorDump, Tensor
from core.ascend.emulation.emulation import NO_EMULATION, Emulation
from core.errors import InputError
from core.log import say
from core.run import Clock
from core.settings import kinds

STATISTICS = ('Input/Output', 'Index', 'Data Size', 'Data Type', 'Format', 'Shape', 'Max Value', 'Min Value',
              'Avg Value', 'Count', 'Nan Count', 'Negative Inf Count', 'Positive Inf Count')
MODEL_NAME = 'ge_default_1'    # of the only graph that is dumped


class DumpRequest(NamedTuple):
    """What to dump, as the switches set it."""
    path: str                      # dump_path
    steps: str                     # dump_step: 0|5|10-20; '' for all
    mode: str = 'all'              # dump_mode: input, output, all
    layers: str = ''               # dump_layer
    data: str = 'tensor'           # dump_data: tensor, stats
    form: str = 'cpu'              # cpu: ground truth, npu: dump files
    device_id: int = 0

    def is_due(self, step: int) -> bool:
        """Whether step number `step`, counted from 0, is dumped."""
        if not self.steps:
            return True
        return any(first <= step <= last for first, last in kinds.ranges_of(self.steps))

    def due_steps(self, total: int) -> int:
        """How many of the `total` steps of a run are dumped."""
        if not self.steps:
            return total
        count = counted = 0                # of the due steps; steps below it are looked at
        for first, last in sorted(kinds.ranges_of(self.steps)):
            first, end = max(first, counted), min(last + 1, total)
            count, counted = count + max(end - first, 0), max(end, counted)
        return count


class Dump(tf.train.SessionRunHook):
    """Writes the tensors of the steps in `request`; other steps run as without it.

    clock: `step` is the number of finished steps; targets: the operators that a step runs; steps: the length of
    the run; done: what the emulation has made of the graph: narrow tensors are dumped in their narrow type.
    Raises InputError before the first step when the tensors will not fit on the disk.
    """

    def __init__(self, request: DumpRequest, clock: Clock, targets: Sequence[tf.Operation], steps: int,
                 done: Emulation = NO_EMULATION):
        self._request, self._clock, self._targets, self._steps = request, clock, targets, steps
        self._done = done

    def begin(self) -> None:
        available = step_graph.with_values(step_graph.operators(self._targets))
        own = [op for op in available if step_graph.ROUNDING not in op.name]
        self._ops = step_graph.named(own, self._request.layers)
        needed = set(self._ops)
        if _writes_inputs(self._request):
            needed.update(op for operator in self._ops for op in map(source, operator.inputs))
        self._step_values = step_graph.StepValues([op for op in available if op in needed], self._done.narrow)
        self._ops = [op for op in self._ops if op in self._step_values]
        self._forms = Forms(self._targets[0].graph, self._done.types, self._done.wide)
        due_steps = self._request.due_steps(self._steps)
        check_disk(self._request, self._ops, due_steps)
        if due_steps:
            ge_graph.write(self._request.path, MODEL_NAME, own, self._forms)

    def before_run(self, run_context: tf.train.SessionRunContext):
        self._is_due = self._request.is_due(step_graph.next_step(self._clock))
        if not self._is_due:
            return None
        self._values = self._step_values.before(run_context.session)
        return tf.train.SessionRunArgs(self._step_values.beside)

    def after_run(self, run_context, run_values) -> None:
        if self._is_due:
            self._values.update(run_values.results, **self._step_values.after(run_context.session))
            directory = write(self._request, self._ops, self._values, self._clock.step - 1, self._forms)
            say('Step %d dumped: %d operators, in %s' % (self._clock.step - 1, len(self._ops), directory))


def check_disk(request: DumpRequest, ops: Sequence[tf.Operation], steps: int) -> None:
    """Raises InputError when the dumps of so many steps are larger than what is free below request.path.

    A dimension that only the run knows counts as 1.
    """
    if request.data == 'stats':
        return
    size = steps * sum(_bytes(tensor) for op in ops for tensor in _dumped(op, request))
    free = shutil.disk_usage(_existing(request.path)).free
    if size > free:
        raise InputError('--data_dump_flag=True: %d steps of %d operators are %d bytes, and %s has %d free; dump fewer '
                         'with --data_dump_step=N, --dump_layer="NAME NAME" or --dump_data=stats' % (
                             steps, len(ops), size, request.path, free))


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _writes_inputs(request: DumpRequest) -> bool:
    return request.mode != 'output' and (request.form == 'npu' or request.data == 'stats')


def _dumped(op: tf.Operation, request: DumpRequest) -> List[tf.Tensor]:
    return step_graph.results(op) + (list(op.inputs) if _writes_inputs(request) else [])


def _bytes(tensor: tf.Tensor) -> int:
    size = tensor.dtype.base_dtype.size
    for dimension in tensor.shape.as_list() if tensor.shape.ndims is not None else ():
        size *= dimension or 1
    return size


def write(request: DumpRequest, ops: Sequence[tf.Operation], values: Dict[str, List[np.ndarray]], step: int,
          forms: Forms) -> str:
    """Writes the dump of one step; values: {operator's name: its outputs}. Returns the directory.

    Operators get timestamps a microsecond apart, in graph order, so that a reader of the dump knows the order.
    """
    now = time.time()
    stamp = time.strftime('%Y%m%d%H%M%S', time.localtime(now))
    if request.form == 'npu' or request.data == 'stats':
        directory = dump_files.npu_directory(request.path, stamp, request.device_id, MODEL_NAME, step)
    else:
        directory = os.path.join(request.path, stamp, str(step))
    os.makedirs(directory, exist_ok=True)
    if request.form != 'npu' and request.data != 'stats':
        started = int(now * 1e6)
        files = iter([(op.name, index, array, started + number)
                      for number, op in enumerate(ops) for index, array in enumerate(values[op.name])])
        threads = len(os.sched_getaffinity(0))

        def write_some(_):
            for file in files:         # the next that no thread has; each copies into the system's memory
                dump_files.write_ground_truth(directory, *file)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(write_some, range(threads)))
        return directory
    for number, op in enumerate(ops):
        timestamp = int(now * 1e6) + number
        dump = operator_dump(op, values, request.mode, number, timestamp, forms)
        if request.data == 'stats':
            write_statistics(dump_files.named_file(directory, dump.file_name) + '.csv', dump)
        else:
            dump_files.write_npu(directory, dump)
    return directory


def source(operand: tf.Tensor) -> tf.Operation:
    """The operator that computes an operand; inside a tf.cond the operand of an update is a Switch of it."""
    variable = step_graph.variable_of(operand)
    return operand.op if variable is None else variable.op


def operator_dump(op: tf.Operation, values: Dict[str, List[np.ndarray]], mode: str, task_id: int,
                  timestamp: int, forms: Forms) -> OperatorDump:
    """The OperatorDump of one operator; mode: input, output or all."""
    def tensor(of, data_type, array, name='', index=0):
        array = np.asarray(array)
        layout = forms.layout(of, array.ndim)
        return Tensor(dump_files.in_type(array, data_type), layout, array.shape, layout, name, index, data_type)

    inputs = [tensor(operand, forms.operand_type(op, operand), values[source(operand).name][operand.value_index])
              for operand in op.inputs if _has_value(operand, values)] if mode != 'output' else []
    outputs = [tensor(of, forms.data_type(of), array, op.name, index) for index, (of, array) in enumerate(
        zip(op.outputs, values[op.name]))] if mode != 'input' else []
    return OperatorDump(chip_type(op.type), op.name, inputs, outputs, task_id, 0, timestamp)


def _has_value(operand: tf.Tensor, values: Dict[str, List[np.ndarray]]) -> bool:
    op = source(operand)
    return op.name in values and operand.value_index < len(step_graph.results(op))


def write_statistics(path: str, dump: OperatorDump) -> None:
    """One operator's statistics as --dump_data=stats has them on an NPU: a csv, one row for each tensor."""
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(STATISTICS)
        for kind, tensors in (('Input', dump.inputs), ('Output', dump.outputs)):
            for index, tensor in enumerate(tensors):
                writer.writerow([kind, index, *_statistics(tensor)])


def _statistics(tensor: Tensor) -> List[Any]:
    numbers = dump_files.values_of(tensor.array, tensor.data_type).astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    shape = 'x'.join(map(str, tensor.array.shape))
    extremes = [finite.max(), finite.min(), finite.mean()] if finite.size else [math.nan] * 3
    return [tensor.array.nbytes, ge_type(tensor.data_type), tensor.format, shape, *('%.6g' % x for x in extremes),
            numbers.size, int(np.isnan(numbers).sum()), int(np.isneginf(numbers).sum()),
            int(np.isposinf(numbers).sum())]
