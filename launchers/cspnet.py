"""CSPNet: CSPDarknet53 on CIFAR-10 (contract.md sections 1 and 3).

Inputs are normalised per channel; the vendor's are not. Otherwise the vendor's recipe.
"""
from core.recipe import Inputs, Recipe, constant_learning_rate
from core.report import Listener, say
from data import cifar, pipeline, synthetic
from data.transforms import normalize
from launchers import supervised
from nets.cspdarknet53 import cspdarknet53


def load(config):
    """CIFAR-10, or its synthetic stand-in."""
    return synthetic.cifar10() if config.synthetic else cifar.cifar10(config.data_path)


def inputs(data, config):
    """Normalised batches."""
    def transform(x, y, seed):
        del seed
        return normalize(x), y
    return Inputs(
        pipeline.train_input(data.train, config.batch_size, config.seed, transform=transform,
                             rank=config.rank, ranks=config.ranks),
        pipeline.test_input(data.test, config.batch_size, transform=transform, rank=config.rank, ranks=config.ranks),
        len(data.train.y))


def net(images, is_training, dropout):
    """CSPDarknet53 has no dropout."""
    del dropout
    return cspdarknet53(images, is_training)


class Log(Listener):
    """The vendor's lines."""

    def step(self, report):
        say('Epoch: %03d Step/Batch: %09d --- Loss: %.7f Training accuracy: %.4f' % (
            report.epoch, report.step, report.values['loss'], report.values['accuracy']))
        self._say_elapsed(report)

    def epoch(self, report):
        if report.evaluation:
            say('Validation accuracy: %.4f' % report.evaluation['accuracy'])

    def end(self, report):
        self._say_elapsed(report)
        say('StepTime = %.6f' % report.seconds_per_step)
        say('FPS = %.4f' % report.images_per_second)

    @staticmethod
    def _say_elapsed(report):
        minutes, seconds = divmod(int(report.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        say('Elapsed time: %02dd %02dh %02dm %02ds' % (hours // 24, hours % 24, minutes, seconds))


RECIPE = Recipe(
    defaults=dict(train_epochs=50, batch_size=64, learning_rate=1e-3, momentum=0.9, weight_decay=5e-4,
                  display_step=1000, val_epoch=5),
    cases=dict(full={}, performance=dict(train_epochs=5)),
    load=load,
    inputs=inputs,
    model=supervised.classifier(net),
    learning_rate=constant_learning_rate,
    optimizer=supervised.momentum,
    log=lambda config: Log())
