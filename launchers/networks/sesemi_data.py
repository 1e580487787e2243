"""SESEMI's data: a labelled and an unlabelled stream of images side by side (launchers/networks/sesemi.py).

Differences from the vendor's: the six poses of an image have a shift and a noise of their own, where
there they share them; and the unlabelled images come from the whole training set, as in the paper, for
which --unlabeled=labeled is the vendor's choice.
"""
import functools
import os
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf

from data import cifar, pipeline, svhn, synthetic, whitening
from data.cutmix import cutmix
from data.dataset import Split, labelled_subset
from data.seeds import split_seed
from data.transforms import (POSES, add_noise, copies_for_test, flip, shift,
                             six_poses)

SYNTHETIC_TEST = 128      # images; a test looks at each eight times


class Task(NamedTuple):
    """A data set and how the vendor treats it."""
    load: Callable        # of the user's files
    synthesize: Callable  # their stand-in
    classes: int
    zca: bool             # images are whitened, not only contrast-normalised
    flips: bool           # a mirrored image is of the same class


TASKS = {'cifar10': Task(cifar.cifar10, synthetic.cifar10, 10, zca=True, flips=True),
         'cifar100': Task(cifar.cifar100, synthetic.cifar100, 100, zca=True, flips=True),
         'svhn': Task(svhn.svhn, synthetic.cifar10, 10, zca=False, flips=False)}


class Data(NamedTuple):
    """uint8 images and what makes normalised float32 images of them."""
    train: Split
    test: Split
    normalize: Callable


def load(config):
    """The Data of --task. Raises InputError naming the file at fault."""
    task = TASKS[config.task]
    data = (task.synthesize(test=SYNTHETIC_TEST) if config.synthetic
            else task.load(config.data_path))
    normalize = whitening.normalize_contrast
    if task.zca:
        cache = os.path.join(config.output_path, 'cache')
        normalize = functools.partial(
            whitening.whiten, whitening=whitening.cached_whitening(data.train.x, cache))
    return Data(data.train, data.test, normalize)


def train_input(data, config):
    """Batches ((images, labels), (images, poses)). Raises InputError naming --labels.

    Labels are distributions [batch, classes]; --cutmix_alpha mixes them and their images.
    6 * batch_size labelled images meet batch_size others in six poses each. An epoch of
    labels // batch_size steps shows a labelled image six times on average.
    """
    task, place = TASKS[config.task], dict(rank=config.rank, ranks=config.ranks)
    labelled = labelled_subset(data.train, task.classes, config.labels, config.seed)
    steps = _steps_per_epoch(config)
    labelled = Split(data.normalize(labelled.x), labelled.y)
    unlabelled = labelled if config.unlabeled == 'labeled' else Split(data.normalize(data.train.x), data.train.y)

    def label(images, y, seed):
        augment_seed, cutmix_seed = split_seed(seed, 2)
        images = augment(images, augment_seed, task.flips)
        return cutmix(images, tf.one_hot(y, task.classes), cutmix_seed, config.cutmix_alpha)

    def pose(images, y, seed):
        del y
        posed, poses = six_poses(images)
        return augment(posed, seed, flips=False), poses

    together = POSES * config.batch_size
    stream = pipeline.zip_streams(
        pipeline.training_stream(_at_least(together * config.ranks, labelled), together,
                                 config.seed, transform=label, **place),
        pipeline.training_stream(unlabelled, config.batch_size, config.seed + 1,
                                 transform=pose, **place))
    return pipeline.as_input(stream._replace(batches=steps, size=config.labels))


def test_input(data, config):
    """Batches (copies of images, classes, weights)."""
    def copy(images, y, seed):
        return copies_for_test(images, seed, TASKS[config.task].flips), y
    return pipeline.test_input(Split(data.normalize(data.test.x), data.test.y), config.batch_size, transform=copy,
                               rank=config.rank, ranks=config.ranks)


def augment(images, seed, flips):
    """Each image shifted by up to 2 pixels, with `flips` mirrored or not, and noisy."""
    shift_seed, flip_seed, noise_seed = split_seed(seed, 3)
    images = shift(images, shift_seed)
    return add_noise(flip(images, flip_seed) if flips else images, noise_seed)


def _steps_per_epoch(config):
    """At least one: labels that are fewer than the images of all ranks repeat within a step."""
    return max(pipeline.steps_per_epoch(config.labels, config.batch_size) // config.ranks, 1)


def _at_least(count, split):
    """The split, repeated as a whole if it has fewer than `count` samples."""
    if len(split.y) >= count:
        return split
    repeated = np.tile(np.arange(len(split.y)), -(-count // len(split.y)))
    return Split(split.x[repeated], split.y[repeated])
