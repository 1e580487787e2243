"""Windows of pictures in files, of which a JPEG file is decoded alone, and windows drawn at random.

A window is a rectangle of the picture as it was seen.
"""
import math
from typing import NamedTuple, Optional, Tuple

import tensorflow as tf

from data import images, jpeg
from data.seeds import split_seed

TRIES = 10                     # of a random window, until one fits into the picture
RATIO = 4 / 3                  # the most that a random window is wider or higher than the proportions that it becomes
REDUCING_GAP = 2               # pixels of a window, for each one that is wanted, that a decoder leaves at least

Size = Tuple[int, int]         # (height, width)


class File(NamedTuple):
    """A picture in a file."""
    content: tf.Tensor         # its bytes
    orientation: tf.Tensor     # of jpeg.header()
    is_progressive: tf.Tensor
    size: tf.Tensor            # int32 [2], (height, width) of the picture as it was seen


def opened(content: tf.Tensor) -> File:
    """The File of a file's bytes (a scalar string).

    A JPEG file without its end marker is decoded as a whole, because the window alone may lie above the truncation. A
    file of another format is decoded as a whole, too.
    """
    ends = tf.equal(tf.strings.substr(content, -len(jpeg.END), len(jpeg.END)), jpeg.END)
    orientation, is_progressive = jpeg.header(content)
    size = tf.cond(jpeg.is_jpeg(content) & ends,
                   lambda: jpeg.seen_size(tf.image.extract_jpeg_shape(content)[:2], orientation),
                   lambda: tf.shape(images.decode(content, check=False))[:2])
    return File(content, orientation, is_progressive, size)


def decode(file: File, first: tf.Tensor, size: tf.Tensor, wanted: Optional[Size] = None) -> tf.Tensor:
    """The window of `size`, int32 [2], whose first row and column are `first`: uint8 [height, width, 3].

    Of a JPEG file nothing else is decoded. wanted: what the window will be scaled to; a decoder may leave out pixels as
    long as REDUCING_GAP times as many remain in both directions, which is faster (Pillow's Image.draft does the same).
    """
    def of_jpeg():
        corner, stored = jpeg.stored_window(first, size, file.size, file.orientation)

        def at(ratio):
            start, end = ((edge + ratio // 2) // ratio for edge in (corner, corner + stored))      # the nearest pixels
            return tf.raw_ops.DecodeAndCropJpeg(contents=file.content, crop_window=tf.concat([start, end - start], 0),
                                                channels=3, ratio=ratio)
        if not wanted:
            found = at(1)
        else:
            spare = tf.reduce_min(size // tf.constant(wanted)) // REDUCING_GAP     # the part of 1/ratio that remains
            found = tf.cond(spare < 2, lambda: at(1), lambda: tf.cond(
                spare < 4, lambda: at(2), lambda: tf.cond(spare < 8, lambda: at(4), lambda: at(8))))
        return jpeg.upright(jpeg.checked(found, file.content, file.is_progressive), file.orientation)

    def of_another_format():
        return cut(images.decode(file.content), first, size)
    window = tf.cond(jpeg.is_jpeg(file.content), of_jpeg, of_another_format)
    window.set_shape([None, None, 3])
    return window


def cut(image: tf.Tensor, first: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The window of an image [height, width, 3]."""
    return tf.slice(image, [*tf.unstack(first), 0], [*tf.unstack(size), 3])


def random_window(size: tf.Tensor, seed: tf.Tensor, least: float, wanted: Size) -> Tuple[tf.Tensor, tf.Tensor]:
    """(first row and column, size), int32 [2] each, of a window of a picture of `size`, int32 [2].

    Its part of the area is uniform from `least` to 1, its proportions are those of `wanted` times a ratio from 3/4 to
    4/3 whose logarithm is uniform (Szegedy et al. 2014, arXiv 1409.4842, section 6; torchvision's RandomResizedCrop).
    Where none of TRIES fits, it is the largest in the centre.
    """
    area_seed, ratio_seed, first_seed = split_seed(seed, 3)
    height, width = tf.unstack(tf.cast(size, tf.float32))
    proportion = wanted[1] / wanted[0]
    area = height * width * tf.random.stateless_uniform([TRIES], area_seed, least, 1.)
    ratio = proportion * tf.exp(tf.random.stateless_uniform([TRIES], ratio_seed, -math.log(RATIO), math.log(RATIO)))
    nearest = tf.clip_by_value(width / height, proportion / RATIO, proportion * RATIO)
    drawn = tf.stack([tf.sqrt(area / ratio), tf.sqrt(area * ratio)], 1)
    largest = tf.minimum([height, width], [width / nearest, height * nearest])
    sides = tf.maximum(tf.cast(tf.round(tf.concat([drawn, [largest]], 0)), tf.int32), 1)
    fits = tf.reduce_all(sides <= size, 1)
    number = tf.argmax(tf.cast(fits, tf.int32), output_type=tf.int32)
    chosen = sides[number]
    free = tf.cast(size - chosen, tf.float32)
    drawn_first = tf.floor(tf.random.stateless_uniform([2], first_seed) * (free + 1))
    first = tf.where(number < TRIES, tf.minimum(drawn_first, free), free // 2)
    return tf.cast(first, tf.int32), chosen
