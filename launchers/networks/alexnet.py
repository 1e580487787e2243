"""AlexNet on cats and dogs (docs/vendor-contract.md sections 1 and 3).

An epoch is ten random crops of each photograph, as many as the vendor cuts before the training: 240,000 of 24,000.
In the log `step:` counts from 0 in every epoch, as the vendor's does. `progress` is the part of the epoch that is done;
it has a line at the end of the epoch, too, and the loss in it is the cross-entropy of one batch, as the vendor's.
"""
import atexit
import functools
import glob
import os
import shutil
import tempfile
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from nets.blocks import heads, optimizers, schedules
from core.errors import InputError
from core.log import say
from core.recipe import Images, Picture, Recipe, Scores
from core.pages import pictures
from core.reporting.neutral_log import say_end
from core.reporting.report import Window
from core.run import Input, Log, Panel, Report, View
from core.settings.config import Config
from data import cats_dogs, images, pipeline, synthetic
from data.cutmix import cutmix
from data.dataset import DataSet
from data.loading import skipped_hooks
from launchers.networks import image_sets, shown
from nets import layers
from nets.alexnet import alexnet, first_kernels

CATS_DOGS = 'cats_dogs'
TASKS = (CATS_DOGS, *image_sets.OF_FILES)
CROPS = 10                    # of an image with --ten_crop
CROPS_AN_EPOCH = 10           # of a photograph in training; the vendor's crops are ten of each, too
PROGRESS_STEPS = 20
ROWS, COLUMNS, ENLARGED = 6, 16, 4   # of the picture of the kernels
KERNELS = 'first_kernels'     # directory of these pictures in the results
MISTAKES, SIDE = 16, 160      # misclassified images in the report, and the width and height of each


def load(config: Config) -> DataSet:
    """The names and classes of the files of --data_path; synthetic ones are written to a directory that goes with the
    process.

    Raises InputError for a --task of other images.
    """
    path = config.data_path
    if config.task in image_sets.OF_FILES:
        return image_sets.of_files(path, config)
    if config.task != CATS_DOGS:
        raise InputError('--task=%s: this network reads %s' % (config.task, ', '.join(TASKS)))
    if config.synthetic:
        path = tempfile.mkdtemp(prefix='cats_dogs-')
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        synthetic.write_cats_dogs(path, max(synthetic.FILES, synthetic.FILES_A_RANK * config.ranks))
        return cats_dogs.cats_dogs(path, config.seed)._replace(summary='')
    return cats_dogs.cats_dogs(path, config.seed, CROPS_AN_EPOCH)


def train_input(files: DataSet, config: Config) -> Input:
    """Random crops, mixed by --cutmix_alpha."""
    def mix(images, y, seed):
        return cutmix(images, tf.one_hot(y, len(files.class_names)), seed, config.cutmix_alpha)
    return pipeline.train_input(files.train, config.batch_size, config.seed, transform=mix,
                                load_one=cats_dogs.load_training, skipped=files.skipped,
                                rank=config.rank, ranks=config.ranks)


def test_input(files: DataSet, config: Config) -> Input:
    """The crop in the centre, or with --ten_crop all ten."""
    load_one, crops = (cats_dogs.load_ten_crops, CROPS) if config.ten_crop else (cats_dogs.load_test, 1)
    return _test_input(files, config, load_one, crops)


def test_pixels(files: DataSet, config: Config) -> Input:
    """The crop in the centre, its values from 0 to 255."""
    def load_one(content, y, seed):
        image, y = cats_dogs.load_test(content, y, seed)
        return image + cats_dogs.MEAN, y
    return _test_input(files, config, load_one, 1)


