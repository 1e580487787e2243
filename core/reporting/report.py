"""Report: what is known after a step, and the listeners that print it or write it to TensorBoard."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from core.log import say
from core.settings.config import Config

Metrics = Dict[str, float]     # {'loss': ..., metric: ..., ...}


class Report(NamedTuple):
    """A run after one of its steps."""
    step: int                      # finished steps
    steps: int                     # of the whole run
    epoch: int                     # index, from 0, of the epoch that the step belongs to
    steps_per_epoch: int
    batch_size: int                # of this rank
    metrics: Metrics               # of the batch of this step
    epoch_metrics: Metrics         # means over the epoch so far
    learning_rate: float
    skipped: int                   # steps whose gradients were not finite under a loss scale and were not applied
    seconds: float                 # since the session started
    run_seconds: float             # of these in training steps
    seconds_per_step: float        # mean over the timed steps so far
    evaluation: Optional[Metrics] = None   # over the test set, when an evaluation was due
    first_step: int = 0            # finished steps when this process started
    timed_steps: int = 1           # steps of this process without those that warm up
    loss_scale: Optional[float] = None     # of this step; None without --loss_scale

    @property
    def images_per_second(self) -> float:
        """Examples of this rank a second, over the timed steps."""
        return self.batch_size / self.seconds_per_step

    @property
    def steps_in_epoch(self) -> int:
        """Finished steps of the epoch; fewer than steps_per_epoch where --train_steps ends a run within an epoch."""
        return (self.step - 1) % self.steps_per_epoch + 1


class Listener:
    """Gets the reports of a run. A listener overrides the methods for the reports it needs."""

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Before the first step that this process takes in an epoch; `epoch` counts from 0."""

    def first_step(self, report: Report) -> None:
        """After the first step that this process takes in an epoch."""

    def step(self, report: Report) -> None:
        """After every step that is a multiple of --display_step, and after the last one."""

    def epoch(self, report: Report) -> None:
        """After the last step of an epoch."""

    def evaluation(self, report: Report) -> None:
        """After an evaluation within an epoch (--eval_steps); the one after the last step of an epoch comes to epoch().
        """

    def evaluation_start(self, epoch: int) -> None:
        """Before an evaluation after the last step of an epoch, which counts from 0."""

    def average(self, evaluation: Metrics) -> None:
        """After stochastic weight averaging: the metrics of the average over the test set."""

    def end(self, report: Report) -> None:
        """After the last step of the run."""


class Log(Listener):
    """A Listener that prints the log of a network, and keeps what its lines say of the run for core/reporting/figures.py.

    accuracy and test_accuracy are in the words of the newest lines; the latter is empty where the former is that of
    the test set.
    """
    accuracy, test_accuracy = '', ''
    accuracy_is = 'of the test set, from 0 to 1'   # what the number `accuracy` is

    def __init__(self) -> None:
        self.losses: List[Tuple[int, str]] = []    # (step, text) of each loss

    def loss(self, step: int, text: str) -> str:
        """`text`, which is kept as the loss of that step."""
        self.losses.append((step, text))
        return text


class Window:
    """The steps between two reports, for log lines that tell the speed since the line before."""

    def __init__(self):
        self._step, self._seconds = None, 0.

    def advance(self, report: Report) -> Tuple[int, float]:
        """(first, seconds): the steps since the report before are `first` to report.step and took `seconds`."""
        first = report.first_step if self._step is None else self._step
        seconds = report.run_seconds - self._seconds
        self._step, self._seconds = report.step, report.run_seconds
        return first, seconds


