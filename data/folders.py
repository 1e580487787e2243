"""Class folders: DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or DIR/CLASS/*.jpg, of which a part is held out."""
import concurrent.futures
import os
from typing import Dict, List, Sequence, Tuple

import numpy as np

from core.errors import InputError
from data import images
from data.dataset import DataSet, Split, check_directory
from data.loading import Skipped

HELD_OUT_PART = 0.2            # of each class, at least one image
THREADS = 8
JPEG = ('.jpg', '.jpeg')


def folders(path: str, seed: int, suffixes: Sequence[str] = images.SUFFIXES) -> DataSet:
    """The DataSet of the images in class folders; x holds the names of files, classes are in alphabetical order.

    Without train/ and test/ the test part is drawn by `seed`. No file is opened. Raises InputError when there are
    fewer than two classes, a class has too few images, or both parts do not have the same classes.
    """
    check_directory(path)
    parts = [os.path.join(path, part) for part in ('train', 'test')]
    if any(map(os.path.isdir, parts)):
        train, test = (_classes(part, suffixes, 1) for part in parts)
        different = set(train) ^ set(test)
        if different:
            raise InputError('--data_path=%s: train/ and test/ must have the same class folders; %s is in one only' % (
                path, min(different)))
    else:
        train, test = _held_out(_classes(path, suffixes, 2), seed)
    names = sorted(train)
    return DataSet(_split(train, names), _split(test, names), tuple(names))


def small_images(path: str, seed: int, size: int = 32) -> DataSet:
    """The DataSet of folders() with the images themselves, uint8 [count, size, size, 3]: the square in their centre.

    Files that cannot be decoded are named and left out. Raises InputError when they are more than 1 %.
    """
    data = folders(path, seed)
    skipped = Skipped(np.append(data.train.x, data.test.x))
    read = images.Reader(lambda image: images.square(image, size))

    def image(file):
        try:
            return read(file)
        except InputError:
            skipped.report([file.encode()])
            return None

    def decoded(split):
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(image, split.x))
        skipped.check()
        kept = [number for number, one in enumerate(found) if one is not None]
        return Split(np.stack([found[number] for number in kept]), split.y[kept])
    return data._replace(train=decoded(data.train), test=decoded(data.test))


def _classes(path: str, suffixes: Sequence[str], least: int) -> Dict[str, List[str]]:
    """{class: its files in alphabetical order} of the folders in `path`."""
    if not os.path.isdir(path):
        raise InputError('--data_path=%s: no such directory; class folders lie in train/ and test/, or in the '
                         'directory itself' % path)
    found = {}
    for entry in os.scandir(path):
        if entry.is_dir() and not entry.name.startswith('.'):
            found[entry.name] = sorted(file.path for file in os.scandir(entry.path)
                                       if file.name.lower().endswith(tuple(suffixes)) and file.is_file())
    if len(found) < 2:
        raise InputError('--data_path=%s: has %d class folders; at least 2 are needed' % (path, len(found)))
    for name, files in sorted(found.items()):
        if len(files) < least:
            raise InputError('--data_path=%s: the class %s has %d images (%s); at least %d are needed' % (
                path, name, len(files), ' '.join(suffixes), least))
    return found


def _held_out(classes: Dict[str, List[str]], seed: int) -> Tuple[Dict[str, List[str]], Dict[str, List[str]]]:
    """(train, test) out of each class's files."""
    random = np.random.RandomState(seed)
    train, test = {}, {}
    for name in sorted(classes):
        files = [classes[name][place] for place in random.permutation(len(classes[name]))]
        count = max(1, int(round(HELD_OUT_PART * len(files))))
        test[name], train[name] = sorted(files[:count]), sorted(files[count:])
    return train, test


def _split(classes: Dict[str, List[str]], names: Sequence[str]) -> Split:
    labels = np.repeat(np.arange(len(names), dtype=np.int32), [len(classes[name]) for name in names])
    return Split(np.array([file for name in names for file in classes[name]], object), labels)
