"""Data sets of images for the networks that classify them, which --task chooses: of 32x32 pixels, or --image_size."""
import functools
import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from core.errors import InputError
from core.settings import paths
from core.settings.config import Config
from core.settings.kinds import OWN_SIZE
from data import synthetic
from data.dataset import DataSet, summary

SIZE = 32, 32
# Of the sides of the largest rectangle in the centre: at 32 pixels all, as the vendors; else as at 224, which is cut
# out of an image scaled to a shorter side of 256 (He et al. 2015, arXiv 1512.03385, section 3.4).
PART, PART_OF_SMALL = 224 / 256, 1.
# Of training images: at 32 pixels nothing, as the vendors; else as torchvision trains on ImageNet.
AUGMENTATION = dict(random_resized_crop=.08, mirror=True, color_jitter=0.)
OF_SMALL = dict(random_resized_crop=0., mirror=False)
FOLDER, TFRECORD = 'folder', 'tfrecord'
OF_FILES = {FOLDER: 'class folders', TFRECORD: 'TFRecord shards'}      # images of any size, and of no synthetic set


class ImageSet(NamedTuple):
    """A value of --task."""
    load: Callable[[str, Config], DataSet]              # load(path, config)
    synthesize: Optional[Callable[..., DataSet]]        # its stand-in; None: there is none


TASKS: Dict[str, ImageSet] = {
    'cifar10': ImageSet(lambda path, config: _cifar().cifar10(path), synthetic.cifar10),
    'cifar100': ImageSet(lambda path, config: _cifar().cifar100(path), synthetic.cifar100),
    'svhn': ImageSet(lambda path, config: _svhn(path), synthetic.cifar10),
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


def _cifar():
    from data import cifar             # the reader of one set, which a run of another does not load
    return cifar


def _svhn(path):
    from data import svhn
    return svhn.svhn(path)


def _small(path, config):
    from data import images            # the decoders of images, which no other run loads
    size = size_of(config)
    return images.of_size(of_files(path, config), size, crop(*size))


def size_of(config: Config) -> Tuple[int, int]:
    """(height, width) of the images: --image_size, or of a network without it 32x32."""
    sides = [int(side) for side in (getattr(config, 'image_size', None) or '').split('x') if side]
    return (sides[0], sides[-1]) if sides else SIZE


def crop(height: int, width: int) -> float:
    """Recipe.images.crop."""
    return PART_OF_SMALL if (height, width) == SIZE else PART


def load(config: Config, **of_synthetic: int) -> DataSet:
    """The DataSet of --task, or its synthetic stand-in, made with the numbers `of_synthetic`.

    Raises InputError naming the file at fault, and for a --task that is none of images.
    """
    if config.task not in TASKS:
        raise InputError('--task=%s: this network reads %s' % (config.task, ', '.join(TASKS)))
    task = TASKS[config.task]
    if config.task not in OF_FILES and size_of(config) != SIZE:
        raise InputError('--image_size=%s: the images of --task=%s have 32x32 pixels; %s have any size' % (
            config.image_size, config.task, ' and '.join('--task=' + one for one in OF_FILES)))
    if not config.synthetic:
        data = task.load(config.data_path, config)
        return data if data.summary else data._replace(
            summary=summary(data.train.size, data.test.size, data.classes))
    if not task.synthesize:
        return of_files(config.data_path, config)
    return task.synthesize(**of_synthetic)


def augmentation(defaults: Mapping[str, Any], names: Sequence[str] = tuple(AUGMENTATION)) -> Tuple[Dict, Sequence]:
    """(`defaults` of a recipe and of the switches `names` of AUGMENTATION, variants by --image_size)."""
    of_small = {name: value for name, value in OF_SMALL.items() if name in names and name not in defaults}
    return ({**{name: AUGMENTATION[name] for name in names}, **defaults}, [({'image_size': OWN_SIZE}, of_small)])


def for_training(loading: Dict[str, Any], config: Config) -> Dict[str, Any]:
    """The options `loading` of a stream of images (DataSet.loading) for training, augmented as the switches have it."""
    values = config.values()
    switches = {name: values[name] for name in AUGMENTATION if values.get(name)}
    if not switches:
        return loading
    from data import augmentation      # with the decoders of images, which no other run loads
    return dict(loading, kept=(), load_one=augmentation.load_augmented(
        augmentation.Augmentation(**switches), size_of(config), loading.get('load_one')))


def fit(height: int, width: int) -> str:
    """Recipe.images.fit."""
    if (height, width) == SIZE:
        return 'of a larger picture the largest square in its centre, scaled with antialiasing'
    of_what = ('square', 'side') if height == width else ('%d:%d rectangle' % (height, width), 'sides')
    return ('of a picture of another size the %s in its centre with 224/256 of the %s of the largest, scaled with '
            'antialiasing' % of_what)


def read(path: str, size: Optional[Tuple[int, int]] = None) -> List[Tuple[str, np.ndarray]]:
    """[(name, uint8 [*size, 3])] of a picture, or of every image in a batch of CIFAR, called FILE[ROW].

    size: (height, width); None: 32x32. Raises InputError for a file that is neither.
    """
    try:
        return [(path, _reader(size or SIZE)(path))]
    except InputError as error:
        if not _may_be_batch(path) or (size or SIZE) != SIZE:
            raise
        try:
            return [('%s[%d]' % (path, row), image) for row, image in enumerate(_cifar().images(path))]
        except InputError:
            raise error


def read_together(paths: Sequence[str], size: Optional[Tuple[int, int]] = None) -> Dict[str, np.ndarray]:
    """Recipe.images.read_together: {path: uint8 [*size, 3]} of the PNG files of 32x32 pixels, where size is that."""
    return _reader(size or SIZE).together(paths)


@functools.lru_cache(maxsize=1)
def _reader(size: Tuple[int, int]) -> Callable[[str], np.ndarray]:
    from data import images
    return images.ImageReader(lambda image: images.centre(image, size, crop(*size)), size if crop(*size) == 1 else None)


def _may_be_batch(path: str) -> bool:
    """Whether a file starts as a pickle does, which no picture does."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return False
    with open(path, 'rb') as file:
        return file.read(1) in (b'\x80', b'(', b'}')
