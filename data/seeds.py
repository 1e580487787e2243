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


def permuted(positions: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """What stands at `positions`, int64, of the permutation of `count` numbers that `seed` draws; nothing is sorted."""
    return _permuted(positions, count, count, seed)


def permuted_in_blocks(positions: tf.Tensor, count: int, size: int, seed: tf.Tensor) -> tf.Tensor:
    """permuted() of a permutation that leaves each number in its block of about `size` numbers, which are all alike."""
    blocks = -(-count // size)
    block = ((positions + 1) * blocks - 1) // count
    first, end = block * count // blocks, (block + 1) * count // blocks
    return first + _permuted(positions - first, end - first, -(-count // blocks), seed, block)


def _permuted(numbers, count, most, seed, tweak=0):
    """The numbers below `count`, which is at most `most`, permuted; `tweak`, one of each number, draws, too.

    A Feistel network of four rounds over the numbers of twice `bits` bits; what is beyond `count` goes through it again
    (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains", cycle walking).
    """
    bits = max((max(most - 1, 1).bit_length() + 1) // 2, 1)
    mask = 2 ** bits - 1
    keys = [tf.bitwise.bitwise_xor(key, tf.cast(tweak, tf.int64) * 0x2545f4914f6cdd1d)
            for key in tf.unstack(random_integers([4], seed))]

    def once(numbers):
        left, right = tf.bitwise.right_shift(numbers, tf.cast(bits, tf.int64)), tf.bitwise.bitwise_and(numbers, mask)
        for key in keys:
            mixed = tf.bitwise.bitwise_xor(right, key) * 0x5851f42d4c957f2d       # the multiplier of Knuth's MMIX
            mixed = tf.bitwise.right_shift(tf.bitwise.bitwise_and(mixed, tf.int64.max), tf.constant(31, tf.int64))
            left, right = right, tf.bitwise.bitwise_xor(left, tf.bitwise.bitwise_and(mixed, mask))
        return tf.bitwise.bitwise_or(tf.bitwise.left_shift(left, tf.cast(bits, tf.int64)), right)
    return tf.while_loop(lambda numbers: tf.reduce_any(numbers >= count),
                         lambda numbers: tf.where(numbers >= count, once(numbers), numbers), [once(numbers)])


def random_integers(shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
    """Uniform int64 numbers from 0 to 2 ** 63."""
    return tf.random.stateless_uniform(shape, seed, 0, tf.int64.max, tf.int64)
