"""CutMix: ResNet-20 on CIFAR-10 with CutMix (arXiv 1905.04899; docs/vendor-contract.md sections 1 and 3).

Inputs are normalised per channel; the vendor's are divided by 255. Otherwise the vendor's recipe.

    bash test/train_full_1p.sh --network=cutmix --data_path=DIR

minutes: 15 on 2 cores of a CPU
published: accuracy 0.8036, 0.7270 with `--cutmix_alpha=0`
loss of the first steps: 2 to 6: ResNet-20 starts with large logits
after one epoch: below 2.3 within the first hundred steps; the vendor's small images: 0.95
later: those: 0.77 after two epochs
"""
from typing import Dict, List

import tensorflow as tf

from core.log import say
from core.reporting.report import Window
from core.run import Report
from nets.blocks import optimizers
from launchers.networks import cifar10
from launchers.networks.keras_log import KerasLog, summary
from nets import layers
from nets.resnet import resnet20


def penalty() -> tf.Tensor:
    """Keras's l2: the sum of squares, not half of it, over the convolutions' kernels alone."""
    return 2 * layers.l2_loss('resnet20/(?!dense)')


class CutmixLog(KerasLog):
    """The vendor's lines. A TimeHistory line is about the steps since the line before, the last line about the run."""

    def __init__(self) -> None:
        super().__init__()
        self._window = Window()

    def step(self, report: Report) -> None:
        first, seconds = self._window.advance(report)
        _say_speed(seconds, report.batch_size * (report.step - first) / seconds, first, report.step)

    def epoch_line(self, report: Report, seconds: float) -> str:
        values = dict(loss=report.epoch_metrics['loss'], accuracy=report.epoch_metrics['accuracy'])
        if report.evaluation:
            values.update(('val_' + name, report.evaluation[name]) for name in list(values))
            self.accuracy = '%.4f' % report.evaluation['accuracy']
        return summary(report.steps_in_epoch, report.steps_per_epoch, seconds, values)

    def end(self, report: Report) -> None:
        _say_speed(report.seconds_per_step * report.timed_steps, report.images_per_second,
                   report.step - report.timed_steps, report.step)


def _say_speed(seconds, images_per_second, first, last):
    say('TimeHistory: %.2f seconds, %.2f examples/second between steps %d and %d' % (
        seconds, images_per_second, first, last))


def evaluation_lines(means: Dict[str, float]) -> List[str]:
    """Recipe.evaluation_lines, in the words of the vendor's log."""
    return ['val_loss: %.4f - val_accuracy: %.4f' % (means['loss'], means['accuracy'])]


RECIPE = cifar10.recipe(
    resnet20,
    dict(train_epochs=15, batch_size=32, learning_rate=1e-3, weight_decay=1e-4, cutmix_alpha=0.25,
         precision_mode='allow_mix_precision'),
    penalty,
    cases=dict(full={}, performance={}, static_eval=dict(train_epochs=5, eval_static=True),
               dynamic_eval=dict(train_epochs=2)),
    optimizer=optimizers.adam,
    log=CutmixLog,
    loss_prefix='train_',
    evaluation_lines=evaluation_lines,
    vendor_name='cutmix_ID2502_for_TensorFlow2.X')
