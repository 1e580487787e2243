"""A profile as the Ascend profiler exports it: PROF_.../mindstudio_profiler_output/ with csv files and a timeline.

Columns and events are as in msprof's export (July 2026), so that its viewers and scripts open what a CPU or
GPU measured; what such a device cannot know is N/A.
"""
import csv
import glob
import io
import json
import os
import random
import string
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from core import files
from core.ascend.chip_operators import COMMUNICATION
from core.errors import InputError
from core.operators import chip_name
from core.settings import kinds

OUTPUT = 'mindstudio_profiler_output'
UNKNOWN = 'N/A'
OP_SUMMARY = (
    'Device_id', 'Model ID', 'Task ID', 'Stream ID', 'Op Name', 'OP Type', 'OP State', 'Task Type',
    'Task Start Time(us)', 'Task Duration(us)', 'Task Wait Time(us)', 'Block Num', 'Mix Block Num', 'HF32 Eligible',
    'Input Shapes', 'Input Data Types', 'Input Formats', 'Output Shapes', 'Output Data Types', 'Output Formats',
    'Context ID')               # aic_metrics adds the columns in profile_columns.py
OP_STATISTIC = ('Device_id', 'OP Type', 'Core Type', 'Count', 'Total Time(us)', 'Min Time(us)', 'Avg Time(us)',
                'Max Time(us)', 'Ratio(%)')
STEP_TRACE = ('Device_id', 'Iteration ID', 'FP Start(us)', 'BP End(us)', 'Iteration End(us)', 'Iteration Time(us)',
              'FP to BP Time(us)', 'Iteration Refresh(us)', 'Data Aug Bound(us)', 'Model ID')
_MODEL_ID = 1


class Described(NamedTuple):
    """An input or output of an operator, in the profiler's words."""
    shape: Tuple[Any, ...]
    data_type: str                 # FLOAT, FLOAT16, ...
    format: str                    # ND, NHWC, HWCN, ...


class ProfiledOperator(NamedTuple):
    """One run of one operator. Times are microseconds since 1970."""
    name: str
    op_type: str                   # the chip's
    task_type: str                 # AI_CORE, AI_VECTOR_CORE, AI_CPU or COMMUNICATION: where the chip would run it
    start: float
    duration: float
    stream: int                    # number of the thread that ran it
    inputs: Sequence[Described] = ()
    outputs: Sequence[Described] = ()


class Iteration(NamedTuple):
    """One training step. Times are microseconds since 1970."""
    number: int                    # of the step
    get_next_start: float          # the step begins to wait for its batch
    get_next_end: float
    forward_start: float
    backward_start: float
    backward_end: float
    end: float

    @property
    def split(self) -> Dict[str, float]:
        """{part: microseconds}: waiting for the input, forward pass, backward pass, update of the weights."""
        return {'input waiting': self.get_next_end - self.get_next_start,
                'forward': self.backward_start - self.forward_start,
                'backward': self.backward_end - self.backward_start,
                'update': self.end - self.backward_end}


def new_directory(folder: str) -> str:
    """Makes PROF_{6 digits}_{time}_{8 letters}/mindstudio_profiler_output below `folder`; returns its path."""
    now = time.time()
    draw = random.SystemRandom()
    name = 'PROF_%06d_%s%03d_%s' % (
        draw.randrange(10 ** 6), time.strftime('%Y%m%d%H%M%S', time.localtime(now)), now % 1 * 1000,
        ''.join(draw.choice(string.ascii_uppercase) for _ in range(8)))
    path = os.path.join(folder, name, OUTPUT)
    os.makedirs(path)
    return path


