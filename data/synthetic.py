"""Made-up data in the shapes of the real sets, so that every system runs with no download.

Each class is a smooth random colour pattern; an image is its class's pattern, shifted, dimmed
and noisy, under a light that falls from the upper left, which tells the poses of SESEMI apart.
A convolutional network learns it within a hundred steps. Cats and dogs are JPEG files of
stripes: across and warm, or upright and cold.
"""
import os

import numpy as np
import tensorflow as tf

from core.device import cpu_session
from data.dataset import DataSet, Split, numbered

TRAIN, TEST = 2048, 512  # images, unless asked otherwise
FILES = 400  # of cats and dogs together, at least
FILES_A_RANK = 200  # when there are many


def cifar10(train: int = TRAIN, test: int = TEST, seed: int = 0) -> DataSet:
    """A CIFAR-10-shaped DataSet (SVHN has the same shape) of `train` and `test` images: uint8 [count, 32, 32, 3]."""
    return _images(10, train, test, seed)


def cifar100(train: int = 2 * TRAIN, test: int = TEST, seed: int = 0) -> DataSet:
    """A CIFAR-100-shaped DataSet, as cifar10's."""
    return _images(100, train, test, seed)


def write_cats_dogs(directory: str, count: int = FILES, seed: int = 0) -> None:
    """Writes `count` JPEG files cat.N.jpg and dog.N.jpg of assorted sizes into `directory`."""
    random = np.random.RandomState(seed)
    with tf.Graph().as_default(), cpu_session() as run:
        image = tf.placeholder(tf.uint8, [None, None, 3])
        jpeg = tf.image.encode_jpeg(image, quality=90)
        for number in range(count):
            kind = ('cat', 'dog')[number % 2]
            content = run.run(jpeg, {image: _stripes(kind == 'dog', random)})
            with open(os.path.join(directory, '%s.%d.jpg' % (kind, number // 2)), 'wb') as file:
                file.write(content)


def _images(classes, train, test, seed):
    random = np.random.RandomState(seed)
    patterns = np.stack([_pattern(random) for _ in range(classes)])
    return DataSet(_split(patterns, train, random), _split(patterns, test, random), numbered(classes))


def _pattern(random, size=32, frequencies=3):
    """A periodic [size, size, 3] pattern of a few low frequencies, of unit deviation."""
    spectrum = np.zeros([size, size, 3], complex)
    low = np.arange(-frequencies, frequencies + 1)
    spectrum[np.ix_(low, low)] = random.normal(size=[len(low), len(low), 3, 2]) @ [1, 1j]
    waves = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return (waves / waves.std()).astype(np.float32)


def _split(patterns, count, random):
    labels = random.permutation(np.arange(count) % len(patterns)).astype(np.int32)
    contrasts = random.uniform(25, 50, [count, 1, 1, 1]).astype(np.float32)
    down, right = (np.arange(32) - random.randint(-3, 4, [2, count, 1])) % 32
    shifted = patterns[labels[:, None, None], down[:, :, None], right[:, None, :]]
    below, aside = np.mgrid[-1:1:32j, -1:1:32j].astype(np.float32)
    images = 128 + contrasts * shifted + (-20 * below - 10 * aside)[..., None]
    images += random.randint(-7, 8, images.shape, np.int8)
    return Split(np.clip(images, 0, 255).astype(np.uint8), labels)


def _stripes(is_dog, random):
    """An uint8 image of about 300x300, its stripes and its colour those of the class."""
    height, width = random.randint(230, 340, size=2)
    position = np.arange(width)[None, :] if is_dog else np.arange(height)[:, None]
    wave = np.sin(2 * np.pi * (position / random.uniform(15, 40) + random.uniform()))
    colour = np.array([50, 110, 170] if is_dog else [170, 110, 50]) + random.normal(0, 10, 3)
    grain = random.normal(0, 15, [height // 4 + 1, width // 4 + 1, 3])
    grain = grain.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return np.clip(colour + 50 * wave[..., None] + grain, 0, 255).astype(np.uint8)
