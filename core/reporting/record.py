"""Record: what a run did, as data. report/run.jsonl of the results holds one JSON object a line.

The trainer writes it while the run goes on, so that a run killed at any moment leaves its record:
    start   once for each process: what was asked (`settings`), on what machine (`environment`), where results lie
    begin   the step at which the process starts; points of later steps are from before a --resume and no longer count
    point   values at a step: batch/loss, epoch/accuracy, test/accuracy, learning_rate, images_per_second, ...
    end     how the process ended: status (done, stopped, failed), step, why
The trainer holds a lock of the file while it lives, which tells a run in progress from one that was killed.
"""
import fcntl
import json
import math
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from core import files
from core.errors import InputError
from core.settings.table import MOST

_DIRECTORY = 'report'          # in the results: the record and the pictures
FILE = 'run.jsonl'
DONE, STOPPED, FAILED, RUNNING, KILLED = 'done', 'stopped', 'failed', 'running', 'killed'
_MANY = 1000                   # points of one kind, after which only every second one is kept, then every fourth, ...
_TRIES = 10                    # to get the lock
_LATEST = 2 ** 37              # seconds since 1970: the year 6325

Points = List[Tuple[int, float]]


class Run(NamedTuple):
    """A run as its record tells it."""
    run_dir: str                   # directory of its results
    start: Dict[str, Any]          # the newest `start`
    step: int                      # the last one that is recorded
    points: Dict[str, Points]      # name -> (step, value) in the order of steps
    end: Dict[str, Any]            # of the newest process; {} without
    state: str                     # DONE, STOPPED, FAILED, RUNNING or KILLED

    def last(self, name: str) -> Optional[float]:
        """The newest value of that name, or None."""
        return self.points[name][-1][1] if self.points.get(name) else None

    @property
    def accuracy(self) -> Optional[float]:
        """On the test set, from 0 to 1: the average's of a run with stochastic weight averaging, once there is one."""
        average = self.last('average/accuracy')
        return self.last('test/accuracy') if average is None else average

    @property
    def loss(self) -> Optional[float]:
        """Of the last recorded batch."""
        return self.last('batch/loss')

    def images_per_second(self) -> Optional[float]:
        """Of all ranks together, each taken to be as fast as the one that wrote the record."""
        speed = self.last('images_per_second')
        return None if speed is None else speed * self.start['ranks']

    @property
    def status(self) -> str:
        """The state in words, such as `failed at step 12: ...`."""
        words = self.state
        if self.state != DONE:
            words += ' at step %d' % self.step
        return words + (': ' + self.end['why'] if self.state == FAILED else '')


def directory(run_dir: str) -> str:
    """Where the record and the pictures of the run lie whose results are in `run_dir`."""
    return os.path.join(run_dir, _DIRECTORY)


class Writer:
    """Writes the record of the run whose results go to `run_dir`.

    Raises InputError when another process is writing it, OSError when it cannot be written.
    """

    def __init__(self, run_dir: str):
        os.makedirs(directory(run_dir), exist_ok=True)
        path = os.path.join(directory(run_dir), FILE)
        try:
            self._file = files.opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 'a+b', buffering=0)
        except ValueError as error:
            raise InputError('%s: %s' % (path, error))
        self._file.seek(0, os.SEEK_END)
        self._lock(run_dir)
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            if self._file.read() != b'\n':     # a line that a killed process has not finished
                self._file.write(b'\n')
        self._counts = {}

    def _lock(self, run_dir):
        for _ in range(_TRIES):
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(.02)    # launchers.runs looks at the lock for a moment
            except OSError:
                return None        # a file system without locks: a run that was killed then looks like one in progress
        raise InputError('%s: another run is writing its results there; wait for it, or choose another --output_path'
                         % run_dir)

    def write(self, event: str, **facts: Any) -> None:
        """Appends an event with the time of day."""
        line = json.dumps(dict(event=event, time=time.time(), **facts))
        self._file.write(line.encode() + b'\n')

    def point(self, kind: str, step: int, values: Dict[str, float], keep: bool = False) -> None:
        """Appends finite values at a step; of very many points of a kind, not every one unless it is to `keep`."""
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if keep or count % (1 << max(count // _MANY, 1).bit_length() - 1) == 0:
            self.write('point', step=step, values={
                name: float(value) for name, value in values.items() if math.isfinite(value)})

    def close(self) -> None:
        """Gives the lock back."""
        self._file.close()


def read(run_dir: str) -> List[Run]:
    """The runs whose results went to `run_dir`, oldest first; [] where no record is.

    Raises OSError, or ValueError for a record of another form, as another version may have written it.
    """
    path = os.path.join(directory(run_dir), FILE)
    if not os.path.isfile(path):
        return []
    with open(path, 'rb') as file:
        is_open = _is_locked(file)
        runs = []
        for event in filter(None, map(_parse, file)):
            if event['event'] == 'start' and not (event['resumed'] and runs):
                runs.append([])
            if runs:
                runs[-1].append(event)
    return [_run(run_dir, events, is_open and events is runs[-1]) for events in runs]


def _is_locked(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _parse(line: bytes) -> Optional[Dict[str, Any]]:
    """An event, or None for a line that was cut off. Raises ValueError for an event of another form."""
    try:
        json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    event = files.json_of(line.decode())
    fields = _FIELDS.get(event.get('event')) if isinstance(event, dict) else None
    if fields is None:
        raise ValueError('has a line that is no event of a run')
    for name, is_right in dict(fields, time=_is_time).items():
        if not is_right(event.get(name)):
            raise ValueError('has an event %s without a right %s' % (event['event'], name))
    return event


def _is_text(value):
    return isinstance(value, str)


def _is_step(value):
    return type(value) is int and 0 <= value <= MOST


def _is_number(value):
    return type(value) in (int, float) and abs(value) < 1e300


def _is_time(value):
    return _is_number(value) and 0 <= value < _LATEST


def _are_rows(value):
    """Whether it is a list of rows of texts, or of pairs of texts and a text."""
    return isinstance(value, list) and all(
        isinstance(row, list) and row and all(isinstance(cell, (str, list)) for cell in row) for row in value)


_FIELDS = {
    'start': dict(network=_is_text, case=_is_text, precision=_is_text, ranks=_is_step, settings=_are_rows,
                  environment=_are_rows, results=_are_rows, resumed=lambda value: isinstance(value, bool)),
    'begin': dict(step=_is_step, steps=_is_step, steps_per_epoch=_is_step),
    'point': dict(step=_is_step, values=lambda value: isinstance(value, dict) and all(map(_is_number, value.values()))),
    'end': dict(step=_is_step, why=_is_text, status=lambda value: value in (DONE, STOPPED, FAILED)),
}


def _run(run_dir, events, is_open):
    start, end, step, points = {}, {}, 0, {}
    for event in events:
        if event['event'] == 'start':
            start, end = dict(event, started=start.get('started', event['time'])), {}
        elif event['event'] == 'begin':
            step = event['step']
            points = {name: [point for point in values if point[0] <= step] for name, values in points.items()}
            start.update(steps=event['steps'], steps_per_epoch=event['steps_per_epoch'])
        elif event['event'] == 'point':
            step = max(step, event['step'])
            for name, value in event['values'].items():
                points.setdefault(name, []).append((event['step'], value))
        elif event['event'] == 'end':
            end, step = event, max(step, event['step'])
    state = end.get('status') or (RUNNING if is_open else KILLED)
    return Run(run_dir, start, step, points, end, state)
