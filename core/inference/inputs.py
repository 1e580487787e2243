"""Inputs that an export is checked on: the test set, or random values of its form."""
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.recipe import Recipe
from core.device import cpu_session
from core.settings.config import Config
from core.training import forms

_RANDOM_BATCHES = 4

Batch = Tuple[Dict[str, np.ndarray], List[np.ndarray]]   # ({name of an input: array}, labels of its first rows)


class TestSet:
    """The inputs of the test set in batches of --batch_size, in a graph of their own.

    pixels: the type of images as the files have them, 0 to 255; None: inputs are what the net takes.
    Raises InputError for pixels where a test looks at several views of an image.
    """

    def __init__(self, recipe: Recipe, data: Any, config: Config, pixels: Optional[tf.DType]) -> None:
        self._graph, self._size = tf.Graph(), config.batch_size
        with self._graph.as_default():
            self._input = recipe.test_input(data, config)
            self.form = forms.named(forms.of(self._input.batch[0]), recipe.input_name, self._size)
            if pixels:
                self.form = of_pixels(self.form, pixels)
                self._input = recipe.images.test_pixels(data, config)
            self.labels = forms.of(self._input.batch[1])
        self._specs = tf.nest.flatten(self.form)

    def __iter__(self) -> Iterator[Batch]:
        """Yields batches; the last one is filled up with copies of its last row, which have no label."""
        waiting = None                 # rows that fill no batch yet: inputs, then labels
        with self._graph.as_default(), cpu_session() as session:
            self._input.initialize(session)
            for _ in range(self._input.batches):
                x, y, weight = session.run(self._input.batch)
                rows = [cast(part, spec.dtype)[weight > 0] for part, spec in zip(tf.nest.flatten(x), self._specs)]
                rows += [part[weight > 0] for part in tf.nest.flatten(y)]
                waiting = rows if waiting is None else [np.concatenate(parts) for parts in zip(waiting, rows)]
                while len(waiting[0]) >= self._size:
                    yield self._batch([part[:self._size] for part in waiting])
                    waiting = [part[self._size:] for part in waiting]
        if waiting is not None and len(waiting[0]):
            yield self._batch(waiting)
        if self._input.skipped:
            self._input.skipped.check()

    def _batch(self, rows):
        count = len(self._specs)
        filled = [np.concatenate([part, np.repeat(part[-1:], self._size - len(part), 0)]) for part in rows[:count]]
        return {spec.name: part for spec, part in zip(self._specs, filled)}, rows[count:]


class RandomInputs(NamedTuple):
    """Batches without labels: pixels of any value, other whole numbers 0 and 1, and normal ones."""
    form: Any                          # of forms.named()
    is_pixels: bool = False
    labels: Any = None

    def __iter__(self) -> Iterator[Batch]:
        random = np.random.RandomState(0)
        for _ in range(_RANDOM_BATCHES):
            yield {spec.name: _random(random, spec, self.is_pixels) for spec in tf.nest.flatten(self.form)}, []


def _random(random, spec, is_pixels):
    shape, dtype = spec.shape.as_list(), spec.dtype.as_numpy_dtype
    if spec.dtype.is_floating and not is_pixels:
        return random.normal(size=shape).astype(dtype)
    return random.randint(0, 256 if is_pixels else 2, shape).astype(dtype)


def cast(part: np.ndarray, dtype: tf.DType) -> np.ndarray:
    """An input of a graph in the type that it takes; pixels are rounded."""
    if dtype == tf.uint8:
        part = np.clip(np.rint(part), 0, 255)
    return part.astype(dtype.as_numpy_dtype)


def shape_of(tensor: Any, batch: int) -> List[int]:
    """The shape of a tensor, with `batch` instead of any number."""
    return [batch if size is None else size for size in tensor.shape.as_list()]


def of_any_batch(form: Any) -> Any:
    """This form with any number of examples."""
    return tf.nest.map_structure(
        lambda spec: tf.TensorSpec([None] + spec.shape.as_list()[1:], spec.dtype, spec.name), form)


def of_pixels(form: tf.TensorSpec, dtype: tf.DType) -> tf.TensorSpec:
    """The form of images as the files have them, where tests have `form`. Raises InputError for several views."""
    if form.shape.ndims != 4:
        raise InputError('--input_dtype=uint8|raw_float32: this test looks at several views of an image, and such an '
                         'input is one image; switch the views off')
    return tf.TensorSpec(form.shape, dtype, form.name)
