"""Record: what a run did, as data. report/run.jsonl of the results holds one JSON object a line.

The trainer writes it while the run goes on, so that a run killed at any moment leaves its record:
    start   once for each process: what was asked (`settings`), on what machine (`environment`), where results lie
    begin   the step at which the process starts; points of later steps are from before a --resume and no longer count
    point   values at a step: batch/loss, epoch/METRIC, test/METRIC, learning_rate, images_per_second, ...
    end     how the process ended: status (done, stopped, failed), step, why
The trainer holds a lock of the file while it lives, which tells a run in progress from one that was killed.
"""
import fcntl
import json
import math
import os
import time
from typing import Any, Dict

from core import files
from core.errors import InputError

_DIRECTORY = 'report'          # in the results: the record and the pictures
FILE = 'run.jsonl'
CHIP = 'chip.json'             # beside it: what a rehearsed run knows of the chip before its first step
DONE, STOPPED, FAILED = 'done', 'stopped', 'failed'
_MANY = 1000                   # points of one kind, after which only every second one is kept, then every fourth, ...
_TRIES = 10                    # to get the lock


def directory(run_dir: str) -> str:
    """Where the record and the pictures of the run lie whose results are in `run_dir`."""
    return os.path.join(run_dir, _DIRECTORY)


class RecordWriter:
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
