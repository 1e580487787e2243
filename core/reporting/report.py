"""Reporter: makes the reports of a run; and the listeners that no network has of its own.

The lines of a network that has no vendor's lines to keep to:

    step 9 of 39, epoch 1 of 3: loss 1.234568 accuracy 0.500000 seconds_per_step 0.051200 images_per_second 1250.0000
    test after epoch 1 of 5: loss 1.543210 accuracy 0.456700
    test after step 20 of 39: loss 1.567890 accuracy 0.445600
    end: seconds_per_step 0.051200 images_per_second 1250.0000

The values of a step are of its batch; the speed is the mean over the steps timed so far.

Every rank writes what the run measured, as data for the launcher (its case log, its file of losses and its last lines),
into report/ of its results:
    losses     a line `STEP TEXT` for each loss of its log; a run that goes on keeps the lines up to its first step
    figures    lines `key=value` when the run has ended well; KEYS are the keys
"""
import os
from typing import Callable, Dict, List, Optional, Tuple

import tensorflow as tf

from core.log import say
from core.reporting import record
from core.run import Clock, Listener, Log, Metrics, Report, Step, Validation
from core.settings.config import Config

# Images a second of all ranks together; seconds a step; the last loss and the accuracies as the log has them, the
# accuracies empty where it has none; the seconds from the start of the session to the end of its first step, in which
# an NPU compiles the graph of a step.
KEYS = ('images_per_second', 'seconds_per_step', 'loss', 'accuracy', 'test_accuracy', 'accuracy_is',
        'first_step_seconds')


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
    """Makes the reports that are due and calls the listeners; evaluates every --val_epoch epochs, every --eval_steps steps
    and at the end.

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
        """Hands the metrics of the average of the weights to the listeners."""
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


class NeutralLog(Log):
    """A line every --display_step steps, one after every evaluation, one at the end.

    headline: the metric that the case log has.
    """

    def __init__(self, headline: str):
        super().__init__()
        self._headline = headline

    def epoch_start(self, epoch: int, epochs: int) -> None:
        self._epochs = epochs

    def step(self, report: Report) -> None:
        say('step %d of %d, epoch %d of %d: %s %s' % (
            report.step, report.steps, report.epoch + 1, self._epochs, in_words(report.metrics), speed(report)))
        self.loss(report.step, '%.6f' % report.metrics['loss'])

    def epoch(self, report: Report) -> None:
        if report.evaluation:
            say('test after epoch %d of %d: %s' % (report.epoch + 1, self._epochs, in_words(report.evaluation)))
            self.accuracy = '%.6f' % report.evaluation[self._headline]

    def end(self, report: Report) -> None:
        say_end(report)


class EvaluationLines(Listener):
    """A line after every evaluation within an epoch, in the log of every network."""

    def evaluation(self, report: Report) -> None:
        say('test after step %d of %d: %s' % (report.step, report.steps, in_words(report.evaluation)))


def say_end(report: Report) -> None:
    """The last line, with the speed of the run: also for logs with vendor's lines that round it too much."""
    say('end: ' + speed(report))


def in_words(values: Dict[str, float]) -> str:
    """The metrics of a line, the loss first."""
    names = sorted(values, key=lambda name: (name != 'loss', name))
    return ' '.join('%s %.6f' % (name, values[name]) for name in names)


def speed(report: Report) -> str:
    """The speed over the timed steps so far."""
    return 'seconds_per_step %.6f images_per_second %.4f' % (report.seconds_per_step, report.images_per_second)


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
        record.save(path, ''.join(before))
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
        record.save(os.path.join(self._directory, 'figures'), ''.join('%s=%s\n' % pair for pair in zip(KEYS, values)))
