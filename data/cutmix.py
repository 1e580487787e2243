"""CutMix (arXiv 1905.04899) as a transform of a batch, vectorized, in the graph.

Each image gets a box from another image of the batch, and its label is mixed with that image's label by area. Differs
from the paper's algorithm 1: every image has a lambda and a box of its own, where the paper draws one for the batch.
"""
from typing import NamedTuple, Sequence, Tuple

import tensorflow as tf

from core.operators import host_operator
from data.seeds import random_integers, split_seed

TRIES = 12  # of a gamma variate: one is rejected with a probability below 5 %, all of them with 10 ** -16


class Cut(NamedTuple):
    """What is drawn for each image of a batch."""
    kept: tf.Tensor     # float32 [batch]: lambda, the part of the image's area that is to stay
    row: tf.Tensor      # int32 [batch]: row of the centre of the box
    column: tf.Tensor   # int32 [batch]: column of the centre of the box
    partner: tf.Tensor  # int32 [batch]: index in the batch of the image that the box comes from


def cutmix(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float) -> Tuple[tf.Tensor, tf.Tensor]:
    """Mixes images [batch, height, width, channels] and one-hot labels [batch, classes].

    lambda ~ Beta(alpha, alpha); alpha = 0 leaves the batch as it is. `seed` is int64 [2].
    """
    if alpha == 0:
        return images, labels
    batch, height, width, _ = images.shape.as_list()
    return mix(images, labels, draw(batch, height, width, seed, alpha))


def draw(batch: int, height: int, width: int, seed: tf.Tensor, alpha: float) -> Cut:
    """The Cut of a batch of images [height, width], drawn by `seed`, int64 [2]."""
    kept_seed, row_seed, column_seed, partner_seed = split_seed(seed, 4)
    return Cut(tf.cast(beta([batch], kept_seed, alpha), tf.float32),
               tf.random.stateless_uniform([batch], row_seed, 0, height, tf.int32),
               tf.random.stateless_uniform([batch], column_seed, 0, width, tf.int32),
               tf.argsort(random_integers([batch], partner_seed)))


def mix(images: tf.Tensor, labels: tf.Tensor, cut: Cut) -> Tuple[tf.Tensor, tf.Tensor]:
    """(images, labels) with each image's box pasted from its partner, labels mixed by area."""
    _, height, width, _ = images.shape.as_list()
    side = tf.sqrt(1 - cut.kept)
    top, bottom = _span(cut.row, side, height)
    left, right = _span(cut.column, side, width)
    area = tf.cast((bottom - top) * (right - left), labels.dtype) * (1 / (height * width))
    mixed_labels = labels + area[:, None] * (tf.gather(labels, cut.partner) - labels)
    own = host_operator('pasted_boxes') if images.dtype == tf.uint8 else None
    if own:
        return own(images, tf.stack([top, bottom, left, right], 1), cut.partner), mixed_labels

    def covered(first, end, size):
        return (tf.range(size) >= first[:, None]) & (tf.range(size) < end[:, None])
    box = covered(top, bottom, height)[:, :, None, None] & covered(left, right, width)[:, None, :, None]
    return tf.where(tf.broadcast_to(box, images.shape), tf.gather(images, cut.partner), images), mixed_labels


def _span(centre, side, size):
    """(first position, end) of a span with the part `side` of the size as its length, clipped; int32 [batch]."""
    half = tf.cast(side * size, tf.int32) // 2
    return tf.maximum(centre - half, 0), tf.minimum(centre + half, size)


def beta(shape: Sequence[int], seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Beta(alpha, alpha) variates, float64, exact in distribution for any alpha > 0.

    They are G1 / (G1 + G2) for gamma variates G, computed from the logarithms because G underflows for a small alpha.
    """
    log_gammas = [_log_gamma(shape, part, alpha) for part in split_seed(seed, 2)]
    return tf.sigmoid(log_gammas[0] - log_gammas[1])


def _log_gamma(shape, seed, alpha):
    """log of Gamma(alpha) variates: Marsaglia and Tsang (2000), the first accepted of TRIES.

    Gamma(alpha) = Gamma(alpha + 1) * U ** (1 / alpha), since the method wants a parameter >= 1.
    """
    normal_seed, accept_seed, boost_seed = split_seed(seed, 3)
    d = alpha + 1 - 1 / 3
    x = tf.random.stateless_normal([TRIES] + shape, normal_seed, dtype=tf.float64)
    v = tf.maximum(1 + x / (9 * d) ** 0.5, 1e-30) ** 3
    bound = x ** 2 / 2 + d - d * v + d * tf.log(v)
    accepted = _log_uniform([TRIES] + shape, accept_seed) < bound
    first = tf.one_hot(tf.argmax(tf.cast(accepted, tf.int32)), TRIES, axis=0, dtype=tf.float64)
    log_v = tf.reduce_sum(first * tf.log(v), axis=0)
    return tf.log(tf.constant(d, tf.float64)) + log_v + _log_uniform(shape, boost_seed) / alpha


def _log_uniform(shape, seed):
    return tf.log(1 - tf.random.stateless_uniform(shape, seed, dtype=tf.float64))
