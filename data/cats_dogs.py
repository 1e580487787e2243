"""Cats and dogs: Kaggle's "Dogs vs. Cats" JPEG files, read as AlexNet reads images (NIPS 2012).

Files are `cat.N.jpg` and `dog.N.jpg` of any size, as Kaggle ships them or as the vendor's crops
of 227x227, whose N is nine digits of the photograph and one of the crop. An image counts as
scaled to a shortest side of 256; only the window that becomes the 227x227 crop is decoded, its
borders rounded to whole pixels of the file. A 227x227 image is its own crop. Section 4.1 of the
paper: random crops, mirror images, PCA colour noise; ten crops in tests. Differs: the mean and the
colour statistics are the published ones of ImageNet, not this set's, and the mean is one colour
instead of an image.
"""
import collections
import itertools
import os
import re
from typing import Dict, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from data import crops, images
from data.dataset import DataSet, Split, check_directory, packed, summary
from data.listing import left_out, listing
from data.loading import Sample, Skipped
from data.seeds import split_seed

CLASSES = ('cat', 'dog')
FOLDERS = ('', 'train', 'data_preprocessed/train', 'data/data_preprocessed/train')
HELD_OUT, HELD_OUT_PART = 1000, 0.04  # of the photographs, whichever is less
CROP_DIGITS = 10  # of the number of a vendor's crop

CROP, SHORTEST = 227, 256
MEAN = (123.68, 116.78, 103.94)  # of ImageNet's RGB values
# Principal components of ImageNet's RGB values in 0..1: eigenvalues, eigenvectors as columns.
VARIANCES = (0.2175, 0.0188, 0.0045)
COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
NOISE = 0.1  # sigma of the random multiples of the components


def cats_dogs(path: str, seed: int, crops: int = 1, validation: Optional[float] = None) -> DataSet:
    """The DataSet of the JPEG files in or under `path`; x of a sample is the bytes of one, cat is 0, dog 1.

    The test part is drawn by `seed`: 1,000 photographs, or 4 % of a smaller set, of both classes; the crops of a
    photograph stay together. In the training part a photograph that is one file, and not crops already, counts
    `crops` times: an epoch draws so many random crops of it. validation: the part of the training photographs of each
    class, at least one, that the validation part is drawn of; None: there is no such part.
    No image is decoded. Raises InputError when either class is missing, or what lies there is no image.
    """
    photos, others = _photos(path)
    total = sum(map(len, photos))
    held_out = min(HELD_OUT, HELD_OUT_PART * total) / total
    random = np.random.RandomState(seed)
    train, test, held = [], [], []
    for of_class in photos:
        shuffled = [of_class[index] for index in random.permutation(len(of_class))]
        count = max(1, int(round(held_out * len(of_class))))
        test.append(list(itertools.chain(*shuffled[:count])))
        first, count = count, max(1, int(round(validation * (len(of_class) - count)))) if validation else 0
        held.append(list(itertools.chain(*shuffled[first:first + count])))
        train.append([file for files in shuffled[first + count:]
                      for file in (files * crops if len(files) == 1 else files)])
    if not all(train):
        raise InputError('--validation=%g: leaves no photograph of a class to train on; give a smaller part' % (
            validation))
    train, test, held = (_split(part) for part in (train, test, held))
    distinct = [len(set(part.x)) for part in (train, test)]
    held_out = '%d of the training samples are held out for validation' % held.size if validation else ''
    return DataSet(train, test, CLASSES, summary(*distinct, len(CLASSES), [left_out(others), held_out]),
                   skipped=Skipped(np.unique(np.concatenate([part.x for part in (train, test, held)]))),
                   validation=held if validation else None)


def has_photos(path: str) -> bool:
    """Whether photographs of either class are in or under the directory `path`."""
    return any(any(_files(os.path.join(path, folder))[0].values()) for folder in FOLDERS)


def _photos(path: str) -> Tuple[List[List[List[bytes]]], Dict[str, int]]:
    """For each class its photographs in the order of their numbers, each the full names of its files; other files."""
    check_directory(path)
    for folder in FOLDERS:
        files, others = _files(os.path.join(path, folder))
        if any(files.values()):
            break
    photos = [_by_photo(files[kind], os.fsencode(os.path.join(path, folder))) for kind in CLASSES]
    for kind, of_class in zip(CLASSES, photos):
        if len(of_class) < 2:
            raise InputError('--data_path=%s: holds %d photographs %s.N.jpg; at least 2 are needed, there or in '
                             'train/%s' % (path, len(of_class), kind, packed(path)))
        images.check_kind([file for files in of_class for file in files])
    return photos, others


