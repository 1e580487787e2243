"""Fetches the samples of a batch, and finds others for those that cannot be loaded.

A sample whose load_one fails (a corrupt JPEG) gives its place to the next good one of the
epoch's permutation, so that shapes, order and resumption stay what they were without it.
"""
from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Tuple

import tensorflow as tf

from core.errors import InputError
from core.log import say
from data.seeds import SAMPLE, seed_of

# AutoGraph of TensorFlow 1.15 puts the arguments of f(a, *b, c) in the wrong order, silently, and imports tf.contrib.
as_written = tf.autograph.experimental.do_not_convert

TRIES = 8  # with at most 1 % of the files bad, the probability that all of them fail is 10 ** -16

Nest = Any                             # a tensor, or a tuple or dict of nests (tf.nest)
Sample = Tuple[Nest, Nest]             # (x, y)
LoadOne = Callable[[Nest, Nest, tf.Tensor], Sample]  # load_one(x, y, seed) -> Sample


class Skipped:
    """The samples of a data set that could not be loaded; more than 1 % of them are too many."""

    def __init__(self, files: Sequence[str]):
        self.files = files  # names of all files of the data set
        self.names = set()

    def report(self, names: Iterable[bytes]) -> None:
        """Warns of each of the `names` (an array of bytes) that is new."""
        for name in sorted({name.decode(errors='replace') for name in names} - self.names):
            say('%s: cannot be decoded as a JPEG image: skipped' % name)
            self.names.add(name)

    def check(self) -> None:
        """Raises InputError when more than 1 % were skipped."""
        if 100 * len(self.names) > len(self.files):
            raise InputError('%s: one of %d files that cannot be decoded, more than 1 %% of %d; mend or remove them' % (
                min(self.names), len(self.names), len(self.files)))


def load(places: tf.data.Dataset, split: Any, load_one: Optional[LoadOne], seed: int, batch_size: int,
         skipped: Optional[Skipped] = None) -> Tuple[tf.data.Dataset, Dict[tf.Tensor, Any]]:
    """(a Dataset of the samples at the `places` of each batch, what its placeholders must be fed).

    places: a Dataset of (place, index), int64 [batch_size] and int64 [batch_size, tries]. The result has (place, x, y,
    good), where good, bool [batch_size], marks the rows that hold a sample. A further try is made only when those
    before it failed, which `skipped` is told by the first of the tensors of x, the name of a file; without `skipped`
    a sample that cannot be loaded ends the run.
    """
    arrays = tuple(split)
    fed = tf.nest.map_structure(lambda array: tf.placeholder(tf.as_dtype(array.dtype), array.shape), arrays)
    feed = dict(zip(tf.nest.flatten(fed), tf.nest.flatten(arrays)))

    def rows(index):
        """(x, y) of the rows `index`."""
        return tf.nest.map_structure(lambda array: tf.gather(array, index), fed)

    if load_one is None:
        return places.map(as_written(lambda place, index: (
            place, *rows(index[:, 0]), tf.fill([batch_size], True)))), feed

    @as_written
    def load_place(place, index):
        sample_seed = seed_of(seed, SAMPLE, place)
        tries = tf.data.Dataset.from_tensor_slices(
            (tf.range(index.shape[0]), *rows(index)))
        loaded = tries.map(as_written(lambda attempt, x, y: (attempt, *load_one(x, y, sample_seed))))
        if skipped:
            blank = _blank(loaded, attempt=index.shape[0])
            loaded = loaded.apply(tf.data.experimental.ignore_errors()).concatenate(blank)
        return (place, index, *tf.data.experimental.get_single_element(loaded.take(1)))

    @as_written
    def report_failures(place, index, attempt, x_batch, y_batch):
        if not skipped:
            return place, x_batch, y_batch, tf.fill([batch_size], True)
        tries = index.shape[1]
        failed = tf.range(tries) < attempt[:, None]
        names = tf.nest.flatten(rows(tf.boolean_mask(index, failed)))[0]
        told = tf.cond(tf.reduce_any(failed), lambda: _tell(skipped, names), lambda: True)
        with tf.control_dependencies([told]):
            return place, tf.nest.map_structure(tf.identity, x_batch), y_batch, attempt < tries

    samples = places.unbatch().map(load_place, tf.data.experimental.AUTOTUNE)
    return samples.batch(batch_size, drop_remainder=True).map(report_failures), feed


def _tell(skipped, names):
    return tf.py_func(lambda names: skipped.report(names) or True, [names], tf.bool)


def _blank(samples, attempt):
    """A Dataset with one sample of zeros that has the types and shapes of `samples`."""
    _, *forms = tf.data.experimental.get_structure(samples)
    zeros = tf.nest.map_structure(lambda form: tf.zeros(form.shape, form.dtype), tuple(forms))
    return tf.data.Dataset.from_tensors((tf.constant(int(attempt)), *zeros))
