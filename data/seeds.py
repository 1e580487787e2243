"""Chance as a function of (seed, step): int64 [2] seeds for tf.random.stateless_*."""
from typing import List, Sequence

import tensorflow as tf

ORDER, SAMPLE, BATCH = range(3)  # what a seed is for: an epoch's order, one sample, one batch


def seed_of(seed: int, purpose: int, number: tf.Tensor) -> tf.Tensor:
    """The seed, int64 [2], of the `number`-th epoch, sample or batch (`purpose`) of a run with --seed=`seed`."""
    return tf.stack([tf.constant(4 * seed + purpose, tf.int64), number])


def split_seed(seed: tf.Tensor, count: int) -> List[tf.Tensor]:
    """`count` independent int64 [2] seeds out of one."""
    return tf.unstack(random_integers([count, 2], seed))


def random_integers(shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
    """Uniform int64 numbers from 0 to 2 ** 63."""
    return tf.random.stateless_uniform(shape, seed, 0, tf.int64.max, tf.int64)
