"""Labelled images beside images in six poses, contrast-normalised or whitened."""
import functools
import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.run import Input
from core.settings import paths
from core.settings.config import Config
from data import cifar, pipeline, whitening
from data.cutmix import cutmix
from data.dataset import Split, labelled_subset
from data.loading import as_written
from data.seeds import split_seed
from data.validation import held_out
from data.transforms import POSES, add_noise, copies_for_test, flip, shift, six_poses
from launchers.networks import image_sets

FITTED = 10000            # images of files, at most, to which the whitening is fitted: of arrays it is fitted to all
SYNTHETIC_TEST = 128      # images; a test looks at each eight times


class Task(NamedTuple):
    """A data set and how the vendor treats it."""
    classes: int          # of a checkpoint that does not name them; 0: any number
    zca: bool             # images are whitened, not only contrast-normalised
    flips: bool           # a mirrored image is of the same class


TASKS = {'cifar10': Task(10, zca=True, flips=True),
         'cifar100': Task(100, zca=True, flips=True),
         'svhn': Task(10, zca=False, flips=False),
         **dict.fromkeys(image_sets.OF_FILES, Task(0, zca=True, flips=True))}


class Data(NamedTuple):
    """uint8 images and what makes normalised float32 images of them."""
    train: Split
    test: Split
    normalize: Callable
    class_names: Tuple[str, ...] = cifar.NAMES
    fitted: Optional[whitening.Whitening] = None       # the whitening in normalize()
    summary: str = ''
    loading: Dict[str, Any] = {}                       # of images in files: DataSet.loading
    validation: Optional[Split] = None


def load(config: Config) -> Data:
    """The Data of --task. Raises InputError naming the file at fault."""
    data = image_sets.load(config, test=SYNTHETIC_TEST)
    if config.validation and data.validation is None:      # before the whitening, which is fitted to the training part
        data = held_out(data, config.validation, config.seed)
    loading = data.loading if data.load_one else {}
    size = image_sets.size_of(config)
    if size[0] != size[1]:
        raise InputError('--image_size=%s: the six poses are those of square images' % config.image_size)
    if not TASKS[config.task].zca or size != image_sets.SIZE:
        return Data(data.train, data.test, whitening.normalize_contrast, data.class_names, None, data.summary, loading,
                    data.validation)
    images = data.train.x
    if loading:
        few = np.random.RandomState(config.seed).permutation(data.train.size)[:FITTED]
        images, is_good = pipeline.samples(data.train.subset(np.sort(few)), **loading)
        data.skipped.check()
        images = images[is_good]
    fitted = whitening.cached_whitening(images, os.path.join(config.output_path, paths.CACHE))
    return Data(data.train, data.test, functools.partial(whitening.whiten, whitening=fitted), data.class_names, fitted,
                data.summary, loading, data.validation)


def _prepared(data: Data, split: Split, loading: Dict[str, Any]) -> Tuple[Split, Callable]:
    """(split, function in the graph) that together make normalised images.

    Those of arrays are made at once, and in batches those that the options `loading` of a stream change first.
    """
    if loading:
        return split, lambda images: normalize(images, constants(data))
    return Split(data.normalize(split.x), split.y), lambda images: images


def train_input(data: Data, config: Config) -> Input:
    """Batches ((images, posed images), (labels, poses)) of 6 * batch_size each. Raises InputError naming --labels.

    Labels are distributions [6 * batch_size, classes]; --cutmix_alpha mixes them and their images. The other images
    are batch_size images in six poses each; an epoch is a pass over those, and at least one step.
    """
    task, share = TASKS[config.task], dict(rank=config.rank, ranks=config.ranks)
    classes = len(data.class_names)
    count = len(data.train.y) if config.labels == 'all' else config.labels
    labelled = labelled_subset(data.train, classes, count, config.seed)
    unlabelled = labelled if config.unlabeled == 'labeled' else data.train
    size = len(unlabelled.y)
    steps = max(pipeline.steps_per_epoch(size, config.batch_size) // config.ranks, 1)
    loading = image_sets.for_training(data.loading, config)
    (labelled, prepare), (unlabelled, _) = (_prepared(data, split, loading) for split in (labelled, unlabelled))

    def label(images, y, seed):
        augment_seed, cutmix_seed = split_seed(seed, 2)
        images = augment(prepare(images), augment_seed, task.flips)
        return cutmix(images, tf.one_hot(y, classes), cutmix_seed, config.cutmix_alpha)

    def pose(images, y, seed):
        del y
        posed, poses = six_poses(prepare(images))
        return augment(posed, seed, flips=False), poses

    together = POSES * config.batch_size
    stream = pipeline.zip_streams(
        pipeline.training_stream(_at_least(together * config.ranks, labelled), together,
                                 config.seed, transform=label, **share, **loading),
        pipeline.training_stream(_at_least(config.batch_size * config.ranks, unlabelled), config.batch_size,
                                 config.seed + 1, transform=pose, **share, **loading))
    pairs = stream.dataset.map(as_written(lambda labelled, posed: tuple(zip(labelled, posed))))
    return pipeline.as_input(stream._replace(dataset=pairs, batches=steps, size=size))


def _at_least(count, split):
    """The split, repeated as a whole if it has fewer than `count` samples."""
    if len(split.y) >= count:
        return split
    repeated = np.tile(np.arange(len(split.y)), -(-count // len(split.y)))
    return split.subset(repeated)


def augment(images: tf.Tensor, seed: tf.Tensor, flips: bool) -> tf.Tensor:
    """Each image shifted by up to 2 pixels, with `flips` mirrored or not, and noisy."""
    shift_seed, flip_seed, noise_seed = split_seed(seed, 3)
    images = shift(images, shift_seed)
    return add_noise(flip(images, flip_seed) if flips else images, noise_seed)


def test_input(data: Data, config: Config) -> Input:
    """Batches (copies [batch, copies, 32, 32, 3] of images, classes [batch], weights [batch]).

    Without --test_copies the images themselves, [batch, 32, 32, 3].
    """
    test, prepare = _prepared(data, data.test, data.loading)

    def copy(images, y, seed):
        images = prepare(images)
        if not config.test_copies:
            return images, y
        return tf.transpose(copies_for_test(images, seed, TASKS[config.task].flips), [1, 0, 2, 3, 4]), y
    return pipeline.test_input(test, config.batch_size, transform=copy, rank=config.rank, ranks=config.ranks,
                               **data.loading)


def test_pixels(data: Data, config: Config) -> Input:
    """Batches (images uint8 [batch, 32, 32, 3], classes [batch], weights [batch])."""
    return pipeline.test_input(data.test, config.batch_size, rank=config.rank, ranks=config.ranks, **data.loading)


def constants(data: Data) -> Dict[str, np.ndarray]:
    """Recipe.images.constants: the whitening, if there is one."""
    return dict(data.fitted._asdict()) if data.fitted else {}


def normalize(images: tf.Tensor, constants: Dict[str, np.ndarray]) -> tf.Tensor:
    """Data.normalize() in the graph, of images [batch, 32, 32, 3] from 0 to 255."""
    flat = tf.reshape(tf.cast(images, tf.float32), [-1, images.shape[1:].num_elements()])
    flat -= tf.reduce_mean(flat, 1, keepdims=True)
    norm = tf.sqrt(tf.reduce_sum(tf.square(flat), 1, keepdims=True))
    flat *= whitening.SCALE / tf.where(norm < whitening.FLAT, tf.ones_like(norm), norm)
    if constants:
        flat = tf.matmul(flat - constants['mean'], constants['matrix'])
    return tf.reshape(flat, [-1] + images.shape[1:].as_list())
