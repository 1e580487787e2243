"""progress: what this process is doing, for launchers/stalls.py, which notices when that does not change any more.

A rank that a launcher has started writes one line into a file of $RANKS_DIRECTORY at every change.
"""
import os
import time
from typing import Dict, Optional

START_SECONDS = 1836.          # the limit of the start and of what compiles a graph for an NPU: HCCL's own
STEPS = 10                     # a step may take as long as so many steps like the last
_IRREGULAR = 5                 # times the usual limit: for a checkpoint or a report

STEP, EVALUATION, BETWEEN = 'computes step', 'evaluates after step', 'reports or saves after step'
_START = 'reads its data or starts its graph, with step'
_REGULAR = (STEP, EVALUATION)  # what takes about as long each time


class _Progress:
    """The state of this process, which begin() starts to write down."""

    def __init__(self):
        self._file: Optional[int] = None
        self._what, self._step, self._reached, self._count = _START, 0, 0, 0
        self._since = time.monotonic()
        self._lasted: Dict[str, float] = {}            # what -> how long it took the last time

    def begin(self, directory: str, rank: int, seconds: float, compiles: bool) -> None:
        """directory: '' for a process without a launcher; seconds: --stall_seconds; compiles: whether an NPU does."""
        self._seconds, self._compiles = seconds, compiles
        if directory:
            self._file = os.open(os.path.join(directory, 'progress-%d' % rank), os.O_WRONLY | os.O_CREAT, 0o600)
        self._write()

    def now(self, what: str, step: Optional[int] = None) -> None:
        """This process begins to do `what`, a constant of this file; `step` is the step in hand, if it is another."""
        now = time.monotonic()
        self._lasted[self._what], self._since = now - self._since, now
        self._what, self._count = what, self._count + 1
        self._step = self._step if step is None else step
        self._write()

    def reached(self, exchanges: int) -> None:
        """This process has come to so many exchanges with other ranks."""
        if exchanges != self._reached:
            self._reached = exchanges
            self._write()

    def _write(self):
        if self._file is None:
            return
        if self._what in _REGULAR and self._what in self._lasted:
            limit = max(self._seconds, STEPS * self._lasted[self._what])
        else:
            starts = self._compiles or self._what == _START or STEP not in self._lasted
            limit = max(START_SECONDS if starts else 0., _IRREGULAR * self._seconds)
        line = '%d %d %d %g %s %d' % (self._count, self._step, self._reached, limit, self._what, self._step)
        os.pwrite(self._file, line.ljust(100).encode(), 0)


progress = _Progress()
