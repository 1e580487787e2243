"""Photographs of cats and dogs, or class folders of photographs, as batches of crops."""
import atexit
import functools
import shutil
import tempfile
from typing import List, Optional, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.run import Input
from core.settings.config import Config
from data import cats_dogs, images, pipeline, synthetic
from data.cutmix import cutmix
from data.dataset import DataSet
from launchers.networks import image_sets

CATS_DOGS = 'cats_dogs'
TASKS = (CATS_DOGS, *image_sets.OF_FILES)
CROPS = 10                    # of an image with --ten_crop
CROPS_AN_EPOCH = 10           # of a photograph in training; the vendor's crops are ten of each, too
FIT = 'of a larger picture the square in its centre with 227/256 of its shorter side, scaled'


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
        return cats_dogs.cats_dogs(path, config.seed, validation=config.validation)._replace(summary='')
    return cats_dogs.cats_dogs(path, config.seed, CROPS_AN_EPOCH, config.validation)


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


def read(path: str, size: Optional[Tuple[int, int]] = None) -> List[Tuple[str, np.ndarray]]:
    """[(path, float32 [227, 227, 3])] of a picture: the crop in the centre, as in tests. Raises InputError."""
    del size                           # which is always this one
    return [(path, _reader()(path))]


@functools.lru_cache(maxsize=1)
def _reader():
    return images.ImageReader(cats_dogs.central_crop)
