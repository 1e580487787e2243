"""Cats and dogs: Kaggle's "Dogs vs. Cats" JPEG files, read as AlexNet reads images (NIPS 2012).

Files are `cat.N.jpg` and `dog.N.jpg` of any size, as Kaggle ships them or as the vendor's crops
of 227x227, whose N is nine digits of the photograph and one of the crop. An image counts as
scaled to a shortest side of 256; only the window that becomes the 227x227 crop is decoded, its
borders rounded to whole pixels of the file. A 227x227 image is its own crop. Section 4.1 of the
paper: random crops, mirror images, PCA colour noise; ten crops in tests. Differs: the mean and the
colour statistics are the published ones of ImageNet, not this set's, and the mean is one colour
instead of an image.
"""
import itertools
import os
import re

import numpy as np
import tensorflow as tf

from core.errors import InputError
from data.dataset import DataSet, Split, check_directory
from data.loading import Sample
from data.seeds import split_seed

CLASSES = ('cat', 'dog')
FOLDERS = ('', 'train', 'data_preprocessed/train', 'data/data_preprocessed/train')
HELD_OUT, HELD_OUT_PART = 1000, 0.04  # of the photographs, whichever is less
CROP_DIGITS = 10  # of the number of a vendor's crop

END_OF_IMAGE = b'\xff\xd9'  # the marker in a JPEG file
CROP, SHORTEST = 227, 256
MEAN = (123.68, 116.78, 103.94)  # of ImageNet's RGB values
# Principal components of ImageNet's RGB values in 0..1: eigenvalues, eigenvectors as columns.
VARIANCES = (0.2175, 0.0188, 0.0045)
COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
NOISE = 0.1  # sigma of the random multiples of the components


def cats_dogs(path: str, seed: int, crops: int = 1) -> DataSet:
    """The DataSet of the JPEG files in or under `path`; x holds their names, cat is 0, dog 1.

    The test part is drawn by `seed`: 1,000 photographs, or 4 % of a smaller set, of both classes; the crops of a
    photograph stay together. In the training part a photograph that is one file, and not crops already, counts
    `crops` times: an epoch draws so many random crops of it.
    No file is opened. Raises InputError when either class is missing.
    """
    photos = _photos(path)
    total = sum(map(len, photos))
    held_out = min(HELD_OUT, HELD_OUT_PART * total) / total
    random = np.random.RandomState(seed)
    train, test = [], []
    for of_class in photos:
        shuffled = [of_class[place] for place in random.permutation(len(of_class))]
        count = max(1, int(round(held_out * len(of_class))))
        test.append(list(itertools.chain(*shuffled[:count])))
        train.append([file for files in shuffled[count:] for file in (files * crops if len(files) == 1 else files)])
    return DataSet(_split(train), _split(test), CLASSES)


def has_photos(path: str) -> bool:
    """Whether photographs of either class are in or under the directory `path`."""
    return any(any(_numbers(os.path.join(path, folder)).values()) for folder in FOLDERS)


def _photos(path):
    """For each class its photographs in the order of their numbers, each the full names of its files."""
    check_directory(path)
    for folder in FOLDERS:
        numbers = _numbers(os.path.join(path, folder))
        if any(numbers.values()):
            break
    photos = [_by_photo(numbers[kind], os.path.join(path, folder, kind)) for kind in CLASSES]
    for kind, of_class in zip(CLASSES, photos):
        if len(of_class) < 2:
            raise InputError('--data_path=%s: holds %d photographs %s.N.jpg; at least 2 are needed, there or in train/'
                             % (path, len(of_class), kind))
    return photos


def _numbers(folder):
    """For each class the numbers N, as they are written, of the files in `folder`, if there is one."""
    numbers = {kind: [] for kind in CLASSES}
    if os.path.isdir(folder):
        for entry in os.scandir(folder):
            match = re.fullmatch(r'(cat|dog)\.([0-9]+)\.jpg', entry.name)
            if match:
                numbers[match[1]].append(match[2])
    return numbers


def _by_photo(numbers, prefix):
    """Lists of the files `prefix`.N.jpg that show one photograph."""
    photos = {}
    for number in sorted(numbers, key=lambda number: (int(number), number)):
        photo = number[:-1] if len(number) == CROP_DIGITS else number
        photos.setdefault(photo, []).append('%s.%s.jpg' % (prefix, number))
    return list(photos.values())


