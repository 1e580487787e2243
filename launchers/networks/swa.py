"""SWA: stochastic weight averaging of a small network on Gaussian blobs (docs/vendor-contract.md sections 1 and 3).

The method is core/training/swa.py. The vendor tests on the training points, the last line here is about fresh ones.
"""
from core.log import say
from core.recipe import Recipe
from core.reporting.report import Metrics
from core.settings.config import Config
from core.settings.table import NO_DATA
from core.training import optimizers, schedules
from data import pipeline
from data.blobs import blobs
from data.dataset import DataSet
from launchers.networks import classification
from launchers.networks.keras_log import KerasLog, progress
from nets.mlp import mlp


def load(config: Config) -> DataSet:
    """The blobs, which need no files."""
    if config.data_path != NO_DATA:
        say('--data_path=%s is not used: the points are drawn here' % config.data_path)
    return blobs()


def train_input(data: DataSet, config: Config) -> pipeline.Input:
    """Batches of points as they are, and the vendor's first line."""
    say('Train on %d samples' % len(data.train.y))
    return pipeline.train_input(data.train, config.batch_size, config.seed, rank=config.rank, ranks=config.ranks)


def test_input(data: DataSet, config: Config) -> pipeline.Input:
    """Batches of points as they are."""
    return pipeline.test_input(data.test, config.batch_size, rank=config.rank, ranks=config.ranks)


class Log(KerasLog):
    """The vendor's lines and the accuracy of the average."""

    def epoch_line(self, report, seconds):
        done, count = (report.batch_size * steps for steps in (report.steps_in_epoch, report.steps_per_epoch))
        return progress(done, count, seconds, 1 / report.images_per_second, 'sample',
                        {'loss': report.epoch_metrics['loss']})

    def average(self, evaluation):
        say(test_line(evaluation))


def test_line(means: Metrics) -> str:
    """The line about the test points, which launchers/networks/swa.sh reads."""
    return 'Test accuracy: %.4f' % means['accuracy']


RECIPE = Recipe(
    defaults=dict(train_epochs=100, batch_size=16384, learning_rate=0.1, momentum=0., weight_decay=0.,
                  display_step=100, val_epoch=10, save_interval=10, data_path=NO_DATA,
                  # of 100 epochs the 75th, as the vendor's; a shorter run is averaged too
                  swa_start_epoch=0.75, swa_schedule='cyclic', swa_lr=1e-3, swa_lr2=3e-3, swa_freq=3,
                  precision_mode='allow_mix_precision'),
    load=load,
    train_input=train_input,
    test_input=test_input,
    model=classification.classifier(mlp),
    learning_rate=schedules.constant,
    optimizer=optimizers.momentum,
    log=Log,
    evaluation_lines=lambda means: [test_line(means)],
    vendor_name='SWA_ID0252_for_TensorFlow')