def write(directory: str, operators: Iterable[ProfiledOperator], iterations: Iterable[Iteration], device_id: int,
          metrics: Sequence[str]) -> None:
    """Writes op_summary, op_statistic and step_trace as csv, and the timeline as JSON, into `directory`.

    metrics: the columns that aic_metrics adds to op_summary.
    """
    operators = sorted(operators, key=lambda op: op.start)
    iterations = list(iterations)
    stamp = time.strftime('%Y%m%d%H%M%S')
    for name, columns, rows in (
            ('op_summary', OP_SUMMARY + tuple(metrics), _summary_rows(operators, device_id, len(metrics))),
            ('op_statistic', OP_STATISTIC, _statistic_rows(operators, device_id)),
            ('step_trace', STEP_TRACE, _step_rows(iterations, device_id))):
        with open(os.path.join(directory, '%s_%s.csv' % (name, stamp)), 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
    with open(os.path.join(directory, 'msprof_%s.json' % stamp), 'w') as file:
        json.dump(_timeline(operators, iterations), file)


def exported_summary(folder: str, largest: int) -> List[str]:
    """Lines about the newest export below `folder`: the `largest` operator types and the mean step; [] without one."""
    exports = sorted(glob.glob(os.path.join(glob.escape(folder), 'PROF_*', OUTPUT)), key=os.path.getmtime)
    if not exports:
        return []
    try:
        return ['Profile: %s' % exports[-1]] + _summary(exports[-1], largest)
    except (ValueError, KeyError) as error:  # a training that is done does not fail for it
        return ['Profile: %s: not the form that is known: %s' % (exports[-1], error)]


def _summary(export, largest):
    lines = []
    for row in _rows_of(export, 'op_statistic')[:largest]:
        lines.append('Profile: %5s%% %10s us in %s %s' % (
            row['Ratio(%)'], row['Total Time(us)'], row['Count'], row['OP Type']))
    steps = _rows_of(export, 'step_trace')
    for column in ('Iteration Time(us)', 'FP to BP Time(us)', 'Iteration Refresh(us)', 'Data Aug Bound(us)'):
        known = [float(row[column]) for row in steps if row.get(column, UNKNOWN) != UNKNOWN]
        if known:
            lines.append('Profile: mean %s of %d steps: %.3f' % (column, len(known), sum(known) / len(known)))
    return lines


def seconds_by_type(path: str) -> Dict[str, float]:
    """{operator type: seconds a step} of an op_summary_*.csv, of the mean of the runs of each operator.

    ReduceMean and ReduceMeanD are one type. Raises InputError for a file of another form.
    """
    runs: Dict[Tuple[str, str], List[float]] = {}
    try:
        for row in csv.DictReader(io.StringIO(files.text(path), newline='')):
            key = chip_name(row['OP Type'].strip()), row['Op Name'].strip()
            runs.setdefault(key, []).append(kinds.number(least=0).parse(row['Task Duration(us)'].strip()) * 1e-6)
    except (ValueError, KeyError, AttributeError, csv.Error) as error:
        raise InputError('%s: is no op_summary_*.csv of a profile: %s' % (
            path, error if type(error) is ValueError else 'lacks its columns'))
    seconds: Dict[str, float] = {}
    for (op_type, _), durations in runs.items():
        seconds[op_type] = seconds.get(op_type, 0.) + sum(durations) / len(durations)
    return seconds


def _rows_of(directory: str, name: str) -> List[Dict[str, str]]:
    rows = []
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), name + '_*.csv'))):
        rows += csv.DictReader(files.text(path).splitlines())
    return rows


def by_type(operators: Iterable[ProfiledOperator]) -> Dict[str, List[float]]:
    """{operator type: durations}, the type of the largest total time first."""
    durations: Dict[str, List[float]] = {}
    for operator in operators:
        durations.setdefault(operator.op_type, []).append(operator.duration)
    return dict(sorted(durations.items(), key=lambda item: -sum(item[1])))


def _summary_rows(operators, device_id, metrics):
    previous_end = None
    for task, op in enumerate(operators):
        wait = 0. if previous_end is None else max(0., op.start - previous_end)
        previous_end = op.start + op.duration
        ids = [UNKNOWN] * 2 + [op.name, op.op_type, UNKNOWN] if op.task_type == COMMUNICATION else [
            task, op.stream, op.name, op.op_type, 'static']
        yield [device_id, _MODEL_ID, *ids, op.task_type,
               '%.3f\t' % op.start, '%.3f' % op.duration, '%.3f' % wait, UNKNOWN, UNKNOWN, UNKNOWN,
               *_described(op.inputs), *_described(op.outputs), UNKNOWN, *[UNKNOWN] * metrics]


