"""The vendor's lines (docs/vendor-contract.md section 3).

`step:` counts from 0 in every epoch, as the vendor's does. `progress` is the part of the epoch that is done; it has a
line at the end of the epoch, too, and the loss in it is the cross-entropy of one batch, as the vendor's.
"""
from core.log import say
from core.reporting.report import say_end
from core.reporting.report import Window
from core.run import Log, Metrics, Report

PROGRESS_STEPS = 20


class AlexnetLog(Log):
    """The vendor's lines, and the speed of the run in the last one."""
    accuracy_is = 'of the training images in the last epoch, per cent'

    def __init__(self) -> None:
        super().__init__()
        self._window = Window()

    def step(self, report: Report) -> None:
        done = report.steps_in_epoch
        first, seconds = self._window.advance(report)
        step_time = seconds / (report.step - first)
        say('epoch %d step: %d step_time %.6f FPS %.5f' % (
            report.epoch, done - 1, step_time, report.batch_size / step_time))
        if done % PROGRESS_STEPS == 0 or done == report.steps_per_epoch or report.step == report.steps:
            say('progress : %.6f%%  loss :%s' % (
                100 * done / report.steps_per_epoch,
                self.loss(report.step, '%.6f' % report.metrics['cross_entropy'])))

    def epoch(self, report: Report) -> None:
        if report.evaluation:
            self.test_accuracy = percent(report.evaluation)
            say('test accuracy ' + self.test_accuracy)
        self.accuracy = percent(report.epoch_metrics)
        say('train accuracy ' + self.accuracy)

    def end(self, report: Report) -> None:
        say_end(report)


def percent(means: Metrics) -> str:
    """The accuracy as the vendor's lines have it."""
    return '%.5g' % (100 * means['accuracy'])
