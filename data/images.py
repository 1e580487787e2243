"""Pictures in files of any size: PNG, JPEG, BMP and GIF, of which an animated one shows its first image."""
from typing import Callable

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.session import cpu_session

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif')


def decode(content: tf.Tensor) -> tf.Tensor:
    """The image in a file's bytes (a scalar string) as uint8 [height, width, 3]; transparency is left out."""
    def gif():
        return tf.image.decode_gif(content)[0]

    def starts(signature):
        return tf.equal(tf.strings.substr(content, 0, len(signature)), signature)
    # TensorFlow's decoder of JPEG tells PNG by itself; of its other decoders none takes all formats with 3 channels.
    image = tf.cond(starts(b'BM'), lambda: _bmp(content), lambda: tf.cond(
        starts(b'GIF'), gif, lambda: tf.image.decode_jpeg(content, channels=3)))
    image.set_shape([None, None, 3])
    return image


def _bmp(content):
    """An image of 32 bits, 24 bits or, by its palette, 8 bits a pixel."""
    def number(place, dtype=tf.int32):
        return tf.decode_raw(tf.strings.substr(content, place, dtype.size), dtype)[0]
    bits, pixels, header = tf.cast(number(28, tf.uint8), tf.int32), number(10), number(14)

    def of_palette():
        colours = tf.decode_raw(tf.strings.substr(content, 14 + header, pixels - 14 - header), tf.uint8)
        colours = tf.reshape(colours, [-1, 4])
        return tf.gather(colours[:, 2::-1], tf.cast(tf.image.decode_bmp(content, 1)[..., 0], tf.int32))
    # An op for each number of channels: TensorFlow's keeps the number of the first image that it saw.
    return tf.cond(tf.equal(bits, 32), lambda: tf.image.decode_bmp(content, 4)[..., :3], lambda: tf.cond(
        tf.equal(bits, 8), of_palette, lambda: tf.image.decode_bmp(content, 3)))


def square(image: tf.Tensor, size: int) -> tf.Tensor:
    """The largest square in the centre of uint8 [height, width, 3], scaled to uint8 [size, size, 3]."""
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = image[top:top + side, left:left + side]
    scaled = tf.compat.v2.image.resize(cut, [size, size], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(scaled), 0, 255), tf.uint8)


class Reader:
    """Reads files through fit(uint8 [height, width, 3]) -> the image that is wanted; threads may share one."""

    def __init__(self, fit: Callable[[tf.Tensor], tf.Tensor]) -> None:
        with tf.Graph().as_default():
            self._content = tf.placeholder(tf.string, [])
            self._image = fit(decode(self._content))
            self._session = cpu_session()

    def __call__(self, path: str) -> np.ndarray:
        """The image in a file. Raises InputError naming the file when it cannot be read or decoded."""
        try:
            with open(path, 'rb') as file:
                return self._session.run(self._image, {self._content: file.read()})
        except OSError as error:
            raise InputError('%s: %s' % (path, error.strerror))
        except tf.errors.OpError:
            raise InputError('%s: cannot be decoded as a PNG, JPEG, BMP or GIF image' % path)
