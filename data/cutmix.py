"""CutMix (arXiv 1905.04899) as a transform of a batch, vectorized, in the graph.

A box of each image is pasted over from another image of the batch and the labels are mixed by
area. Differs from the paper's algorithm 1 in that every image has a lambda and a box of its own
instead of one for the mini-batch.
"""
from typing import NamedTuple

import tensorflow as tf

from data.seeds import random_integers, split_seed

TRIES = 12  # of a gamma variate: each is rejected with less than 5 %, all of them never


class Cut(NamedTuple):
    """What is drawn for each image of a batch."""
    share: tf.Tensor    # float32 [batch]: lambda, the part of the image that is to stay
    row: tf.Tensor      # int32 [batch]: the centre of the box
    column: tf.Tensor
    partner: tf.Tensor  # int32 [batch]: where in the batch the box's content comes from


def cutmix(images, labels, seed, alpha):
    """Mixes images [batch, height, width, channels] and one-hot labels [batch, classes].

    lambda ~ Beta(alpha, alpha); alpha = 0 leaves the batch as it is. `seed` is int64 [2].
    """
    if alpha == 0:
        return images, labels
    batch, height, width, _ = images.shape.as_list()
    return mix(images, labels, draw(batch, height, width, seed, alpha))


def draw(batch, height, width, seed, alpha):
    """The Cut of a batch of images [height, width] out of `seed`."""
    share_seed, row_seed, column_seed, partner_seed = split_seed(seed, 4)
    return Cut(tf.cast(beta([batch], share_seed, alpha), tf.float32),
               tf.random.stateless_uniform([batch], row_seed, 0, height, tf.int32),
               tf.random.stateless_uniform([batch], column_seed, 0, width, tf.int32),
               tf.argsort(random_integers([batch], partner_seed)))


def mix(images, labels, cut):
    """(images, labels) with each image's box pasted from its partner, labels mixed by area."""
    _, height, width, _ = images.shape.as_list()
    side = tf.sqrt(1 - cut.share)
    in_rows = _span(cut.row, side, height)
    in_columns = _span(cut.column, side, width)
    box = in_rows[:, :, None, None] & in_columns[:, None, :, None]
    mixed = tf.where(tf.broadcast_to(box, images.shape), tf.gather(images, cut.partner), images)
    pasted = tf.reduce_mean(tf.cast(box, labels.dtype), axis=[1, 2])[..., 0]
    return mixed, labels + pasted[:, None] * (tf.gather(labels, cut.partner) - labels)


def _span(centre, side, size):
    """bool [batch, size]: the places covered by the part `side` of the size, clipped."""
    length = tf.cast(side * size, tf.int32)
    first = centre - length // 2
    last = centre + length // 2
    place = tf.range(size)
    return (place >= first[:, None]) & (place < last[:, None])


def beta(shape, seed, alpha):
    """Beta(alpha, alpha) variates, float64, exact in distribution for any alpha > 0.

    G1 / (G1 + G2) for gamma variates G, by their logarithms: for a small alpha they underflow.
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
