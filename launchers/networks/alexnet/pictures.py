"""Pictures for the report: the kernels of the first layer, and photographs that are misclassified."""
import glob
import os
from typing import Optional, Sequence

import numpy as np
import tensorflow as tf

from core.pages import pictures
from core.pages.text import both
from core.run import Panel, Run, View
from data import images, pipeline
from data.dataset import DataSet, sample_name
from launchers.networks import shown
from nets.alexnet import first_kernels

ROWS, COLUMNS, ENLARGED = 6, 16, 4   # of the picture of the kernels
KERNELS = 'first_kernels'     # directory of these pictures in the results
MISTAKES, SIDE = 16, 160      # misclassified images in the report, and the width and height of each


class FirstKernels(tf.train.SessionRunHook):
    """Every epoch, the 96 kernels of the first layer as one picture in the directory KERNELS of the results.

    The kernels are fetched in every step, because a further set of fetches would be a further graph to compile.
    """

    def __init__(self, run: Run):
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
        both('First kernels over the epochs'),
        both('The 96 kernels of the first layer, of both towers'),
        [(stored[epoch], both('epoch %s', epoch)) for epoch in epochs]) if epochs else None


def misclassified(view: View) -> Optional[Panel]:
    """The test images that are wrong with the largest probability, as the files have them."""
    return view.predictions and pictures.mistakes(
        view.predictions, shown.class_names(view), lambda rows: photographs(view.data, rows),
        lambda row: sample_name(view.data.test, row), MISTAKES, True)


def photographs(files: DataSet, rows: Sequence[int]) -> Sequence[np.ndarray]:
    """The images of these rows of the test set as squares uint8 of SIDE pixels; black where one cannot be read."""
    return pipeline.samples(files.test.subset(rows), load_one=images.load_square(SIDE),
                            skipped=files.skipped)[0] if len(rows) else []
