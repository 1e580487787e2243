"""Lines in the form that Keras prints them, for the systems whose vendors used it (docs/vendor-contract.md section 3).

Differs from Keras where its lines are too coarse to compute with: the time of one sample or step has up to
five digits, and is the mean over all timed steps of the run so far.
"""
import time

from core.log import say
from core.reporting.report import Listener

_WIDTH = 30


def progress(done, count, seconds, seconds_each, each, values):
    """The bar after an epoch: `125/125 [====] - 7s 53.18ms/step - loss: 1.2345`.

    done, count: samples or steps (`each` says which) done and in the epoch; seconds: it took; seconds_each:
    one of them took; values: {name: mean over the epoch}, printed in their order.
    """
    return '%d/%d [%s] - %.0fs %s/%s%s' % (
        done, count, _bar(done, count), seconds, _duration(seconds_each), each, _values(values))


def summary(done, steps, seconds, values):
    """The line without a bar (Keras's verbose=2): `1563/1563 - 25s - loss: 1.9876 - accuracy: 0.3210`."""
    return '%d/%d - %.0fs%s' % (done, steps, seconds, _values(values))


def _bar(done, count):
    drawn = '=' * (_WIDTH * done // count)
    return drawn if done == count else (drawn[1:] + '>').ljust(_WIDTH, '.')


def _duration(seconds):
    unit, scale = next((unit, scale) for unit, scale in (('s', 1), ('ms', 1e3), ('us', 1e6))
                       if seconds * scale >= 1 or unit == 'us')
    return '%.5g%s' % (seconds * scale, unit)


def _values(values):
    return ''.join(' - %s: %.4f' % item for item in values.items())


class KerasLog(Listener):
    """`Epoch 1/3` before an epoch and `epoch_line` after it; a network's log defines the latter."""

    def epoch_line(self, report, seconds):
        """The line after an epoch that took `seconds`, evaluation included."""
        raise NotImplementedError

    def epoch_start(self, epoch, epochs):
        self._started = time.time()
        say('Epoch %d/%d' % (epoch + 1, epochs))

    def epoch(self, report):
        say(self.epoch_line(report, time.time() - self._started))
