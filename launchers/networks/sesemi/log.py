"""The vendor's lines (docs/vendor-contract.md section 3)."""
from typing import Dict, List

import tensorflow as tf

from core.log import say
from core.run import Report, Run
from launchers.networks.keras_log import KerasLog, progress
from launchers.networks.sesemi.data import TASKS


class SesemiLog(KerasLog):
    """The vendor's lines before and after an evaluation and after an epoch."""

    def evaluation_start(self, epoch: int) -> None:
        say('Evaluating with oversample=True...')

    def epoch_line(self, report: Report, seconds: float) -> str:
        values = {name: report.epoch_metrics[name]
                  for name in ('loss', 'self_clf_loss', 'super_clf_loss')}
        return progress(report.steps_in_epoch, report.steps_per_epoch, seconds, report.seconds_per_step, 'step', values)

    def first_step(self, report: Report) -> None:
        say('Learning rate:  %s' % report.learning_rate)

    def epoch(self, report: Report) -> None:
        super().epoch(report)
        if report.evaluation:
            self.accuracy = '%.4f' % report.evaluation['accuracy']
        for line in error_lines(report.evaluation) if report.evaluation else ():
            say(line)


def error_lines(means: Dict[str, float]) -> List[str]:
    """The vendor's line, and the error of the images as they are, which the vendor's evaluator also knows.

    The outputs of an inference device may lack the latter.
    """
    lines = ['classification error rate: %.4f' % (1 - means['accuracy'])]
    if 'plain_accuracy' in means:
        lines.append('plain error rate: %.4f, of one copy an image' % (1 - means['plain_accuracy']))
    return lines


class Announce(tf.train.SessionRunHook):
    """The vendor's lines at the start of the run."""

    def __init__(self, run: Run):
        self._run = run

    def begin(self):
        config, task = self._run.config, TASKS[self._run.config.task]
        for name, value in (('dataset', config.data_path), ('result', config.output_path), ('data', config.task),
                            ('labels', config.labels), ('network', config.trunk)):
            say('===>>>%s:%s' % (name, value))
        variables = self._run.step.model_variables
        total, trainable = (sum(v.shape.num_elements() for v in variables if v in chosen)
                            for chosen in (variables, tf.trainable_variables()))
        for name, count in (('Total', total), ('Trainable', trainable), ('Non-trainable', total - trainable)):
            say('{} params: {:,}'.format(name, count))
        say('Run configuration:')
        say('network=%s, dataset=%s, horizontal_flip=%s, ZCA=%s, nb_epochs=%d, batch_size=%d, '
            'nb_labels=%s, gpu_id=%d' % (
                config.trunk, config.task, task.flips, task.zca, self._run.clock.epochs,
                config.batch_size, config.labels, config.device_id))
