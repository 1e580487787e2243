"""Lines as Keras prints them, for the systems that the vendors wrote with it (docs/vendor-contract.md section 3).

The time of one sample or step in a line is the mean over the timed steps of the run so far, in whole microseconds,
milliseconds or seconds, as Keras has it. The exact time is in the last line of the log.
"""
import time

from core.log import say
from core.reporting.report import say_end
from core.run import Log, Metrics, Report

_WIDTH = 30


def progress(done: int, count: int, seconds: float, seconds_each: float, each: str, values: Metrics) -> str:
    """The bar after an epoch: `125/125 [====] - 7s 53ms/step - loss: 1.2345`.

    done, count: samples or steps (`each`: which) that are done and that the epoch has; seconds: the epoch took;
    seconds_each: one of them took; values: means over the epoch, printed in their order.
    """
    return '%d/%d [%s] - %.0fs %s/%s%s' % (
        done, count, _bar(done, count), seconds, _duration(seconds_each), each, _values(values))


def summary(done: int, steps: int, seconds: float, values: Metrics) -> str:
    """The line without a bar (Keras's verbose=2): `1563/1563 - 25s - loss: 1.9876 - accuracy: 0.3210`."""
    return '%d/%d - %.0fs%s' % (done, steps, seconds, _values(values))


def _bar(done, count):
    drawn = '=' * (_WIDTH * done // count)
    return drawn if done == count else (drawn[1:] + '>').ljust(_WIDTH, '.')


def _duration(seconds):
    unit, scale = next((unit, scale) for unit, scale in (('s', 1), ('ms', 1e3), ('us', 1e6))
                       if seconds * scale >= 1 or unit == 'us')
    return '%.0f%s' % (seconds * scale, unit)


def _values(values):
    return ''.join(' - %s: %.4f' % item for item in values.items())


class KerasLog(Log):
    """`Epoch 1/3` before an epoch, `epoch_line` after it, the exact speed at the end; a log defines epoch_line()."""

    def epoch_line(self, report: Report, seconds: float) -> str:
        """The line after an epoch that took `seconds`, its evaluation included."""
        raise NotImplementedError

    def epoch_start(self, epoch: int, epochs: int) -> None:
        self._started = time.monotonic()
        say('Epoch %d/%d' % (epoch + 1, epochs))

    def epoch(self, report: Report) -> None:
        say(self.epoch_line(report, time.monotonic() - self._started))
        self.loss(report.step, '%.4f' % report.epoch_metrics['loss'])

    def end(self, report: Report) -> None:
        say_end(report)
