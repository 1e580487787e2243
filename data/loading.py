"""Fetches the samples of a batch, and finds others for those that cannot be loaded.

A sample that load_one cannot decode (a corrupt JPEG) is replaced by the next decodable sample of the epoch's order; all
other samples keep their positions.
"""
import os
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.log import say
from core.operators import host_operator
from core.run import Run
from data.listing import what_is_at
from data.seeds import SAMPLE, seed_of

# AutoGraph of TensorFlow 1.15 puts the arguments of f(a, *b, c) in the wrong order, silently, and imports tf.contrib.
as_written = tf.autograph.experimental.do_not_convert

TRIES = 8  # with at most a tenth of the files bad, the probability that all of them fail is 10 ** -8
MOST_SKIPPED = 0.1             # of the files of a data set; with more of them bad, what is trained is another set

Nest = Any                             # a tensor, or a tuple or dict of nests (tf.nest)
Sample = Tuple[Nest, Nest]             # (x, y)
LoadOne = Callable[[Nest, Nest, tf.Tensor], Sample]  # load_one(x, y, seed) -> Sample


def why_not_loaded(name: bytes) -> str:
    """'NAME: cannot be decoded', or what else is wrong with a file of that name."""
    kind = what_is_at(name)
    return '%s: %s' % (os.fsdecode(name), 'is ' + kind if kind else 'cannot be decoded')


class Skipped:
    """The samples of a data set that could not be loaded; more than MOST_SKIPPED of them are too many.

    files: x of all samples, the names of files where `why` is why_not_loaded(); why(x) -> what is wrong with one.
    """

    def __init__(self, files: Sequence[Any], why: Callable[[Any], str] = why_not_loaded):
        self.files, self._why = files, why
        self.names = set()

    def report(self, names: Iterable[Any]) -> None:
        """Warns of each of the `names` (an array of x) that is new."""
        for name in sorted(set(names) - self.names):
            self.names.add(name)
            say('%s: skipped' % self._why(name))

    def check(self) -> None:
        """Raises InputError when more than MOST_SKIPPED were skipped."""
        if len(self.names) > MOST_SKIPPED * len(self.files):
            raise InputError('%s; %d of %d images cannot be loaded, more than %g %%: mend or remove them' % (
                self._why(min(self.names)), len(self.names), len(self.files), 100 * MOST_SKIPPED))


def skipped_hooks(run: Run) -> List[tf.train.SessionRunHook]:
    """Recipe.hooks of a network that may read images from files."""
    return [CountSkipped(run)] if run.train_input.skipped else []


class CountSkipped(tf.train.SessionRunHook):
    """Says at the end how many files could not be decoded, and ends a run in which they are too many.

    After every epoch each rank learns which files the other ranks have skipped.
    """

    def __init__(self, run: Run):
        self._clock, self._skipped = run.clock, run.train_input.skipped
        self._communicator = run.communicator

    def begin(self):
        self._here = tf.placeholder(tf.float32, [len(self._skipped.files)])
        self._anywhere, = self._communicator.sum([self._here])

    def after_run(self, run_context, run_values):
        if self._clock.at_epoch_end and self._communicator.ranks > 1:
            files, names = self._skipped.files, self._skipped.names
            ranks = run_context.session.run(self._anywhere, {self._here: [name in names for name in files]})
            names.update(files[ranks > 0])
        self._skipped.check()

    def end(self, session):
        say('%d of %d image files skipped' % (len(self._skipped.names), len(self._skipped.files)))


