"""Streams of batches by tf.data in which everything is a function of (seed, step).

A training run can therefore stop anywhere and resume on the very same batches, and `ranks` ranks
with batches of B see, step by step, what one rank sees with batches of ranks * B. Arrays are fed
when an iterator is initialized and never enter the GraphDef. From samples to batches:

    index_batches                 chooses the samples of each batch, epoch after epoch
    training_stream, test_stream  load and transform the chosen samples: a Stream
    zip_streams                   makes one Stream of several, each of which has epochs of its own
    as_input                      makes an Input of a Stream, on which the graph of a step can be built

x and y of samples and batches are tensors, or tuples or dicts of tensors (tf.nest), of any types.
`load_one(x, y, seed) -> (x, y)` works on single samples (decoding, cropping); its seed depends on
the sample's position in the whole stream, so it is the same however many ranks share the batch.
`transform(x, y, seed)` works on a rank's whole batch and may return anything; its seed depends on
step and rank. Seeds are int64 [2], for tf.random.stateless_* (data/seeds.py). With `skipped`
(a data.loading.Skipped) a sample that cannot be loaded is replaced in training and weighs 0 in
tests. With `kept`, a shape, what load_one makes of x is decoded once and stays in memory.
"""
import os
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.run import Input
from core.device import cpu_session
from core.operators import host_operator
from data.dataset import Order, Split
from data.loading import TRIES, LoadOne, Nest, Skipped, as_written, load
from data.seeds import BATCH, ORDER, permuted, random_integers, seed_of

MOST_SORTED = 2 ** 20          # beyond it sorting takes seconds and hundreds of megabytes at the start of an epoch

Transform = Callable[[Nest, Nest, tf.Tensor], Tuple]   # transform(x, y, seed) -> the batch


class Stream(NamedTuple):
    """A tf.data.Dataset and what its placeholders must be fed."""
    dataset: tf.data.Dataset
    feed: dict      # placeholder -> array
    starts: tuple   # placeholders of the step to begin with
    batches: int    # of one pass over the data
    size: int       # samples of the data
    skipped: Skipped = None    # counts the samples that cannot be loaded; None: there are none


def train_input(split: Split, batch_size: int, seed: int, **options: Any) -> Input:
    """The endless Input of shuffled batches that training_stream makes."""
    return as_input(training_stream(split, batch_size, seed, **options))


def test_input(split: Split, batch_size: int, **options: Any) -> Input:
    """The Input of one pass over `split` in its order, as test_stream makes it."""
    return as_input(test_stream(split, batch_size, **options))


def samples(split: Split, **loading: Any) -> Tuple[np.ndarray, np.ndarray]:
    """(x of all rows of `split` in its order, which of them could be loaded), by the options DataSet.loading."""
    size = min(split.size, 256)
    with tf.Graph().as_default(), cpu_session() as session:
        rows = test_input(split, size, **loading)
        rows.initialize(session)
        batches = [session.run(rows.batch) for _ in range(rows.batches)]
    return tuple(np.concatenate(parts)[:split.size] for parts in (
        [x for x, _, _ in batches], [weight > 0 for _, _, weight in batches]))


def as_input(stream: Stream) -> Input:
    """The Input that delivers what the Stream holds.

    It works in threads of its own, because the session's may all be busy with the operators of a step.
    """
    options = tf.data.Options()
    options.experimental_threading.private_threadpool_size = len(os.sched_getaffinity(0))
    with tf.device('/cpu:0'):
        iterator = tf.data.make_initializable_iterator(stream.dataset.prefetch(2).with_options(options))
        return Input(iterator, iterator.get_next(), *stream[1:])


def zip_streams(*streams: Stream) -> Stream:
    """One Stream of tuples of the streams' batches; a pass is a pass over the first."""
    feed = {key: array for stream in streams for key, array in stream.feed.items()}
    starts = sum((stream.starts for stream in streams), ())
    dataset = tf.data.Dataset.zip(tuple(stream.dataset for stream in streams))
    return Stream(dataset, feed, starts, streams[0].batches, streams[0].size, streams[0].skipped)


def training_stream(split: Split, batch_size: int, seed: int, transform: Optional[Transform] = None,
                    load_one: Optional[LoadOne] = None, skipped: Optional[Skipped] = None, kept: Sequence[int] = (),
                    rank: int = 0, ranks: int = 1) -> Stream:
    """An endless Stream of rank `rank`'s batches (x, y) of `batch_size`, shuffled every epoch.

    The samples left over when an epoch is cut into whole global batches are dropped, others in
    every epoch. Raises InputError when not even one global batch can be filled.
    """
    batches = steps_per_epoch(split.size, batch_size, ranks)
    with tf.device('/cpu:0'):
        start = tf.placeholder(tf.int64, [], name='first_step')
        positions = index_batches(split.size, batch_size, seed, start, rank, ranks,
                                  tries=TRIES if skipped else 1, order=split.order)
        samples, feed = load(positions, split, load_one, seed, batch_size, skipped, kept)
        dataset = _transform(samples, transform, seed, batch_size)
    return Stream(dataset, feed, (start,), batches, split.size, skipped)


