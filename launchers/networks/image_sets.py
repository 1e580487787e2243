"""Data sets of 32x32 images, for the networks that classify them: --task says which one --data_path holds."""
import functools
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from core.errors import InputError
from core.settings.config import Config
from data import cifar, svhn, synthetic
from data.dataset import DataSet, summary

SIZE = 32
FOLDER = 'folder'


class ImageSet(NamedTuple):
    """A value of --task."""
    load: Callable[[str, Config], DataSet]              # load(path, config)
    synthesize: Optional[Callable[..., DataSet]]        # its stand-in; None: there is none


TASKS: Dict[str, ImageSet] = {
    'cifar10': ImageSet(lambda path, config: cifar.cifar10(path), synthetic.cifar10),
    'cifar100': ImageSet(lambda path, config: cifar.cifar100(path), synthetic.cifar100),
    'svhn': ImageSet(lambda path, config: svhn.svhn(path), synthetic.cifar10),
    FOLDER: ImageSet(lambda path, config: _folders(path, config), None)}


def _folders(path, config):
    from data import folders           # with the decoders of images, which no other run loads
    return folders.small_images(path, config.seed, SIZE)


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
        raise InputError('--task=%s: needs --data_path, a directory of class folders' % config.task)
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