def _described(tensors):
    """The cells of shapes, data types and formats; the profiler quotes the shapes."""
    if not tensors:
        return [UNKNOWN] * 3
    shapes = ';'.join(','.join(map(str, tensor.shape)) for tensor in tensors)
    return ['"%s"' % shapes, ';'.join(tensor.data_type for tensor in tensors),
            ';'.join(tensor.format for tensor in tensors)]


def _statistic_rows(operators, device_id):
    total = sum(op.duration for op in operators) or 1.
    cores = {op.op_type: op.task_type for op in operators}
    for op_type, durations in by_type(operators).items():
        spent = sum(durations)
        yield [device_id, op_type, cores[op_type], len(durations), '%.3f' % spent, '%.3f' % min(durations),
               '%.3f' % (spent / len(durations)), '%.3f' % max(durations), '%.3f' % (100 * spent / total)]


def _step_rows(iterations, device_id):
    previous_end = None
    for one in iterations:
        waited = UNKNOWN if previous_end is None else '%.3f' % max(0., one.forward_start - previous_end)
        previous_end = one.end
        yield [device_id, one.number, *('%.3f\t' % at for at in (one.forward_start, one.backward_end, one.end)),
               '%.3f' % (one.end - one.get_next_start), '%.3f' % (one.backward_end - one.forward_start),
               '%.3f' % (one.end - one.backward_end), waited, _MODEL_ID]


def _timeline(operators, iterations):
    """The events of msprof_*.json: a process of operators by thread, and one of steps."""
    hardware, steps = 1, 2
    events = [_metadata('process_name', hardware, 0, 'Ascend Hardware'),
              _metadata('process_name', steps, 0, 'Step Trace'),
              _metadata('thread_name', steps, 0, 'Step Trace(Model ID:%d)' % _MODEL_ID)]
    events += [_metadata('thread_name', hardware, stream, 'Stream %d' % stream)
               for stream in sorted({op.stream for op in operators})]
    for task, op in enumerate(operators):
        events.append(_event(op.name, hardware, op.stream, op.start, op.duration, {
            'Model Id': _MODEL_ID, 'Task Type': op.task_type, 'Physic Stream Id': op.stream, 'Task Id': task,
            'Batch Id': 0, 'Subtask Id': UNKNOWN}))
    for one in iterations:
        n = one.number
        times = {'Iteration ID': n, 'FP Start': one.forward_start, 'BP End': one.backward_end,
                 'Iteration End': one.end}
        events += [
            _event('Iteration %d' % n, steps, 0, one.get_next_start, one.end - one.get_next_start,
                   dict(times, **{'Iteration Time(us)': one.end - one.get_next_start})),
            _event('FP_BP Time %d' % n, steps, 0, one.forward_start, one.backward_end - one.forward_start,
                   dict(times, **{'FP_BP Time(us)': one.backward_end - one.forward_start})),
            _event('Iteration Refresh %d' % n, steps, 0, one.backward_end, one.end - one.backward_end,
                   dict(times, **{'Iteration Refresh(us)': one.end - one.backward_end})),
            _event('GetNext', steps, 0, one.get_next_start, one.get_next_end - one.get_next_start,
                   {'GetNext Start': one.get_next_start, 'GetNext End': one.get_next_end,
                    'GetNext Time(us)': one.get_next_end - one.get_next_start})]
    return events


def _metadata(kind, process, thread, name):
    return {'name': kind, 'pid': process, 'tid': thread, 'args': {'name': name}, 'ph': 'M'}


def _event(name, process, thread, start, duration, arguments):
    return {'name': name, 'pid': process, 'tid': thread, 'ts': '%.3f' % start, 'dur': duration, 'args': arguments,
            'ph': 'X'}
