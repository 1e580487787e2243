"""Data sets of 32x32 images, for the networks that classify them: --task says which one --data_path holds."""
import functools
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from core.errors import InputError
from core.settings import paths
from core.settings.config import Config
from data import cifar, svhn, synthetic
from data.dataset import DataSet, summary

SIZE = 32
FOLDER, TFRECORD = 'folder', 'tfrecord'
OF_FILES = {FOLDER: 'class folders', TFRECORD: 'TFRecord shards'}      # images of any size, and of no synthetic set


class ImageSet(NamedTuple):
    """A value of --task."""
    load: Callable[[str, Config], DataSet]              # load(path, config)
    synthesize: Optional[Callable[..., DataSet]]        # its stand-in; None: there is none


TASKS: Dict[str, ImageSet] = {
    'cifar10': ImageSet(lambda path, config: cifar.cifar10(path), synthetic.cifar10),
    'cifar100': ImageSet(lambda path, config: cifar.cifar100(path), synthetic.cifar100),
    'svhn': ImageSet(lambda path, config: svhn.svhn(path), synthetic.cifar10),
    **{task: ImageSet(lambda path, config: _small(path, config), None) for task in OF_FILES}}


def of_files(path: str, config: Config) -> DataSet:
    """The DataSet of a --task of OF_FILES, no image of which is decoded yet. Raises InputError naming the file at fault.
    """
    if config.synthetic:
        raise InputError('--task=%s: needs --data_path, a directory of %s' % (config.task, OF_FILES[config.task]))
    cache = os.path.join(config.output_path, paths.CACHE)
    if config.task == TFRECORD:
        from data import examples
        return examples.images_in_shards(path, cache)
    from data import folders
    return folders.folders(path, config.seed, cache)


def _small(path, config):
    from data import images            # the decoders of images, which no other run loads
    return images.small(of_files(path, config), SIZE)


def load(config: Config, **of_synthetic: int) -> DataSet:
    """The DataSet of --task, or its synthetic stand-in, made with the numbers `of_synthetic`.

    Raises InputError naming the file at fault, and for a --task that is none of images.
    """
    if config.task not in TASKS:
        raise InputError('--task=%s: this network reads %s' % (config.task, ', '.join(TASKS)))
    task = TASKS[config.task]
    if not config.synthetic:
        data = task.load(config.data_path, config)
        return data if data.summary else data._replace(
            summary=summary(data.train.size, data.test.size, data.classes))
    if not task.synthesize:
        return of_files(config.data_path, config)
    return task.synthesize(**of_synthetic)


FIT = 'of a larger picture the largest square in its centre, scaled with antialiasing'


def read(path: str) -> List[Tuple[str, np.ndarray]]:
    """[(name, uint8 [32, 32, 3])] of a picture, or of every image in a batch of CIFAR, called FILE[ROW].

    Raises InputError for a file that is neither.
    """
    try:
        return [(path, _reader()(path))]
    except InputError as error:
        if not _may_be_batch(path):
            raise
        try:
            return [('%s[%d]' % (path, row), image) for row, image in enumerate(cifar.images(path))]
        except InputError:
            raise error


@functools.lru_cache(maxsize=1)
def _reader() -> Callable[[str], np.ndarray]:
    from data import images
    return images.Reader(lambda image: images.square(image, SIZE))


def _may_be_batch(path: str) -> bool:
    """Whether a file starts as a pickle does, which no picture does."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return False
    with open(path, 'rb') as file:
        return file.read(1) in (b'\x80', b'(', b'}')
