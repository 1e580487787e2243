"""Class folders: DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or DIR/CLASS/*.jpg, of which a part is held out.

A folder that is called val, valid or validation, in any case of letters, is the validation part, and where there is no
other the test part; all of it may lie in one folder more.
"""
import collections
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from data import images
from data.catalogue import Catalogue
from data.dataset import DataSet, Split, check_directory, packed, summary
from data.listing import Listing, counted, left_out, listing, parts_of, shown
from data.loading import Skipped

HELD_OUT_PART = 0.2            # of each class, at least one image
Look = Callable[[bytes, Sequence[str]], Listing]       # data.listing.listing(), or that of a Catalogue
_LEVELS = 3                    # folders one in the other in which the data may lie


class _Part(NamedTuple):
    """The class folders of a directory."""
    files: Dict[bytes, List[bytes]]    # class -> the names of its images, with their directory
    others: collections.Counter        # suffix -> number of the files that are no images
    inner: int                         # folders in the class folders


def folders(path: str, seed: int, cache: Optional[str] = None) -> DataSet:
    """The DataSet of the images in class folders; x of a sample is the bytes of a file, classes are in alphabetical
    order.

    Without a folder of the training and one of the test part the latter is drawn by `seed`. No image is decoded.
    cache: a directory that keeps what was found, so that the ranks of a run do not list all files again; None: none.
    Raises InputError when there are fewer than two classes, a class has no images to train on, or what lies there is
    no image.
    """
    check_directory(path)
    catalogue = Catalogue(path, cache) if cache else None
    look = catalogue.listing if catalogue else listing
    top = _top(os.fsencode(path), look)
    inside = look(top, images.SUFFIXES)
    trains, tests, validations = parts_of(inside.folders)
    others = collections.Counter(inside.others)
    if inside.files:
        others['images outside the class folders'] += len(inside.files)
    if trains or tests:
        parts = _given_parts(path, top, trains, tests, validations, look)
        unused = tests[1:] + validations[1:]
        train, test, *validation = (part.files for part in parts)
    else:
        parts, unused, validation = [_part(path, top, look)], [], []
        train, test = _held_out(parts[0].files, seed)
    for part in parts:
        others.update(part.others)
    names, inner = sorted(train), sum(part.inner for part in parts)
    untested = [name for name in names if not test.get(name)]
    if len(untested) == len(names):
        raise InputError('--data_path=%s: every class has one image, so that none is left for tests' % path)
    if not (catalogue and catalogue.is_as_it_was):
        for name in names:
            images.check_kind(train[name])
    if catalogue:
        catalogue.keep()
    notes = [left_out(others), '%s in class folders not read' % counted(inner, 'folder') if inner else '']
    notes += ['%s/ not used' % shown(name) for name in unused]
    if untested:
        notes.append('no test images of the class%s %s%s' % (
            'es' * (len(untested) > 1), ', '.join(map(shown, untested[:5])), ', ...' * (len(untested) > 5)))
    train, test, *validation = (_split(part, names) for part in (train, test, *validation))
    notes += ['%s in %s/' % (counted(part.size, 'validation image'), shown(validations[0])) for part in validation]
    return DataSet(train, test, tuple(map(shown, names)), summary(train.size, test.size, len(names), notes),
                   skipped=Skipped(np.concatenate([part.x for part in (train, test, *validation)])),
                   validation=next(iter(validation), None))


def _top(path: bytes, look: Look) -> bytes:
    """The directory itself, or the one that is all it holds."""
    for _ in range(_LEVELS):
        inside = look(path, images.SUFFIXES)
        below = os.path.join(path, inside.folders[0]) if len(inside.folders) == 1 and not inside.files else path
        if below == path or any(parts_of(inside.folders)) or not look(below, ()).folders:
            break
        path = below
    return path


def _given_parts(path, top, trains, tests, validations, look):
    """[training _Part, test _Part, validation _Part if there is one] of the folders of these names in `top`, of each
    the first.
    """
    if not trains or not tests:
        raise InputError('--data_path=%s: has %s/ but no folder for the %s part: class folders lie in train/ and in '
                         'test/, val/ or validation/, or in the directory itself' % (
                             path, shown((trains or tests)[0]), 'test' if trains else 'training'))
    folders = [names[0] for names in (trains, tests, validations) if names]
    train, *others = parts = [_part(path, os.path.join(top, folder), look) for folder in folders]
    for folder, part in zip(folders[1:], others):
        unknown = sorted(set(part.files) - set(train.files))
        if unknown:
            raise InputError('--data_path=%s: %s/ has the class %s, which %s/ has not' % (
                path, shown(folder), shown(unknown[0]), shown(trains[0])))
    return parts


def _part(path: str, top: bytes, look: Look) -> _Part:
    """The class folders in the directory `top`; those that are empty are none."""
    files, others, inner, deeper = {}, collections.Counter(), 0, None
    suffixes = images.SUFFIXES
    for name in look(top, suffixes).folders:
        folder = os.path.join(top, name)
        inside = look(folder, suffixes)
        if inside.files:
            files[name] = [os.path.join(folder, file) for file in inside.files]
            inner += len(inside.folders)
        else:
            deeper = deeper or next((os.path.join(name, below) for below in inside.folders
                                     if look(os.path.join(folder, below), suffixes).files), None)
            if sum(inside.others.values()):
                raise InputError('--data_path=%s: the class %s has no images (%s); %s' % (
                    path, shown(name), ' '.join(suffixes), left_out(inside.others)))
        others.update(inside.others)
    if len(files) < 2:
        if deeper:
            raise InputError('--data_path=%s: the images lie one level deeper, as in %s/; name the directory whose '
                             'folders are the classes, such as %s' % (
                                 path, shown(deeper), shown(os.path.join(top, os.path.dirname(deeper)))))
        where = os.path.relpath(top, os.fsencode(path))
        raise InputError('--data_path=%s: %shas %d class folders with images (%s); at least 2 are needed%s' % (
            path, '' if where == b'.' else shown(where) + '/ ', len(files), ' '.join(suffixes), packed(path)))
    return _Part(files, others, inner)


def _held_out(classes: Dict[bytes, List[bytes]],
              seed: int) -> Tuple[Dict[bytes, List[bytes]], Dict[bytes, List[bytes]]]:
    """(train, test) out of each class's files; the only file of a class is for training."""
    random = np.random.RandomState(seed)
    train, test = {}, {}
    for name in sorted(classes):
        files = [classes[name][number] for number in random.permutation(len(classes[name]))]
        count = min(max(1, int(round(HELD_OUT_PART * len(files)))), len(files) - 1)
        test[name], train[name] = sorted(files[:count]), sorted(files[count:])
    return train, test


def _split(classes: Dict[bytes, List[bytes]], names: Sequence[bytes]) -> Split:
    found = [classes.get(name, []) for name in names]
    labels = np.repeat(np.arange(len(names), dtype=np.int32), list(map(len, found)))
    return Split(np.array([file for files in found for file in files], object), labels, tf.read_file)