def _files(folder: str) -> Tuple[Dict[str, List[Tuple[str, bytes]]], Dict[str, int]]:
    """For each class the (number, name) of the files in `folder`, if there is one; suffixes of others, counted."""
    found, others = {kind: [] for kind in CLASSES}, collections.Counter()
    if os.path.isdir(folder):
        inside = listing(os.fsencode(folder), images.SUFFIXES)
        others.update(inside.others)
        for name in inside.files:
            match = re.fullmatch(rb'(cat|dog)\.([0-9]+)\.[a-z]+', name, re.I)
            if match:
                found[match[1].decode().lower()].append((match[2].decode(), name))
            else:
                others['not named cat.N.jpg or dog.N.jpg'] += 1
    return found, others


def _by_photo(files: List[Tuple[str, bytes]], folder: bytes) -> List[List[bytes]]:
    """Lists of the files that show one photograph."""
    photos = {}
    for number, name in sorted(files, key=lambda file: (int(file[0]), file)):
        photo = number[:-1] if len(number) == CROP_DIGITS else number
        photos.setdefault(photo, []).append(os.path.join(folder, name))
    return list(photos.values())


def _split(photos: List[List[bytes]]) -> Split:
    labels = np.repeat(np.arange(len(photos), dtype=np.int32), list(map(len, photos)))
    return Split(np.array([file for files in photos for file in files], object), labels, tf.read_file)


def load_training(content: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> Sample:
    """The image of a file's bytes for training: (float32 [227, 227, 3], y); a crop drawn by `seed`."""
    row_seed, column_seed, flip_seed, colour_seed = split_seed(seed, 4)
    file = crops.opened(content)
    side = _window(file.size)
    first = [tf.random.stateless_uniform([], part, 0, free + 1, tf.int32)
             for part, free in zip((row_seed, column_seed), tf.unstack(file.size - side))]
    image = _scaled(crops.decode(file, tf.stack(first), tf.stack([side, side]), (CROP, CROP)), CROP)
    image = images.mirrored(image, tf.random.stateless_uniform([], flip_seed) < 0.5)
    # One sum with a row of the colour, because that of a single pixel would be added three values at a time.
    return image + tf.tile([_colour_noise(colour_seed) - MEAN], [CROP, 1]), y


def load_test(content: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> Sample:
    """The image of a file's bytes for tests: (float32 [227, 227, 3], y); the crop in the centre."""
    del seed
    file = crops.opened(content)
    return centred(_central(file, _window(file.size), CROP)), y


def central_crop(image: tf.Tensor) -> tf.Tensor:
    """load_test()'s crop of a decoded image, uint8 [height, width, 3]: float32 [227, 227, 3] from 0 to 255."""
    side = _window(tf.shape(image)[:2])
    row, column = tf.unstack((tf.shape(image)[:2] - side) // 2)
    return _scaled(image[row:row + side, column:column + side], CROP)


def load_ten_crops(content: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> Sample:
    """The image of a file's bytes for the paper's test: (float32 [10, 227, 227, 3], y).

    The corners and the centre of the central 256x256 part, then their mirror images.
    """
    del seed
    file = crops.opened(content)
    shortest = tf.reduce_min(file.size)
    scaled = tf.where(tf.equal(_window(file.size), shortest), CROP, SHORTEST)
    square = _central(file, shortest, scaled)
    free = scaled - CROP
    corners = [(0, 0), (0, free), (free, 0), (free, free), (free // 2, free // 2)]
    found = tf.stack([tf.slice(square, [row, column, 0], [CROP, CROP, 3]) for row, column in corners])
    return centred(tf.concat([found, tf.reverse(found, [2])], axis=0)), y


def _central(file, side, scaled):
    """The square window in the centre as float32 [scaled, scaled, 3]."""
    return _scaled(crops.decode(file, (file.size - side) // 2, tf.stack([side, side])), scaled)


def _window(size):
    """The side of the window of an image of `size` (height, width) that becomes the crop."""
    shortest = tf.cast(tf.reduce_min(size), tf.float64)
    window = tf.cast(tf.maximum(tf.round(shortest * CROP / SHORTEST), 1), tf.int32)
    return tf.where(tf.reduce_all(tf.equal(size, CROP)), CROP, window)


def _scaled(window, side):
    return tf.compat.v1.image.resize_bilinear(window[None], [side, side], half_pixel_centers=True)[0]


def _colour_noise(seed):
    """One colour to add to a whole image, in units of its 0..255."""
    multiples = tf.random.stateless_normal([3], seed, stddev=NOISE) * VARIANCES
    return 255 * tf.reduce_sum(multiples * COMPONENTS, axis=1)


def centred(image: tf.Tensor) -> tf.Tensor:
    """An image, or a batch of images, as float32 whose mean over many photographs is 0."""
    pixels = tf.cast(image, tf.float32)
    return pixels - tf.constant([MEAN] * (pixels.shape[-2].value or 1))    # of a row, as above
