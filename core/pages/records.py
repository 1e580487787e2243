"""Records of runs as core/reporting/record.py writes them, read again for the pages. Needs no TensorFlow."""
import fcntl
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from core import files
from core.reporting.record import DONE, FAILED, FILE, STOPPED, directory
from core.settings.table import MOST

RUNNING, KILLED = 'running', 'killed'      # states of a run, where its record has no end
_LATEST = 2 ** 37              # seconds since 1970: the year 6325

Points = List[Tuple[int, float]]


class RecordedRun(NamedTuple):
    """A run as its record has it."""
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
    def headline(self) -> str:
        """The name of the metric by which the run is judged."""
        return self.start.get('headline', 'accuracy')  # which records of earlier versions do not name

    @property
    def result(self) -> Optional[float]:
        """The headline metric on the test set: the average's of a run that averages its weights, once there is one."""
        average = self.last('average/' + self.headline)
        return self.last('test/' + self.headline) if average is None else average

    @property
    def best(self) -> Optional[Tuple[int, float]]:
        """(step, the best value of the headline, at the first of equals) on the validation part, without one the test set.
        """
        points = self.points.get('validation/' + self.headline) or self.points.get('test/' + self.headline)
        sign = -1 if self.start.get('smaller_is_better') is True else 1
        return max(points, key=lambda point: (sign * point[1], -point[0])) if points else None

    @property
    def best_epoch(self) -> Optional[int]:
        """Of that step, from 1."""
        return self.best and -(-self.best[0] // max(self.start['steps_per_epoch'], 1))

    @property
    def metrics(self) -> List[str]:
        """The names of the metrics that a test has, but the loss; the headline first."""
        names = sorted(name[len('test/'):] for name in self.points if name.startswith('test/'))
        return sorted((name for name in names if name != 'loss'), key=lambda name: name != self.headline)

    @property
    def loss(self) -> Optional[float]:
        """Of the last recorded batch."""
        return self.last('batch/loss')

    def images_per_second(self) -> Optional[float]:
        """Of all ranks together; each is taken to be as fast as rank 0, which wrote the record."""
        speed = self.last('images_per_second')
        return None if speed is None else speed * self.start['ranks']

    @property
    def status(self) -> str:
        """The state in words, such as `failed at step 12: ...`."""
        words = self.state
        if self.state != DONE:
            words += ' at step %d' % self.step
        return words + (': ' + self.end['why'] if self.state == FAILED else '')


def read(run_dir: str) -> List[RecordedRun]:
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
    kind = event.get('event') if isinstance(event, dict) else None
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
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
            start.update(steps=event['steps'], steps_per_epoch=event['steps_per_epoch'],
                         data=str(event.get('data', '')))      # which runs of an older version lack
        elif event['event'] == 'point':
            step = max(step, event['step'])
            for name, value in event['values'].items():
                points.setdefault(name, []).append((event['step'], value))
        elif event['event'] == 'end':
            end, step = event, max(step, event['step'])
    state = end.get('status') or (RUNNING if is_open else KILLED)
    return RecordedRun(run_dir, start, step, points, end, state)