class Kept:
    """What load_one has made of rows, uint8, so that they are not decoded again in the next epoch."""

    def __init__(self, rows: int, shape: Sequence[int]) -> None:
        self._x = np.zeros([rows, *shape], np.uint8)   # the memory is taken when a row is written
        self._is_known = np.zeros(rows, bool)

    def find(self, rows: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """(uint8 [batch, ...], bool [batch]: whether it is known) of the rows, int64 [batch]."""
        x, is_known = tf.py_func(lambda rows: (self._x[rows], self._is_known[rows]), [rows], [tf.uint8, tf.bool])
        x.set_shape(rows.shape.concatenate(self._x.shape[1:]))
        is_known.set_shape(rows.shape)
        return x, is_known

    def keep(self, rows: tf.Tensor, x: tf.Tensor, is_good: tf.Tensor) -> tf.Tensor:
        """Notes x of the rows that are good; the result is to be waited for."""
        return tf.py_func(self._keep, [rows, x, is_good], tf.bool)

    def _keep(self, rows, x, is_good):
        new = is_good & ~self._is_known[rows]
        if new.any():
            self._x[rows[new]] = x[new]
            self._is_known[rows[new]] = True
        return True


def load(positions: tf.data.Dataset, split: Any, load_one: Optional[LoadOne], seed: int, batch_size: int,
         skipped: Optional[Skipped] = None, kept: Sequence[int] = ()) -> Tuple[tf.data.Dataset, Dict[tf.Tensor, Any]]:
    """(a Dataset of the samples at the `positions` of each batch, what its placeholders must be fed).

    positions: a Dataset of (position, index), int64 [batch_size] and int64 [batch_size, tries]. The result has
    (position, x, y, good), where good, bool [batch_size], marks the rows that hold a sample. Each further try is made
    only after a failure, which `skipped` notes under the first of the tensors of x, the name of a file; without
    `skipped` a sample that cannot be loaded ends the run. kept: the shape of the uint8 that load_one makes of x,
    whatever its seed, to be kept in memory; load_one leaves y as it is then.
    """
    arrays = split.x, split.y
    fed = tf.nest.map_structure(lambda array: tf.placeholder(tf.as_dtype(array.dtype), array.shape), arrays)
    feed = dict(zip(tf.nest.flatten(fed), tf.nest.flatten(arrays)))

    def rows(index):
        """(x, y) of the rows `index`, as the arrays have them."""
        own = host_operator('taken_rows')
        return tf.nest.map_structure(
            lambda array: own(array, index) if own and array.dtype != tf.string else tf.gather(array, index), fed)

    def fetched(x, y):
        return split.fetch(x) if split.fetch else x, y

    if load_one is None:
        return positions.map(as_written(lambda position, index: (
            position, *fetched(*rows(index[:, 0])), tf.fill([batch_size], True))),
            tf.data.experimental.AUTOTUNE if split.fetch else None), feed

    memory = Kept(split.size, kept) if kept else None

    @as_written
    def load_sample(position, index, *known):
        """A Dataset of the one sample at `position`, from the first of its tries that can be loaded."""
        sample_seed = seed_of(seed, SAMPLE, position)

        @as_written
        def load_try(attempt, x, y):
            def load_new():
                return load_one(*fetched(x, y), sample_seed)
            if not known:
                return (attempt, *load_new())
            kept_x, is_known = known
            return (attempt, *tf.cond(is_known & tf.equal(attempt, 0), lambda: (kept_x, y), load_new))
        tries = tf.data.Dataset.from_tensor_slices((tf.range(index.shape[0]), *rows(index)))
        loaded = tries.map(load_try)
        if skipped:
            blank = _blank(loaded, attempt=index.shape[0])
            loaded = loaded.apply(tf.data.experimental.ignore_errors()).concatenate(blank)
        return loaded.take(1).map(as_written(lambda *sample: (position, index, *sample)))

    @as_written
    def report_failures(position, index, attempt, x_batch, y_batch):
        tries, done = index.shape[1], []
        if skipped:
            failed = tf.range(tries) < attempt[:, None]
            names = tf.nest.flatten(rows(tf.boolean_mask(index, failed)))[0]
            done.append(tf.cond(tf.reduce_any(failed), lambda: _tell(skipped, names), lambda: True))
        if memory:
            done.append(memory.keep(index[:, 0], x_batch, tf.equal(attempt, 0)))
        with tf.control_dependencies(done):
            return position, tf.nest.map_structure(tf.identity, x_batch), y_batch, attempt < tries

    def load_each(batches, size):
        # Not get_single_element in a map: that would instantiate load_one anew for each sample, which takes longer
        # than the decoding of a photograph. Not a parallel interleave: it may crash when its session is closed.
        return batches.unbatch().flat_map(load_sample).batch(size, drop_remainder=True)

    def load_part(part):
        """The Dataset of the rows `part`, a slice, of all batches, loaded in a thread of its own."""
        size = part.stop - part.start
        batches = positions.map(as_written(lambda position, index: (position[part], index[part])))
        if not memory:
            return load_each(batches, size).prefetch(1)

        @as_written
        def load_unknown(position, index):
            x, is_known = memory.find(index[:, 0])
            known = tf.data.Dataset.from_tensors((
                position, index, tf.zeros([size], tf.int32), x, tf.gather(fed[1], index[:, 0])))
            new = load_each(tf.data.Dataset.from_tensors((position, index, x, is_known)), size)
            return tf.data.experimental.from_variant(
                tf.cond(tf.reduce_all(is_known), *(lambda batch=batch: tf.data.experimental.to_variant(batch)
                                                   for batch in (known, new))),
                tf.data.experimental.get_structure(known))
        return batches.flat_map(load_unknown).prefetch(1)

    bounds = np.linspace(0, batch_size, min(batch_size, len(os.sched_getaffinity(0))) + 1).astype(int).tolist()
    parts = tf.data.Dataset.zip(tuple(load_part(slice(*pair)) for pair in zip(bounds, bounds[1:])))
    return parts.map(as_written(lambda *parts: report_failures(
        *tf.nest.map_structure(lambda *rows: tf.concat(rows, 0), *parts)))), feed


def _tell(skipped, names):
    return tf.py_func(lambda names: skipped.report(names) or True, [names], tf.bool)


def _blank(samples, attempt):
    """A Dataset with one sample of zeros that has the types and shapes of `samples`."""
    _, *forms = tf.data.experimental.get_structure(samples)
    zeros = tf.nest.map_structure(lambda form: tf.zeros(form.shape, form.dtype), tuple(forms))
    return tf.data.Dataset.from_tensors((tf.constant(int(attempt)), *zeros))
