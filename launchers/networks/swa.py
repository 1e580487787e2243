"""SWA: stochastic weight averaging of a small network on Gaussian blobs (docs/vendor-contract.md sections 1 and 3).

The method is core/training/swa.py. The vendor tests on the training points; the last line here is about new points.

    bash test/train_full_1p.sh --network=swa

minutes: 1 on 2 cores of a CPU
published: none
loss of the first steps: 0.7 to 2, by the initial weights
after one epoch: 0.67; the vendor's 0.7
later: 0.400 after 100 epochs, as the vendor's; test accuracy 0.825
"""
import os
from typing import Optional

import numpy as np
import tensorflow as tf

from core.device import cpu_session
from core.log import say
from core.recipe import Picture, Recipe
from core.pages import pictures
from core.pages.text import both
from core.run import Input, Metrics, Panel, Report, View
from core.settings.config import Config
from core.settings.table import NO_DATA
from nets.blocks import heads, optimizers, schedules
from core.training import checkpoints
from data import pipeline
from data.blobs import blobs
from data.dataset import DataSet
from launchers.networks.keras_log import KerasLog, progress
from nets.mlp import mlp

PIXELS, POINTS = 96, 240      # of the picture of the decision regions: its width and height, test points on it
COLOURS = ((86, 137, 232), (242, 142, 76), (92, 184, 128))   # of the three classes


def load(config: Config) -> DataSet:
    """The blobs, which need no files."""
    if config.data_path != NO_DATA:
        say('--data_path=%s is not used: the points are drawn here' % config.data_path)
    return blobs()


def train_input(data: DataSet, config: Config) -> Input:
    """Batches of points as they are, and the vendor's first line."""
    say('Train on %d samples' % len(data.train.y))
    return pipeline.train_input(data.train, config.batch_size, config.seed, rank=config.rank, ranks=config.ranks)


def test_input(data: DataSet, config: Config) -> Input:
    """Batches of points as they are."""
    return pipeline.test_input(data.test, config.batch_size, rank=config.rank, ranks=config.ranks)


class SwaLog(KerasLog):
    """The vendor's lines and the accuracy of the average."""

    def epoch_line(self, report: Report, seconds: float) -> str:
        done, count = (report.batch_size * steps for steps in (report.steps_in_epoch, report.steps_per_epoch))
        return progress(done, count, seconds, 1 / report.images_per_second, 'sample',
                        {'loss': report.epoch_metrics['loss']})

    def average(self, evaluation: Metrics) -> None:
        self.accuracy = '%.4f' % evaluation['accuracy']
        say(test_line(evaluation))


def test_line(means: Metrics) -> str:
    """The line about the test points."""
    return 'Test accuracy: %.4f' % means['accuracy']


def decision_regions(view: View) -> Optional[Panel]:
    """The classes of the points of a plane by the last iterate and by the average, from their newest checkpoints."""
    test = view.data.test
    low, high = test.x.min(0) - 1, test.x.max(0) + 1
    across, down = np.meshgrid(np.linspace(low[0], high[0], PIXELS), np.linspace(high[1], low[1], PIXELS))
    maps = []
    with tf.Graph().as_default(), cpu_session() as session:
        probabilities = tf.nn.softmax(mlp(tf.constant(np.stack([across.ravel(), down.ravel()], 1), tf.float32), False))
        saver = tf.train.Saver(tf.global_variables())
        for words, directory in ((both('last iterate'), view.config.ckpt_dir),
                                 (both('average'), os.path.join(view.config.ckpt_dir, 'swa'))):
            for path in checkpoints.paths(directory)[:1]:
                saver.restore(session, path)
                colours = session.run(probabilities) @ np.array(COLOURS)
                maps.append((words, colours.round().astype(np.uint8).reshape(PIXELS, PIXELS, 3)))
    shown = list(zip(*test.x[:POINTS].round(2).T.tolist(), test.y[:POINTS].tolist()))
    return pictures.regions(
        both('Decision regions'),
        both('Colours mix the classes by their probability; dots are test points'),
        np.stack([low, high], 1).tolist(), maps, shown) if maps else None


RECIPE = Recipe(
    defaults=dict(train_epochs=100, batch_size=16384, learning_rate=0.1, momentum=0., weight_decay=0.,
                  display_step=100, val_epoch=10, save_interval=10, data_path=NO_DATA,
                  # of 100 epochs the 75th, as the vendor's; a shorter run is averaged too
                  swa_start_epoch=0.75, swa_schedule='cyclic', swa_lr=1e-3, swa_lr2=3e-3, swa_freq=3,
                  precision_mode='allow_mix_precision'),
    load=load,
    train_input=train_input,
    test_input=test_input,
    model=heads.classifier(mlp),
    learning_rate=schedules.constant,
    optimizer=optimizers.momentum,
    log=SwaLog,
    pictures=lambda: dict(regions=Picture(decision_regions)),
    evaluation_lines=lambda means: [test_line(means)],
    vendor_name='SWA_ID0252_for_TensorFlow')
