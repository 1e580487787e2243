"""Pictures in files of any size: PNG, JPEG, BMP and GIF, of which an animated one shows its first image."""
import contextlib
import os
import stat
import struct
from typing import Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.device import call_of, cpu_session
from core.operators import host_operator
from data import jpeg
from data.listing import what_is, what_is_at
from data.dataset import DataSet
from data.loading import LoadOne

_PNG = b'\x89PNG'
_SIZE_OF_PNG = slice(16, 24)   # where its width and height are, four bytes each
_TOGETHER = 32                 # files that are decoded at the same time
_MOST_TOGETHER = 2 ** 16       # bytes of each
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif')


def decode(content: tf.Tensor, check: bool = True) -> tf.Tensor:
    """The image in a file's bytes (a scalar string) as uint8 [height, width, 3], upright, without transparency.

    check: whether a JPEG image of which a part is missing is an error.
    """
    def gif():
        return tf.image.decode_gif(content)[0]

    def starts(signature):
        return tf.equal(tf.strings.substr(content, 0, len(signature)), signature)

    def of_jpeg():
        stored = tf.image.decode_jpeg(content, channels=3)
        orientation, is_progressive = jpeg.header(content)
        return jpeg.upright(jpeg.checked(stored, content, is_progressive) if check else stored, orientation)
    # TensorFlow's decoder of JPEG tells PNG by itself; of its other decoders none takes all formats with 3 channels.
    image = tf.cond(jpeg.is_jpeg(content), of_jpeg, lambda: tf.cond(
        starts(b'BM'), lambda: _bmp(content), lambda: tf.cond(
            starts(b'GIF'), gif, lambda: tf.image.decode_png(content, channels=3))))
    image.set_shape([None, None, 3])
    return image


def _bmp(content):
    """An image of 24 or 32 bits a pixel."""
    # From the first byte on: the error of substr() of a file that ends before has the file's bytes in it, and where
    # these are not UTF-8 the session that raises it ends the process.
    bits = tf.decode_raw(tf.strings.substr(content, 0, 29), tf.uint8)[28]
    # An op for each number of channels: TensorFlow's keeps the number of the first image that it saw.
    return tf.cond(tf.equal(bits, 32), lambda: tf.image.decode_bmp(content, 4)[..., :3],
                   lambda: tf.image.decode_bmp(content, 3))


