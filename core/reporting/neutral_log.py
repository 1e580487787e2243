"""The log lines of a network that has no vendor's lines to keep to.

    step 9 of 39, epoch 1 of 3: loss 1.234568 accuracy 0.500000 seconds_per_step 0.051200 images_per_second 1250.0000
    test after epoch 1 of 5: loss 1.543210 accuracy 0.456700
    test after step 20 of 39: loss 1.567890 accuracy 0.445600
    end: seconds_per_step 0.051200 images_per_second 1250.0000

The values of a step are those of its batch; the speed is the mean over the steps timed so far.
"""
from typing import Dict

from core.log import say
from core.run import Listener, Log, Report


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
    """The last line, whose speed is that of the run: also for logs whose vendor's lines tell it too roughly."""
    say('end: ' + speed(report))


def in_words(values: Dict[str, float]) -> str:
    """The metrics of a line, the loss first."""
    names = sorted(values, key=lambda name: (name != 'loss', name))
    return ' '.join('%s %.6f' % (name, values[name]) for name in names)


def speed(report: Report) -> str:
    """The speed over the timed steps so far."""
    return 'seconds_per_step %.6f images_per_second %.4f' % (report.seconds_per_step, report.images_per_second)
