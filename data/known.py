"""Which data set lies under a directory, told from names, sizes and headers of files alone."""
from typing import List

from data import cats_dogs, cifar, examples, folders, svhn

# value of --task -> (what its files are, whether they are in or under a directory)
_KNOWN = {
    'cifar10': ('CIFAR-10 (data_batch_1 to 5, test_batch)', cifar.has_cifar10),
    'cifar100': ('CIFAR-100 (train, test)', cifar.has_cifar100),
    'svhn': ('SVHN (train_32x32.mat, test_32x32.mat)', svhn.has_svhn),
    'cats_dogs': ('photographs of cats and dogs (cat.N.jpg, dog.N.jpg)', cats_dogs.has_photos),
    'tfrecord': ('images in TFRecord shards (train-00000-of-00010, ...)', examples.has_shards),
}

# value of --task -> inspect(path, seed, cache)
_INSPECT = {
    'cifar10': lambda path, seed, cache: cifar.check_cifar10(path),
    'cifar100': lambda path, seed, cache: cifar.check_cifar100(path),
    'svhn': lambda path, seed, cache: svhn.inspect(path),
    'cats_dogs': lambda path, seed, cache: cats_dogs.cats_dogs(path, seed).summary,
    'folder': lambda path, seed, cache: folders.folders(path, seed, cache).summary,
    'tfrecord': lambda path, seed, cache: examples.images_in_shards(path, cache).summary,
}


def found(path: str) -> List[str]:
    """The data sets, as --task calls them, that a loader of this package finds for --data_path=`path`."""
    return [name for name, (_, is_there) in _KNOWN.items() if is_there(path)]


def inspect(task: str, path: str, seed: int, cache: str) -> str:
    """DataSet.summary of a data set, '' where only reading it would tell; no image is decoded.

    cache: a directory for what only costs time to find again. Raises InputError for a file that is missing, truncated
    or something else.
    """
    return _INSPECT[task](path, seed, cache) or '' if task in _INSPECT else ''


def title(task: str) -> str:
    """The name of a data set and of its files."""
    return _KNOWN[task][0]


def is_known(task: str) -> bool:
    """Whether the files of a data set can be told by their names."""
    return task in _KNOWN
