"""Clock: which step it is and how long steps take; of all hooks the first to see a step."""
import time

import tensorflow as tf

WARMUP_STEPS = 5


class Clock(tf.train.SessionRunHook):
    """Counts finished steps on the host and times them, with the questions that other hooks ask before a step.

    global_step fetched beside train_op may be read before or after its update, so it is read once, when
    the session starts, and counted from there. Time between steps (evaluation, checkpoints) is left out.
    """

    def __init__(self, number, steps, steps_per_epoch, steps_per_run=1):
        self.steps = steps                        # length of the run
        self.steps_per_epoch = steps_per_epoch
        self.steps_per_run = steps_per_run        # iterations_per_loop on an NPU
        self.step = 0                             # finished steps
        self.first_step = 0                       # finished steps when this process started
        self.run_seconds = 0.                     # inside session.run since then
        self._number = number
        self._warmup = []                         # seconds of the first runs: graphs are compiled in them

    def after_create_session(self, session, coord):
        self.step = self.first_step = int(session.run(self._number))
        self._started = time.time()

    def before_run(self, run_context):
        self._before = time.time()

    def after_run(self, run_context, run_values):
        seconds = time.time() - self._before
        self.run_seconds += seconds
        self.step += self.steps_per_run
        if len(self._warmup) < WARMUP_STEPS:
            self._warmup.append(seconds)

    @property
    def epoch(self):
        """Index, from 0, of the epoch that the last finished step belongs to."""
        return max(self.step - 1, 0) // self.steps_per_epoch

    @property
    def epochs(self):
        """Number of epochs of the run, a last partial one included."""
        return -(-self.steps // self.steps_per_epoch)

    def passed(self, interval):
        """Whether the last run reached a multiple of `interval` steps."""
        return self.step // interval > (self.step - self.steps_per_run) // interval

    @property
    def at_epoch_start(self):
        """Whether no step of the epoch is finished, or none by this process."""
        return self.step == self.first_step or self.step % self.steps_per_epoch == 0

    @property
    def at_epoch_end(self):
        """Whether the last run finished an epoch, or the run."""
        return self.passed(self.steps_per_epoch) or self.at_end

    @property
    def at_end(self):
        """Whether all steps are finished."""
        return self.step >= self.steps

    @property
    def seconds(self):
        """Wall-clock seconds since the session started."""
        return time.time() - self._started

    @property
    def timed_steps(self):
        """Steps that seconds_per_step is the mean of: all but the warm-up ones."""
        return max(self._runs - len(self._warmup), 1) * self.steps_per_run

    @property
    def seconds_per_step(self):
        """Mean over the timed steps; over the last warm-up step while there are no others."""
        timed = self.run_seconds - sum(self._warmup)
        return (timed if self._runs > len(self._warmup) else self._warmup[-1]) / self.timed_steps

    @property
    def _runs(self):
        return (self.step - self.first_step) // self.steps_per_run
