"""Random changes of training images, one by one: each is a function of its position in the stream of samples.

So a resumed run sees the same images again, and so do ranks that share a batch (data/pipeline.py).
"""
from typing import NamedTuple, Optional, Tuple

import tensorflow as tf

from data import crops, images
from data.loading import LoadOne
from data.seeds import random_integers, split_seed

GREY = (.299, .587, .114)      # shares of red, green and blue in the brightness, ITU-R BT.601


class Augmentation(NamedTuple):
    """What happens to a training image each time that it is seen; nothing by itself."""
    random_resized_crop: float = 0.    # the least part of the picture's area that a crop has; 0: no crop is drawn
    mirror: bool = False               # with probability one half
    color_jitter: float = 0.


def load_augmented(how: Augmentation, size: Tuple[int, int], load_one: Optional[LoadOne] = None) -> LoadOne:
    """The load_one that makes an image uint8 [*size, 3] of a row and changes it; `size` is (height, width).

    load_one: makes such an image of a file's bytes, where no crop is drawn; None: the rows are images.
    """
    def load(x, y, seed):
        crop_seed, mirror_seed, jitter_seed = split_seed(seed, 3)
        is_mirrored = tf.random.stateless_uniform([], mirror_seed) < .5 if how.mirror else None
        if how.random_resized_crop:
            image = random_resized_crop(x, size, crop_seed, how.random_resized_crop, is_mirrored)
        else:
            image = images.mirrored(load_one(x, y, seed)[0] if load_one else x, is_mirrored)
        if how.color_jitter:
            image = images.rounded(color_jitter(image, jitter_seed, how.color_jitter))
        return tf.ensure_shape(image, [*size, 3]), y
    return load


def random_resized_crop(picture: tf.Tensor, size: Tuple[int, int], seed: tf.Tensor, least: float,
                        is_mirrored: Optional[tf.Tensor] = None) -> tf.Tensor:
    """crops.random_window() of an image, uint8 [height, width, 3], or of a file's bytes, as images.scaled() has it."""
    if picture.dtype == tf.string:
        file = crops.opened(picture)
        window = crops.decode(file, *crops.random_window(file.size, seed, least, size), size)
    else:
        window = crops.cut(picture, *crops.random_window(tf.shape(picture)[:2], seed, least, size))
    return images.scaled(window, size, is_mirrored)


def color_jitter(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """An image from 0 to 255, [height, width, 3], as float32, its brightness, contrast and saturation changed.

    Each is multiplied by a factor of its own from 1 - strength to 1 + strength, in random order (torchvision's
    ColorJitter).
    """
    order_seed, factor_seed = split_seed(seed, 2)
    image = tf.cast(image, tf.float32)
    factors = tf.random.stateless_uniform([3], factor_seed, 1 - strength, 1 + strength)
    for number in tf.unstack(tf.argsort(random_integers([3], order_seed))):
        grey = tf.reduce_sum(image * GREY, -1, keepdims=True)
        centres = tf.stack([tf.zeros_like(grey), tf.fill(tf.shape(grey), tf.reduce_mean(grey)), grey])
        centre = tf.gather(centres, number)    # what stays as it is: black, the mean grey, the grey of each pixel
        image = tf.clip_by_value(centre + factors[number] * (image - centre), 0, 255)
    return image
