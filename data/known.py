"""Which data set lies under a directory, told from the names of files alone."""
from typing import List

from data import cats_dogs, cifar, svhn

# value of --task -> (what its files are, whether they are in or under a directory)
_KNOWN = {
    'cifar10': ('CIFAR-10 (data_batch_1 to data_batch_5, test_batch)', cifar.has_cifar10),
    'cifar100': ('CIFAR-100 (train, test)', cifar.has_cifar100),
    'svhn': ('SVHN (train_32x32.mat, test_32x32.mat)', svhn.has_svhn),
    'cats_dogs': ('photographs of cats and dogs (cat.N.jpg, dog.N.jpg)', cats_dogs.has_photos),
}


def found(path: str) -> List[str]:
    """The data sets, as --task calls them, that a loader of this package finds for --data_path=`path`."""
    return [name for name, (_, is_there) in _KNOWN.items() if is_there(path)]


def title(task: str) -> str:
    """The name of a data set and of its files."""
    return _KNOWN[task][0]


def is_known(task: str) -> bool:
    """Whether the files of a data set can be told by their names."""
    return task in _KNOWN
