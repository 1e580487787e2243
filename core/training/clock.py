"""Clock: the number of the current step, and how long steps take. The first hook that sees a step."""
import time

import tensorflow as tf

from core.progress import BETWEEN, STEP, progress

WARMUP_RUNS = 5


class Clock(tf.train.SessionRunHook):
    """Counts finished steps on the host and times them; answers the other hooks' questions about the step.

    Steps are counted here from the first one on, because global_step fetched beside train_op may be read before or
    after its update. The time between two steps (evaluation, checkpoints) does not count.
    """

    def __init__(self, steps: int, steps_per_epoch: int, steps_per_run: int = 1):
        self.steps = steps                        # of the whole run
        self.steps_per_epoch = steps_per_epoch
        self.steps_per_run = steps_per_run        # training steps of one session.run
        self.step = 0                             # finished steps
        self.first_step = 0                       # finished steps when this process started
        self.run_seconds = 0.                     # in training steps of this process
        self._warmup = []                         # seconds of the first runs, in which graphs are compiled

    def start(self, step: int) -> None:
        """Says how many steps are finished when the session starts."""
        self.step = self.first_step = step

    def after_create_session(self, session, coord):
        self._started = time.monotonic()

    def before_run(self, run_context):
        progress.now(STEP, self.step + 1)
        self._before = time.monotonic()

    def after_run(self, run_context, run_values):
        seconds = time.monotonic() - self._before
        self.run_seconds += seconds
        self.step += self.steps_per_run
        progress.now(BETWEEN, self.step)
        if len(self._warmup) < WARMUP_RUNS:
            self._warmup.append(seconds)

    @property
    def epoch(self) -> int:
        """Index, from 0, of the epoch that the last finished step belongs to."""
        return max(self.step - 1, 0) // self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Number of epochs of the run; a partial last one counts."""
        return -(-self.steps // self.steps_per_epoch)

    def passed(self, interval: int) -> bool:
        """Whether the last run reached a multiple of `interval` steps."""
        return self.step // interval > (self.step - self.steps_per_run) // interval

    @property
    def at_epoch_start(self) -> bool:
        """Whether no step of the epoch is finished, or none by this process."""
        return self.step == self.first_step or self.step % self.steps_per_epoch == 0

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last run finished an epoch, or the training."""
        return self.passed(self.steps_per_epoch) or self.at_end

    @property
    def at_end(self) -> bool:
        """Whether all steps of the run are finished."""
        return self.step >= self.steps

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the session started."""
        return time.monotonic() - self._started

    @property
    def timed_steps(self) -> int:
        """The number of steps that seconds_per_step is the mean of: all but the warm-up ones, at least one run's."""
        return max(self._runs - len(self._warmup), 1) * self.steps_per_run

    @property
    def seconds_per_step(self) -> float:
        """Mean over the timed steps; of the last run while all runs so far are warm-up ones."""
        timed = self.run_seconds - sum(self._warmup)
        return (timed if self._runs > len(self._warmup) else self._warmup[-1]) / self.timed_steps

    @property
    def _runs(self):
        return (self.step - self.first_step) // self.steps_per_run
