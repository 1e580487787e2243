"""Record: what a run did, as data in report/ of its results, from which the page and the table of runs are made.

    run.jsonl           the record: one JSON object a line, written while the run goes on, so that a run killed at any
                        moment leaves its record. The trainer holds a lock of the file while it lives.
      start   once for each process: what was asked (`settings`), on what machine (`environment`), where results lie
      begin   the step at which the process starts; points of later steps are from before a --resume and no longer count
      point   values at a step: batch/loss, epoch/METRIC, test/METRIC, learning_rate, images_per_second, ...
      end     how the process ended: status (done, stopped, failed), step, why
    pictures/NAME.json  the pictures of the page: a resumed run still has them, and the page needs no TensorFlow
core/reporting/report.py writes two more files there. This module needs no TensorFlow.
"""
import fcntl
import json
import math
import os
import time
import uuid
from typing import Any, Dict

from core import files
from core.errors import InputError

_DIRECTORY = 'report'          # in the results: the record and the pictures
FILE, _PICTURES = 'run.jsonl', 'pictures'
CHIP = 'chip.json'             # beside it: what a rehearsed run knows of the chip before its first step
DONE, STOPPED, FAILED = 'done', 'stopped', 'failed'
_MANY = 1000                   # points of one kind, after which only every second one is kept, then every fourth, ...
_TRIES = 10                    # to get the lock


def directory(run_dir: str) -> str:
    """Where the record and the pictures of a run lie; run_dir: its results."""
    return os.path.join(run_dir, _DIRECTORY)


class RecordWriter:
    """Writes the record of the run with results in `run_dir`.

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
                time.sleep(.02)    # the command runs looks at the lock for a moment
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


def load_pictures(run_dir: str) -> Dict[str, Dict[str, Any]]:
    """{name: picture} of the run with results in `run_dir`, by name. Raises OSError."""
    folder = os.path.join(directory(run_dir), _PICTURES)
    names = sorted(name[:-len('.json')] for name in os.listdir(folder) if name.endswith('.json')) \
        if os.path.isdir(folder) else []
    return {name: _load(folder, name) for name in names}


def _load(folder, name):
    with open(os.path.join(folder, name + '.json'), encoding='utf-8') as file:
        return json.load(file)


def store_picture(run_dir: str, name: str, panel: Dict[str, Any]) -> None:
    """Keeps a picture of the run with results in `run_dir`. Raises OSError."""
    folder = os.path.join(directory(run_dir), _PICTURES)
    os.makedirs(folder, exist_ok=True)
    save(os.path.join(folder, name + '.json'), json.dumps(panel, ensure_ascii=False))


def save(path: str, text: str) -> str:
    """Writes a file in one step, so that a reader never meets half of it. Raises OSError."""
    part = '%s.tmp%s' % (path, uuid.uuid4().hex)   # TensorFlow's own form, which a ModelArts job leaves alone
    try:
        with open(part, 'w', encoding='utf-8') as file:
            file.write(text)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
    return path
