"""Made-up data in the shapes of the real sets, so that every system runs with no download.

Each class is a smooth random colour pattern; an image is its class's pattern, shifted, dimmed
and noisy, under a light that falls from the upper left, which tells the poses of SESEMI apart.
A convolutional network learns it within a hundred steps.
"""
import numpy as np

from data.dataset import DataSet, Split

TRAIN, TEST = 2048, 512  # images, unless asked otherwise


def cifar10(train=TRAIN, test=TEST, seed=0):
    """A CIFAR-10-shaped DataSet of `train` and `test` images: uint8 [count, 32, 32, 3]."""
    return _images(10, train, test, seed)


def _images(classes, train, test, seed):
    random = np.random.RandomState(seed)
    patterns = np.stack([_pattern(random) for _ in range(classes)])
    return DataSet(_split(patterns, train, random), _split(patterns, test, random),
                   classes, synthetic=True)


def _pattern(random, size=32, frequencies=3):
    """A periodic [size, size, 3] pattern of a few low frequencies, of unit deviation."""
    spectrum = np.zeros([size, size, 3], complex)
    low = np.arange(-frequencies, frequencies + 1)
    spectrum[np.ix_(low, low)] = random.normal(size=[len(low), len(low), 3, 2]) @ [1, 1j]
    waves = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return waves / waves.std()


def _split(patterns, count, random):
    labels = random.permutation(np.arange(count) % len(patterns)).astype(np.int32)
    return Split(np.stack([_image(patterns[label], random) for label in labels]), labels)


def _image(pattern, random):
    shifted = np.roll(pattern, random.randint(-3, 4, size=2), axis=(0, 1))
    down, right = np.mgrid[-1:1:32j, -1:1:32j]
    light = -20 * down - 10 * right
    image = 128 + random.uniform(25, 50) * shifted + light[..., None]
    return np.clip(image + random.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