def test_stream(split: Split, batch_size: int, transform: Optional[Transform] = None,
                load_one: Optional[LoadOne] = None, skipped: Optional[Skipped] = None, kept: Sequence[int] = (),
                drop_remainder: bool = False, rank: int = 0, ranks: int = 1) -> Stream:
    """A Stream of `split` once, in order: batches (x, y, weight) of `batch_size` rows.

    Rows that only fill up the last batches, and those of samples that cannot be loaded, have
    weight 0, all others 1 (float32 [batch_size]).
    Every rank gets the same number of batches. With `drop_remainder` a global batch that cannot
    be filled is left out instead. With a transform the batch is (*transform(x, y, seed), weight).
    """
    count, stride = split.size, batch_size * ranks
    batches = (steps_per_epoch(count, batch_size, ranks) if drop_remainder
               else -(-count // stride))

    def weigh(position, good, *batch):
        return batch + (tf.cast(good & (position < count), tf.float32),)

    with tf.device('/cpu:0'):
        row = np.arange(rank * batch_size, (rank + 1) * batch_size)
        positions = tf.data.Dataset.range(0, batches * stride, stride).map(
            as_written(lambda first: (first + row, tf.minimum(first + row, count - 1)[:, None])))
        samples, feed = load(positions, split, load_one, 0, batch_size, skipped, kept)
        dataset = _transform(samples, transform, 0, batch_size, weigh)
    return Stream(dataset, feed, (), batches, count, skipped)


def index_batches(count: int, batch_size: int, seed: int, first_step: tf.Tensor, rank: int, ranks: int,
                  tries: int, order: Optional[Order]) -> tf.data.Dataset:
    """An endless Dataset of (position, index) from batch `first_step` on.

    position, int64 [batch_size]: of each sample in the whole stream. index, int64 [batch_size, tries]: which
    of the `count` samples to take, and which others when that one cannot be loaded. Each epoch has a permutation of its
    own, cut into global batches of ranks * batch_size, of which a rank takes its slice. Up to MOST_SORTED samples the
    permutation is sorted in one go; of more samples, and with an `order`, each batch computes its part.
    """
    stride, batches = batch_size * ranks, steps_per_epoch(count, batch_size, ranks)

    @as_written
    def batch(step):
        epoch, first = step // batches, step % batches * stride + rank * batch_size
        row = first + tf.range(batch_size, dtype=tf.int64)
        candidate = (row[:, None] + tf.range(tries, dtype=tf.int64)) % count
        of_epoch = seed_of(seed, ORDER, epoch)
        return epoch * batches * stride + row, (
            order(candidate, of_epoch) if order else permuted(candidate, count, of_epoch))

    if order or count > MOST_SORTED:
        return tf.data.Dataset.from_tensors(first_step).flat_map(as_written(
            lambda step: tf.data.Dataset.range(step, np.iinfo(np.int64).max))).map(batch)

    @as_written
    def epoch_batches(epoch, rows):
        @as_written
        def batch_of_epoch(number):
            first = number * stride + rank * batch_size
            position = first + tf.range(batch_size, dtype=tf.int64)
            if tries == 1:             # a slice, because it takes a tenth of the time that gathering takes
                index = tf.slice(rows, [first], [batch_size])[:, None]
            else:
                index = tf.gather(rows, (position[:, None] + tf.range(tries, dtype=tf.int64)) % count)
            return epoch * batches * stride + position, index
        skipped = tf.maximum(first_step - epoch * batches, 0)
        return tf.data.Dataset.range(skipped, batches).map(batch_of_epoch)

    # Divided inside a dataset, because an operator of the graph itself would be one to compile for an NPU.
    epochs = tf.data.Dataset.from_tensors(first_step).flat_map(
        as_written(lambda step: tf.data.Dataset.range(step // batches, np.iinfo(np.int64).max)))
    # The permutation of an epoch is made during the one before, because no step should wait until it is sorted.
    rows = epochs.map(as_written(lambda epoch: (epoch, _permutation(count, seed_of(seed, ORDER, epoch)))))
    return rows.prefetch(1).flat_map(epoch_batches)


def steps_per_epoch(count: int, batch_size: int, ranks: int = 1) -> int:
    """How many whole global batches `count` samples fill; InputError if it is none."""
    if batch_size * ranks > count:
        on = ' on each of %d ranks' % ranks if ranks > 1 else ''
        raise InputError('--batch_size=%d%s: larger than the data set of %d samples; use at most %d' % (
            batch_size, on, count, count // ranks))
    return count // (batch_size * ranks)


def _transform(samples, transform, seed, batch_size, finish=lambda position, good, *batch: batch):
    """finish(position, good, *transform(x, y, seed)) for a Dataset of (position, x, y, good)."""
    transform = transform or (lambda x, y, seed: (x, y))

    @as_written
    def apply(position, x, y, good):
        return finish(position, good, *transform(x, y, seed_of(seed, BATCH, position[0] // batch_size)))
    return samples.map(apply, num_parallel_calls=tf.data.experimental.AUTOTUNE)


def _permutation(count, seed):
    own, numbers = host_operator('descending_order'), random_integers([count], seed)
    return own(numbers) if own else tf.cast(tf.argsort(numbers, direction='DESCENDING'), tf.int64)
