"""Hooks of every run: what ends a run early, and the live line on a terminal."""
import math
import os
import signal
import sys
import time
from typing import Callable, List, TextIO

import tensorflow as tf

from core.errors import Interrupted, LossIsNotFinite
from core.log import say
from core.run import Clock, Step

COLUMNS = 80                   # of a terminal that does not tell its width
REDRAW_SECONDS = .2


class StopOnBadLoss(tf.train.SessionRunHook):
    """Ends the run after a step with a loss that is not finite."""

    def __init__(self, clock: Clock, loss: tf.Tensor):
        self._clock, self._loss = clock, loss

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        if not math.isfinite(run_values.results):
            raise LossIsNotFinite(
                'Loss is %s at step %d: training stopped; checkpoints from before it are kept. '
                'Try a smaller --learning_rate' % (run_values.results, self._clock.step))


class StopOnSignal(tf.train.SessionRunHook):
    """After SIGTERM or SIGINT at any rank, all ranks finish the next step, save a checkpoint and end the run.

    Not the current step: its stop requests may already have been summed over the ranks.
    """

    def __init__(self, clock: Clock, step: Step, save: Callable[[tf.Session], None]):
        self._clock, self._step, self._save = clock, step, save
        self._received = None
        self._previous = {}

    def _receive(self, signum, frame):
        self._received = signum

    def after_create_session(self, session, coord):
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._previous[signum] = signal.signal(signum, self._receive)

    def before_run(self, run_context):
        if self._received:
            self._step.stop_request.load(1., run_context.session)
        return tf.train.SessionRunArgs(self._step.stop_requests)

    def after_run(self, run_context, run_values):
        if run_values.results > 0 and not self._clock.at_end:
            self._save(run_context.session)
            self._restore_handlers()
            raise Interrupted(self._received or signal.SIGTERM, self._clock.step)

    def end(self, session):
        self._restore_handlers()
        if self._received:  # after the last step, which is saved
            raise Interrupted(self._received, self._clock.step)

    def _restore_handlers(self):
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)


class StopWithoutLauncher(tf.train.SessionRunHook):
    """Stops the run like SIGTERM when the launcher that started this process has ended: nobody else would stop it.

    launcher: process id of the launcher.
    """

    def __init__(self, launcher: int):
        self._launcher = launcher

    def before_run(self, run_context):
        if os.getppid() != self._launcher:
            say('The launcher (process %d) was killed: its trainer saves a checkpoint and ends' % self._launcher)
            self._launcher = os.getppid()  # so that the log has this once
            os.kill(os.getpid(), signal.SIGTERM)


class LiveLine(tf.train.SessionRunHook):
    """One line on a terminal, redrawn in place: epoch, step, images/s of all ranks, loss and time left."""

    def __init__(self, clock: Clock, loss: tf.Tensor, batch_size: int, stream: TextIO):
        self._clock, self._loss, self._batch_size, self._stream = clock, loss, batch_size, stream
        self._drawn = 0.

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        now = time.monotonic()
        if now - self._drawn > REDRAW_SECONDS or self._clock.at_end:
            self._drawn = now
            self._draw(run_values.results)

    def _draw(self, loss):
        clock = self._clock
        left = int((clock.steps - clock.step) * clock.seconds_per_step)
        self._show('%.1f images/s  loss %.4f  %d:%02d:%02d left' % (
            self._batch_size / clock.seconds_per_step, loss, left // 3600, left // 60 % 60, left % 60))

    def evaluates(self) -> None:
        """An evaluation begins, in which no step ends."""
        self._drawn = 0.
        self._show('evaluates')

    def _show(self, words):
        clock = self._clock
        line = 'epoch %d/%d  step %d/%d  %s' % (clock.epoch + 1, clock.epochs, clock.step, clock.steps, words)
        self._write('\x1b[2K%s\r' % line[:self._columns() - 1])

    def _write(self, text):
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal was closed; the run goes on without it
            self._stream = open(os.devnull, 'w')

    def _columns(self):
        """The width of the terminal behind the stream, which need not be standard output."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or COLUMNS
        except (OSError, ValueError):
            return COLUMNS

    def end(self, session):
        self._write('\x1b[2K')


def stop_without_launcher() -> List[tf.train.SessionRunHook]:
    """[StopWithoutLauncher] in a process that launchers/shell/ranks.sh has started, else []."""
    return [StopWithoutLauncher(int(os.environ['LAUNCHER_PID']))] if 'LAUNCHER_PID' in os.environ else []


def live_line(clock: Clock, loss: tf.Tensor, batch_size: int) -> List[LiveLine]:
    """[LiveLine] on the launcher's $LIVE_FD, else on standard output if that is a terminal, else []."""
    if 'LIVE_FD' in os.environ:
        stream = os.fdopen(int(os.environ['LIVE_FD']), 'w', closefd=False)
    elif sys.stdout.isatty():
        stream = sys.stdout
    else:
        return []
    return [LiveLine(clock, loss, batch_size, stream)]