def centre(image: tf.Tensor, size: Tuple[int, int], part: float = 1.) -> tf.Tensor:
    """The centre of uint8 [height, width, 3], scaled to uint8 [*size, 3].

    It is a rectangle of the proportions of `size` with `part` of the sides of the largest one.
    """
    seen = tf.shape(image)[:2]
    scale = part * tf.reduce_min(tf.cast(seen, tf.float64) / size)
    height, width = tf.unstack(tf.maximum(tf.cast(tf.round(scale * size), tf.int32), 1))
    top, left = tf.unstack((seen - tf.stack([height, width])) // 2)
    return scaled(image[top:top + height, left:left + width], size)


def scaled(image: tf.Tensor, size: Tuple[int, int], is_mirrored: Optional[tf.Tensor] = None) -> tf.Tensor:
    """uint8 [height, width, 3] scaled to uint8 [*size, 3], with antialiasing, then mirrored()."""
    own = host_operator('scaled_image')
    if own:
        return own(image, False if is_mirrored is None else is_mirrored, height=size[0], width=size[1])
    return mirrored(rounded(tf.compat.v2.image.resize(image, size, antialias=True)), is_mirrored)


def mirrored(image: tf.Tensor, is_mirrored: Optional[tf.Tensor]) -> tf.Tensor:
    """An image [height, width, 3], its columns reversed where the scalar is_mirrored is true; None: never."""
    if is_mirrored is None:
        return image
    return tf.cond(is_mirrored, lambda: tf.reverse(image, [1]), lambda: image)     # faster than [:, ::-1]


def rounded(image: tf.Tensor) -> tf.Tensor:
    """The uint8 pixels that are nearest; of two the even one."""
    # Not tf.round, which has the same values but takes longer for them than the scaling before it.
    return tf.cast(tf.clip_by_value(tf.math.rint(image), 0, 255), tf.uint8)


def square(image: tf.Tensor, size: int) -> tf.Tensor:
    """The largest square in the centre of uint8 [height, width, 3], scaled to uint8 [size, size, 3]."""
    return centre(image, (size, size))


def load_square(size: int) -> LoadOne:
    """The load_one that makes square(size) of a file's bytes."""
    return load_centre((size, size), 1.)


def load_centre(size: Tuple[int, int], part: float) -> LoadOne:
    """The load_one that makes centre(size, part) of a file's bytes."""
    return lambda content, y, seed: (centre(decode(content), size, part), y)


def of_size(data: DataSet, size: Tuple[int, int], part: float) -> DataSet:
    """A DataSet of files of images, of which centre(size, part) is made when a batch needs them."""
    return data._replace(load_one=load_centre(size, part), shape=(*size, 3))


def check_kind(names: Sequence[bytes]) -> None:
    """Raises InputError when the first, the middle and the last file are all of a kind that is no image here.

    So a set of which nothing was fetched but Git LFS pointers, or that was only renamed, is told before it is read.
    """
    found = [what_is_at(names[number]) for number in (0, len(names) // 2, -1)]
    if all(found):
        raise InputError('%s: is %s' % (os.fsdecode(names[0]), found[0]))


class ImageReader:
    """Reads files through fit(uint8 [height, width, 3]) -> the image that is wanted; threads may share one.

    fitting: (height, width) of images that fit() leaves as they are, so that it need not be computed.
    """

    def __init__(self, fit: Callable[[tf.Tensor], tf.Tensor], fitting: Optional[Tuple[int, int]] = None) -> None:
        with tf.Graph().as_default():
            session = cpu_session()
            content, image = tf.placeholder(tf.string, []), tf.placeholder(tf.uint8, [None, None, 3])
            self._decode = call_of(session, decode(content, check=False), [content])
            self._decode_png = call_of(session, tf.image.decode_png(content, channels=3), [content])
            self._fit, self._fitting = call_of(session, tf.identity(fit(image)), [image]), fitting
            if fitting:
                contents = tf.placeholder(tf.string, [_TOGETHER])
                self._decode_all = session.make_callable(
                    tf.stack([tf.image.decode_png(one, channels=3) for one in tf.unstack(contents)]), [contents])

    def together(self, paths: Sequence[str]) -> Dict[str, np.ndarray]:
        """{path: image} of small PNG files that need not be fitted, decoded at the same time by all cores.

        Left to __call__() are all others, and all of _TOGETHER files with one that cannot be decoded.
        """
        contents = {path: content for path in paths if self._fitting for content in self._small_png(path)}
        found = {}
        for first in range(0, len(contents), _TOGETHER):
            some = list(contents)[first:first + _TOGETHER]
            with contextlib.suppress(tf.errors.OpError):
                decoded = self._decode_all([contents[path] for path in some + some[-1:] * (_TOGETHER - len(some))])
                found.update(zip(some, decoded))
        return found

    def _small_png(self, path):
        """[the bytes of a file], if it is a small PNG file that need not be fitted; else []."""
        try:
            with files.opened(path, buffering=0) as file:
                content = file.read(_MOST_TOGETHER + 1)
        except (OSError, ValueError):
            return []
        is_fitting = content[_SIZE_OF_PNG] == struct.pack('>II', *self._fitting[::-1])
        return [content] if is_fitting and content.startswith(_PNG) and len(content) <= _MOST_TOGETHER else []

    def __call__(self, path: Union[str, bytes]) -> np.ndarray:
        """The image in a file. Raises InputError naming the file when it cannot be read or decoded, or is damaged."""
        name = os.fsdecode(path)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise InputError('%s: is no regular file' % name)
            with open(path, 'rb', buffering=0) as file:
                content = file.read()
            if content.startswith(jpeg.START):
                image, damage = jpeg.heard(lambda: self._decode(content))
            else:
                image, damage = (self._decode_png if content.startswith(_PNG) else self._decode)(content), None
            if image.shape[:2] != self._fitting:
                image = self._fit(image)
        except OSError as error:
            raise InputError('%s: %s' % (name, error.strerror))
        except tf.errors.OpError:
            kind = what_is(content)
            raise InputError('%s: %s' % (name, 'is ' + kind if kind else 'cannot be decoded as a PNG, JPEG, BMP or GIF '
                                         'image'))
        if damage:
            raise InputError('%s: a damaged JPEG image: %s' % (name, damage))
        return image