def _split(names):
    labels = np.repeat(np.arange(len(names), dtype=np.int32), [len(files) for files in names])
    return Split(np.concatenate(names).astype(object), labels)


def load_training(name: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> Sample:
    """The file's image for training: (float32 [227, 227, 3], y); a crop drawn by `seed`."""
    row_seed, column_seed, flip_seed, colour_seed = split_seed(seed, 4)
    content = tf.read_file(name)
    size, side = _geometry(content)
    row, column = (tf.random.stateless_uniform([], part, 0, free + 1, tf.int32)
                   for part, free in zip((row_seed, column_seed), tf.unstack(size - side)))
    image = _decode(content, row, column, side)
    heads = tf.random.stateless_uniform([], flip_seed) < 0.5
    image = tf.cond(heads, lambda: image[:, ::-1], lambda: image)
    return centred(image + _colour_noise(colour_seed)), y


def load_test(name: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> Sample:
    """The file's image for tests: (float32 [227, 227, 3], y); the crop in the centre."""
    del seed
    content = tf.read_file(name)
    size, side = _geometry(content)
    row, column = tf.unstack((size - side) // 2)
    return centred(_decode(content, row, column, side)), y


def central_crop(image: tf.Tensor) -> tf.Tensor:
    """load_test()'s crop of a decoded image, uint8 [height, width, 3]: float32 [227, 227, 3] from 0 to 255."""
    side = _window(tf.shape(image)[:2])
    row, column = tf.unstack((tf.shape(image)[:2] - side) // 2)
    return _scaled(image[row:row + side, column:column + side], CROP)


def load_ten_crops(name: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> Sample:
    """The file's image for the paper's test: (float32 [10, 227, 227, 3], y).

    The corners and the centre of the central 256x256 part, then their mirror images.
    """
    del seed
    content = tf.read_file(name)
    size, side = _geometry(content)
    shortest = tf.reduce_min(size)
    scaled = tf.where(tf.equal(side, shortest), CROP, SHORTEST)
    row, column = tf.unstack((size - shortest) // 2)
    square = _decode(content, row, column, shortest, scaled)
    free = scaled - CROP
    corners = [(0, 0), (0, free), (free, 0), (free, free), (free // 2, free // 2)]
    crops = tf.stack([tf.slice(square, [row, column, 0], [CROP, CROP, 3])
                      for row, column in corners])
    return centred(tf.concat([crops, crops[:, :, ::-1]], axis=0)), y


def _geometry(content):
    """(height, width) of a JPEG image and the side of the window that becomes the crop.

    A file that does not end as such an image does is decoded as a whole for it: the window alone may lie before
    the place where the image was cut off.
    """
    size = tf.cond(tf.equal(tf.strings.substr(content, -2, 2), END_OF_IMAGE),
                   lambda: tf.image.extract_jpeg_shape(content)[:2],
                   lambda: tf.shape(tf.image.decode_jpeg(content))[:2])
    return size, _window(size)


def _window(size):
    """The side of the window of an image of `size` (height, width) that becomes the crop."""
    shortest = tf.cast(tf.reduce_min(size), tf.float64)
    window = tf.cast(tf.maximum(tf.round(shortest * CROP / SHORTEST), 1), tf.int32)
    return tf.where(tf.reduce_all(tf.equal(size, CROP)), CROP, window)


def _decode(content, row, column, side, scaled=CROP):
    """The square window as float32 [scaled, scaled, 3]; as it is if `side` is `scaled`."""
    window = tf.image.decode_and_crop_jpeg(content, [row, column, side, side], channels=3)
    return _scaled(window, scaled)


def _scaled(window, side):
    return tf.compat.v1.image.resize_bilinear(window[None], [side, side], half_pixel_centers=True)[0]


def _colour_noise(seed):
    """One colour to add to a whole image, in units of its 0..255."""
    multiples = tf.random.stateless_normal([3], seed, stddev=NOISE) * VARIANCES
    return 255 * tf.reduce_sum(multiples * COMPONENTS, axis=1)


def centred(image: tf.Tensor) -> tf.Tensor:
    """An image, or a batch of images, as float32 whose mean over many photographs is 0."""
    return tf.cast(image, tf.float32) - tf.constant(MEAN)
