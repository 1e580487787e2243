"""Figures: what a run measured, as data for the launcher: its case log, its file of losses and its last lines.

Every rank writes into report/ of its results
    losses     a line `STEP TEXT` for each loss of its log; a run that goes on keeps the lines up to its first step
    figures    lines `key=value` when the run has ended well; KEYS are the keys
"""
import os

from core.reporting import record
from core.reporting.panels import save
from core.run import Listener, Log, Report

# Images a second of all ranks together; seconds a step; the last loss and the accuracies as the log has them, the
# accuracies empty where it has none; the seconds from the start of the session to the end of its first step, in which
# an NPU compiles the graph of a step.
KEYS = ('images_per_second', 'seconds_per_step', 'loss', 'accuracy', 'test_accuracy', 'accuracy_is',
        'first_step_seconds')


class Figures(Listener):
    """Writes the figures of a run; comes after the `log` that prints them. Raises OSError for a disk that fails."""

    def __init__(self, run_dir: str, log: Log, ranks: int):
        self._directory, self._log, self._ranks = record.directory(run_dir), log, ranks
        self._losses, self._loss = None, ''

    def first_step(self, report: Report) -> None:
        if self._losses is None:
            self._first_step_seconds = report.seconds
            self._open(report.first_step)

    def _open(self, step):
        path = os.path.join(self._directory, 'losses')
        os.makedirs(self._directory, exist_ok=True)
        before = []
        if os.path.exists(path):
            with open(path) as file:
                before = [line for line in file if line.endswith('\n') and int(line.split()[0]) <= step]
        save(path, ''.join(before))
        self._losses = open(path, 'a')

    def _append(self):
        for step, self._loss in self._log.losses:
            self._losses.write('%d %s\n' % (step, self._loss))
        self._losses.flush()
        self._log.losses.clear()

    def step(self, report: Report) -> None:
        self._append()

    def epoch(self, report: Report) -> None:
        self._append()

    def end(self, report: Report) -> None:
        self._losses.close()
        values = ('%.8g' % (report.images_per_second * self._ranks), '%.8g' % report.seconds_per_step,
                  self._loss, self._log.accuracy, self._log.test_accuracy,
                  self._log.accuracy_is, '%.8g' % self._first_step_seconds)
        save(os.path.join(self._directory, 'figures'), ''.join('%s=%s\n' % pair for pair in zip(KEYS, values)))