def _test_input(files, config, load_one, crops):
    batch_size = min(max(config.batch_size // crops, 1), files.test.size)
    return pipeline.test_input(files.test, batch_size, load_one=load_one, skipped=files.skipped,
                               rank=config.rank, ranks=config.ranks)


FIT = 'of a larger picture the square in its centre with 227/256 of its shorter side, scaled'


def read(path: str, size: Optional[Tuple[int, int]] = None) -> List[Tuple[str, np.ndarray]]:
    """[(path, float32 [227, 227, 3])] of a picture: the crop in the centre, as in tests. Raises InputError."""
    del size                           # which is always this one
    return [(path, _reader()(path))]


@functools.lru_cache(maxsize=1)
def _reader():
    return images.Reader(cats_dogs.central_crop)


def net(images: tf.Tensor, is_training: bool, dropout: Callable, config: Config,
        classes: int = len(cats_dogs.CLASSES)) -> tf.Tensor:
    """Logits of images [n, 227, 227, 3], or of the mean over ten crops [n, 10, 227, 227, 3]."""
    del is_training
    logits = alexnet(tf.reshape(images, [-1] + images.shape[-3:].as_list()),
                     lambda x: dropout(x, 1 - config.keep_prob), classes)
    return logits if images.shape.ndims == 4 else _mean_over_crops(logits)


def score(outputs: Any, labels: tf.Tensor, config: Config) -> Scores:
    """The head of a classifier, with the cross-entropy as a metric, for the vendor's lines have it."""
    scores = heads.softmax.score(outputs, labels, config)
    return scores._replace(metrics=dict(scores.metrics, cross_entropy=scores.losses))


def _mean_over_crops(logits):
    """The logits of the mean probabilities, [10 * n, classes] -> [n, classes]."""
    log_probabilities = tf.reshape(tf.nn.log_softmax(logits), [-1, CROPS, logits.shape[1].value])
    return tf.reduce_logsumexp(log_probabilities, 1)


class VendorLog(Log):
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
            self.test_accuracy = _percent(report.evaluation)
            say('test accuracy ' + self.test_accuracy)
        self.accuracy = _percent(report.epoch_metrics)
        say('train accuracy ' + self.accuracy)

    def end(self, report: Report) -> None:
        say_end(report)


def _percent(means):
    return '%.5g' % (100 * means['accuracy'])


class FirstKernels(tf.train.SessionRunHook):
    """Every epoch, the 96 kernels of the first layer as one picture in the directory KERNELS of the results.

    The kernels are fetched in every step, because a further set of fetches would be a further graph to compile.
    """

    def __init__(self, run):
        self._clock, self._train_op = run.clock, run.step.train_op
        self._directory = os.path.join(run.config.run_dir, KERNELS)

    def begin(self):
        os.makedirs(self._directory, exist_ok=True)
        with tf.control_dependencies([self._train_op]):
            self._kernels = first_kernels().read_value()

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._kernels)

    def after_run(self, run_context, run_values):
        if self._clock.at_epoch_end:
            image, = pictures.files([picture(run_values.results)])
            with open(os.path.join(self._directory, 'epoch_%04d.png' % self._clock.epoch), 'wb') as file:
                file.write(image)


def picture(kernels: np.ndarray) -> np.ndarray:
    """Kernels [size, size, 3, 96] side by side on one scale from black to white: uint8 [height, width, 3]."""
    darkest, brightest = kernels.min(), kernels.max()
    tiles = np.round(255 * (kernels - darkest) / (brightest - darkest)).astype(np.uint8).transpose([3, 0, 1, 2])
    tiles = np.pad(tiles, [(0, 0), (0, 1), (0, 1), (0, 0)], 'constant')
    size = tiles.shape[1]
    rows = tiles.reshape([ROWS, COLUMNS, size, size, 3]).transpose([0, 2, 1, 3, 4])
    return rows.reshape([ROWS * size, COLUMNS * size, 3]).repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def kernels_over_epochs(view: View) -> Optional[Panel]:
    """The pictures that FirstKernels has written, in a slider; those from before a --resume stay."""
    paths = {}
    for path in glob.glob(os.path.join(glob.escape(view.config.run_dir), KERNELS, 'epoch_*.png')):
        epoch = int(os.path.basename(path)[len('epoch_'):-len('.png')]) + 1
        paths[epoch] = path
    stored = {int(words[0].split()[-1]): image for image, words in (view.stored('kernels') or {}).get('frames', ())}
    epochs = pictures.spread(sorted(set(paths) | set(stored)))
    new = [epoch for epoch in epochs if epoch not in stored]
    small = [image[::ENLARGED, ::ENLARGED] for image in pictures.decode([paths[epoch] for epoch in new])]
    stored.update(zip(new, pictures.encode(small)))
    return pictures.slider(
        ('First kernels over the epochs', '第一层卷积核随训练的变化'),
        ('The 96 kernels of the first layer, of both towers', '两个分支第一层的 96 个卷积核'),
        [(stored[epoch], ('epoch %d' % epoch, '第 %d 轮' % epoch)) for epoch in epochs]) if epochs else None


def misclassified(view: View) -> Optional[Panel]:
    """The test images that are wrong with the largest probability, as the files have them."""
    return view.predictions and pictures.mistakes(
        view.predictions, shown.class_names(view), lambda rows: photographs(view.data, rows), MISTAKES, True)


def photographs(files: DataSet, rows: Sequence[int]) -> Sequence[np.ndarray]:
    """The images of these rows of the test set as squares uint8 of SIDE pixels; black where one cannot be read."""
    return pipeline.samples(files.test.subset(rows), load_one=images.load_square(SIDE),
                            skipped=files.skipped)[0] if len(rows) else []


def learning_rate(config: Config, step: tf.Tensor, steps: int) -> tf.Tensor:
    """Recipe.learning_rate: --learning_rate times the number of ranks, as the vendor's; a tenth at each plateau."""
    return config.ranks * schedules.plateau(config, step, steps)


RECIPE = Recipe(
    defaults=dict(task=CATS_DOGS, train_epochs=35, batch_size=100, learning_rate=1e-3, momentum=0.9, weight_decay=5e-4,
                  keep_prob=0.5, ten_crop=False, cutmix_alpha=0., display_step=1, val_epoch=1,
                  precision_mode='allow_mix_precision'),
    cases=dict(full={}, performance=dict(train_steps=600)),
    on_synthetic=dict(train_steps=30, save_interval=5),
    load=load,
    train_input=train_input,
    test_input=test_input,
    model=heads.model(net, heads.softmax._replace(score=score), layers.l2_loss),
    images=Images(test_pixels, read, lambda images, constants: cats_dogs.centred(images),
                  fit=lambda height, width: FIT),
    learning_rate=learning_rate,
    optimizer=optimizers.momentum,
    log=VendorLog,
    pictures=lambda: dict(kernels=Picture(kernels_over_epochs), confusion=Picture(shown.confusion),
                          mistakes=Picture(misclassified)),
    hooks=lambda run: [schedules.FallOnPlateau(run), FirstKernels(run), *skipped_hooks(run)],
    evaluation_lines=lambda means: ['test accuracy ' + _percent(means)],
    split_strategy=(60, 19, 21),
    vendor_name='AlexNet_ID0259_for_TensorFlow',
    tasks=TASKS)
