"""CutMix: ResNet-20 on CIFAR-10 with CutMix (arXiv 1905.04899; contract.md sections 1 and 3).

Inputs are normalised per channel; the vendor's are divided by 255. Otherwise the vendor's recipe.
"""
import tensorflow as tf

from core.log import say
from core.recipe import Recipe, constant_learning_rate
from launchers.networks import cifar10, classification
from launchers.networks.keras_log import KerasLog, summary
from nets import layers
from nets.resnet import resnet20


def penalty():
    """Keras's l2: the sum of squares, not half of it, and over the convolutions alone."""
    return 2 * layers.l2_loss('resnet20/(?!dense)')


def adam(learning_rate, config):
    """Recipe.optimizer: Adam with Keras's epsilon."""
    del config
    return tf.train.AdamOptimizer(learning_rate, epsilon=1e-7)


class Log(KerasLog):
    """The vendor's lines. A TimeHistory line is about the steps since the one before, the last about the run."""

    def __init__(self):
        self._step, self._seconds = None, 0.

    def step(self, report):
        first = report.first_step if self._step is None else self._step
        seconds = report.run_seconds - self._seconds
        _say_speed(seconds, report.batch_size * (report.step - first) / seconds, first, report.step)
        self._step, self._seconds = report.step, report.run_seconds

    def epoch_line(self, report, seconds):
        values = dict(loss=report.means['loss'], accuracy=report.means['accuracy'])
        if report.evaluation:
            values.update(('val_' + name, report.evaluation[name]) for name in list(values))
        return summary(report.steps_in_epoch, report.steps_per_epoch, seconds, values)

    def end(self, report):
        _say_speed(report.seconds_per_step * report.timed_steps, report.images_per_second,
                   report.step - report.timed_steps, report.step)


def _say_speed(seconds, images_per_second, first, last):
    say('TimeHistory: %.2f seconds, %.2f examples/second between steps %d and %d' % (
        seconds, images_per_second, first, last))


RECIPE = Recipe(
    defaults=dict(train_epochs=15, batch_size=32, learning_rate=1e-3, weight_decay=1e-4, cutmix_alpha=0.25,
                  eval_static=False, display_step=50, val_epoch=1),
    cases=dict(full={}, performance={}, static_eval=dict(train_epochs=5, eval_static=True),
               dynamic_eval=dict(train_epochs=2)),
    load=cifar10.load,
    train_input=cifar10.train_input,
    test_input=cifar10.test_input,
    model=classification.classifier(classification.without_dropout(resnet20), penalty),
    learning_rate=constant_learning_rate,
    optimizer=adam,
    log=lambda config: Log(),
    evaluation_lines=lambda means: ['val_loss: %.4f - val_accuracy: %.4f' % (means['loss'], means['accuracy'])])
