"""Changes of whole batches of images on their way to the net, in the graph.

All chance comes from an int64 [2] `seed` through tf.random.stateless_*, so that a resumed run sees the same batches
again (data/pipeline.py). Images are [batch, height, width, channels]. They are reversed by tf.reverse, which takes a
tenth of the time of a slice with a negative stride.
"""
from typing import Tuple

import tensorflow as tf

from data.seeds import split_seed

POSES = 6  # of SESEMI's proxy task: 0, 90, 180, 270 degrees, left-right, up-down


def shift(images: tf.Tensor, seed: tf.Tensor, most: int = 2, least: int = 0) -> tf.Tensor:
    """Each image moved along each axis by `least` to `most` pixels in a random direction, all distances alike.

    The image is continued beyond its border by its mirror image, whose edge repeats (Keras's fill mode 'reflect').
    """
    batch, height, width, _ = images.shape.as_list()
    steps = [step for step in range(-most, most + 1) if abs(step) >= least]
    drawn = tf.random.stateless_uniform([batch, 2], seed, 0, len(steps), tf.int32)
    first = most + tf.gather(steps, drawn)
    padded = tf.pad(images, [[0, 0], [most, most], [most, most], [0, 0]], 'SYMMETRIC')
    rows = tf.gather(padded, first[:, :1] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, first[:, 1:] + tf.range(width), axis=2, batch_dims=1)


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Each image mirrored left-right with probability one half."""
    heads = tf.random.stateless_uniform([images.shape[0].value, 1, 1, 1], seed) < 0.5
    return tf.where(tf.broadcast_to(heads, images.shape), tf.reverse(images, [2]), images)


def add_noise(images: tf.Tensor, seed: tf.Tensor, std: float = 0.15) -> tf.Tensor:
    """Float images with Gaussian noise added, by default of SESEMI's std."""
    return images + std * tf.random.stateless_normal(images.shape, seed)


def six_poses(images: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Square images in all six poses, and which each is: [6 * batch, ...], int32 [6 * batch].

    The poses of an image follow one another; rotations are counter-clockwise.
    """
    batch, *shape = images.shape.as_list()
    turned = tf.transpose(images, [0, 2, 1, 3])
    poses = [images, tf.reverse(turned, [1]), tf.reverse(images, [1, 2]), tf.reverse(turned, [2]),
             tf.reverse(images, [2]), tf.reverse(images, [1])]
    return (tf.reshape(tf.stack(poses, axis=1), [POSES * batch] + shape),
            tf.tile(tf.range(POSES), [batch]))


def copies_for_test(images: tf.Tensor, seed: tf.Tensor, flips: bool) -> tf.Tensor:
    """The copies that SESEMI's test averages over: plain and shifted, with and without noise, and the mirror images.

    Returns [8, *images.shape], or without `flips`, which leaves the mirror images out, [4, *images.shape]. The first
    copy is `images` itself.
    """
    shift_seed, *noise_seeds = split_seed(seed, 5)
    plain = [images, shift(images, shift_seed, least=1)]
    mirrored = [tf.reverse(copy, [2]) for copy in plain] if flips else []
    noisy = [add_noise(copy, part) for copy, part in zip(plain + mirrored, noise_seeds)]
    return tf.stack(plain + mirrored + noisy)
