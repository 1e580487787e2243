"""Report: what is known at one step, told to listeners: the vendor's log lines and TensorBoard."""
from typing import Dict, NamedTuple, Optional

import tensorflow as tf

from core.log import say


class Report(NamedTuple):
    """A run after one of its steps."""
    step: int                      # finished steps
    steps: int                     # length of the run
    epoch: int                     # index, from 0, of the epoch the step belongs to
    steps_per_epoch: int
    batch_size: int
    values: Dict[str, float]       # of the last batch: 'loss', 'accuracy', ...
    means: Dict[str, float]        # of the epoch so far, same names
    learning_rate: float
    skipped: int                   # steps whose gradients were not finite under a loss scale and not applied
    seconds: float                 # since the session started, everything included
    run_seconds: float             # of these inside training steps
    seconds_per_step: float        # mean over the timed steps so far
    evaluation: Optional[Dict[str, float]] = None   # means over the test set, when one was due
    first_step: int = 0            # finished steps when this process started
    timed_steps: int = 1           # all steps since but those that warm up

    @property
    def images_per_second(self):
        """Examples of this rank a second, over the timed steps."""
        return self.batch_size / self.seconds_per_step

    @property
    def steps_in_epoch(self):
        """Finished steps of the epoch; fewer than it has in the middle of it, where --train_steps may end a run."""
        return (self.step - 1) % self.steps_per_epoch + 1


class Listener:
    """Told of a run's progress; a listener overrides what it wants to hear."""

    def epoch_start(self, epoch, epochs):
        """Before the first step that this process takes of an epoch."""

    def step(self, report):
        """After every step that is a multiple of --display_step, and the last one."""

    def epoch(self, report):
        """After the last step of an epoch."""

    def average(self, evaluation):
        """After stochastic weight averaging: the means over the test set that the average has."""

    def end(self, report):
        """After the last step of the run."""


class Reporter(tf.train.SessionRunHook):
    """Makes Reports when they are due and tells the listeners; evaluates every --val_epoch epochs and at the end.

    Its scalars are fetched in every run: another set of fetches is another graph to prune, optimise and, on an
    NPU, compile, which costs more than a few scalars ever will.
    """

    def __init__(self, clock, step, config, display_step, evaluate, listeners):
        self._clock, self._step, self._config = clock, step, config
        self._display_step, self._evaluate, self._listeners = display_step, evaluate, listeners
        self._fetches = dict(values=step.values, means=step.means, learning_rate=step.learning_rate)
        self.report = None             # the newest

    def _step_is_due(self):
        return self._clock.passed(self._display_step) or self._clock.at_end

    def before_run(self, run_context):
        clock = self._clock
        if clock.at_epoch_start:
            for listener in self._listeners:
                listener.epoch_start(clock.step // clock.steps_per_epoch, clock.epochs)
        return tf.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context, run_values):
        clock = self._clock
        if not (clock.at_epoch_end or self._step_is_due()):
            return
        self.report = self._make_report(run_context.session, run_values.results)
        if self._step_is_due():
            for listener in self._listeners:
                listener.step(self.report)
        if clock.at_epoch_end:
            if clock.at_end or (clock.epoch + 1) % self._config.val_epoch == 0:
                self.report = self.report._replace(evaluation=self._evaluate(run_context.session))
            for listener in self._listeners:
                listener.epoch(self.report)

    def end(self, session):
        for listener in self._listeners:
            listener.end(self.report)

    def _make_report(self, session, results):
        clock, config = self._clock, self._config
        skipped = 0 if config.loss_scale is False else clock.step - int(session.run(self._step.applied))
        return Report(
            step=clock.step, steps=clock.steps, epoch=clock.epoch,
            steps_per_epoch=clock.steps_per_epoch, batch_size=config.batch_size, skipped=skipped,
            seconds=clock.seconds, run_seconds=clock.run_seconds, seconds_per_step=clock.seconds_per_step,
            timed_steps=clock.timed_steps, first_step=clock.first_step,
            **results)


class Summaries(Listener):
    """TensorBoard: loss, learning rate, accuracy in training and test, images per second."""

    def __init__(self, directory):
        self._writer = tf.summary.FileWriter(directory)

    def _write(self, step, values):
        self._writer.add_summary(tf.Summary(value=[
            tf.Summary.Value(tag=tag, simple_value=value) for tag, value in sorted(values.items())]), step)
        self._writer.flush()

    def step(self, report):
        values = {'train/' + name: value for name, value in report.values.items()}
        self._write(report.step, dict(values, learning_rate=report.learning_rate,
                                      images_per_second=report.images_per_second))

    def epoch(self, report):
        if report.evaluation:
            self._write(report.step, {'test/' + name: value for name, value in report.evaluation.items()})

    def end(self, report):
        self._writer.close()


class SkippedSteps(Listener):
    """With --loss_scale: how many steps were skipped because of it, once an epoch."""

    def epoch(self, report):
        say('Loss scale: %d of %d steps skipped' % (report.skipped, report.step))