class Reporter(tf.train.SessionRunHook):
    """Makes the reports that are due, evaluates every --val_epoch epochs, every --eval_steps steps and at the end, tells
    the listeners.

    step: the training.step.Step of the run, evaluate(session) -> Metrics.
    What a report needs is fetched in every step, due or not, because a further set of fetches would be a further graph
    to optimise and, on an NPU, to compile.
    """

    def __init__(self, clock: Any, step: Any, config: Config, display_step: int,
                 evaluate: Callable[[tf.Session], Metrics], listeners: List[Listener]):
        self._clock, self._step, self._config = clock, step, config
        self._display_step, self._evaluate, self._listeners = display_step, evaluate, listeners
        self.report = None             # the newest one

    def before_run(self, run_context):
        clock = self._clock
        if clock.at_epoch_start:
            for listener in self._listeners:
                listener.epoch_start(clock.step // clock.steps_per_epoch, clock.epochs)
        self._is_first_of_epoch = clock.at_epoch_start
        step = self._step
        fetches = dict(metrics=step.metrics, epoch_metrics=step.epoch_metrics, learning_rate=step.learning_rate)
        if step.loss_scale is not None:
            fetches['loss_scale'] = step.loss_scale
        return tf.train.SessionRunArgs((step.applied_steps, fetches))

    def after_run(self, run_context, run_values):
        clock = self._clock
        step_is_due = clock.passed(self._display_step) or clock.at_end
        steps = self._config.eval_steps
        evaluation_is_due = bool(steps) and clock.passed(steps)
        if not (clock.at_epoch_end or step_is_due or evaluation_is_due or self._is_first_of_epoch):
            return
        self.report = self._make_report(*run_values.results)
        if self._is_first_of_epoch:
            for listener in self._listeners:
                listener.first_step(self.report)
        if step_is_due:
            for listener in self._listeners:
                listener.step(self.report)
        if clock.at_epoch_end:
            if clock.at_end or evaluation_is_due or (clock.epoch + 1) % self._config.val_epoch == 0:
                for listener in self._listeners:
                    listener.evaluation_start(clock.epoch)
                self._evaluate_now(run_context.session)
            for listener in self._listeners:
                listener.epoch(self.report)
        elif evaluation_is_due:
            self._evaluate_now(run_context.session)
            for listener in self._listeners:
                listener.evaluation(self.report)

    def _evaluate_now(self, session):
        evaluation = self._evaluate(session)
        self.report = self.report._replace(evaluation=evaluation, seconds=self._clock.seconds)

    def average(self, evaluation: Metrics) -> None:
        """Tells the listeners the metrics of the average of the weights."""
        for listener in self._listeners:
            listener.average(evaluation)

    def end(self, session):
        for listener in self._listeners:
            listener.end(self.report)

    def _make_report(self, applied_steps, results):
        clock = self._clock
        return Report(
            step=clock.step, steps=clock.steps, epoch=clock.epoch, steps_per_epoch=clock.steps_per_epoch,
            batch_size=self._config.batch_size, skipped=clock.step - int(applied_steps), seconds=clock.seconds,
            run_seconds=clock.run_seconds, seconds_per_step=clock.seconds_per_step, first_step=clock.first_step,
            timed_steps=clock.timed_steps, **results)


class Summaries(Listener):
    """TensorBoard: loss and metrics in training and test, learning rate, images per second, the loss scale."""

    def __init__(self, directory: str):
        self._writer = tf.summary.FileWriter(directory)

    def _write(self, step, values):
        self._writer.add_summary(tf.Summary(value=[
            tf.Summary.Value(tag=tag, simple_value=value) for tag, value in sorted(values.items())]), step)
        self._writer.flush()

    def step(self, report: Report) -> None:
        values = {'train/' + name: value for name, value in report.metrics.items()}
        if report.loss_scale is not None:
            values['loss_scale'] = report.loss_scale
        self._write(report.step, dict(values, learning_rate=report.learning_rate,
                                      images_per_second=report.images_per_second))

    def epoch(self, report: Report) -> None:
        if report.evaluation:
            self.evaluation(report)

    def evaluation(self, report: Report) -> None:
        self._write(report.step, {'test/' + name: value for name, value in report.evaluation.items()})

    def end(self, report: Report) -> None:
        self._writer.close()


class SkippedSteps(Listener):
    """With --loss_scale: once an epoch, how many steps were skipped because their gradients were not finite."""

    def epoch(self, report: Report) -> None:
        say('Loss scale: %d of %d steps skipped' % (report.skipped, report.step))
