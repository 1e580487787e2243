"""Reporter: makes the reports of a run; and the listeners that are not the log of a network."""
from typing import Callable, List, Optional, Tuple

import tensorflow as tf

from core.log import say
from core.run import Clock, Listener, Metrics, Report, Step, Validation
from core.settings.config import Config


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

    evaluate(session) -> (Metrics, Validation), which may end the run. What a report needs is fetched in every step, due
    or not, because a further set of fetches would be a further graph to optimise and, on an NPU, to compile.
    """

    def __init__(self, clock: Clock, step: Step, config: Config, display_step: int,
                 evaluate: Callable[[tf.Session], Tuple[Metrics, Optional[Validation]]], listeners: List[Listener]):
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
        if clock.at_end or clock.at_epoch_end and (
                evaluation_is_due or (clock.epoch + 1) % self._config.val_epoch == 0):
            for listener in self._listeners:
                listener.evaluation_start(clock.epoch)
            self._evaluate_now(run_context.session)
        elif evaluation_is_due:
            self._evaluate_now(run_context.session)
            for listener in self._listeners if not clock.at_end else ():
                listener.evaluation(self.report)
        if clock.at_end and not step_is_due:   # since the evaluation
            for listener in self._listeners:
                listener.step(self.report)
        if clock.at_epoch_end:
            for listener in self._listeners:
                listener.epoch(self.report)

    def _evaluate_now(self, session):
        evaluation, validation = self._evaluate(session)
        self.report = self.report._replace(evaluation=evaluation, validation=validation, steps=self._clock.steps,
                                           seconds=self._clock.seconds)

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
        parts = {'test/': report.evaluation, 'validation/': report.validation.metrics if report.validation else {}}
        self._write(report.step, {part + name: value for part, metrics in parts.items()
                                  for name, value in metrics.items()})

    def end(self, report: Report) -> None:
        self._writer.close()


class SkippedSteps(Listener):
    """With --loss_scale: once an epoch, how many steps were skipped because their gradients were not finite."""

    def epoch(self, report: Report) -> None:
        say('Loss scale: %d of %d steps skipped' % (report.skipped, report.step))
