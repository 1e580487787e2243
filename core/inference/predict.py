"""Prediction: the most probable classes of images in files."""
import itertools
import os
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.log import one_line
from core.session import cpu_session
from core.inference import trained
from core.recipe import Recipe
from core.settings.config import Config
from core.training import forms

TOP = 3
_BATCH = 32                    # images computed at a time


class Prediction(NamedTuple):
    """What the network says about one image."""
    file: str
    classes: List[Tuple[str, float]]   # the TOP most probable classes and their probabilities, the largest first


def predict(recipe: Recipe, config: Config, paths: Sequence[str],
            refuse: Callable[[str], None]) -> Iterator[Prediction]:
    """Yields the Prediction of every image in the files and directories `paths`.

    refuse(line) is called for each file that cannot be read as an image; the others go on.
    Raises InputError for a network that takes no images, and a checkpoint that cannot be used.
    """
    if not recipe.images:
        raise InputError('--network=%s: its inputs are no images' % config.network)
    path, reader, config = trained.find(config)
    data = None
    if config.data_path:
        data, config = trained.load_data(recipe, config)
    constants = trained.constants(recipe, reader, data)
    images = _images(recipe.images.read, paths, refuse)
    first = next(images, None)
    if first is None:
        refuse('no image in %s' % ', '.join(paths))
        return
    with tf.Graph().as_default(), cpu_session() as session:
        form = forms.named(tf.TensorSpec(first[1].shape, first[1].dtype), recipe.input_name, None)
        model = trained.build(recipe, config, form, lambda batch: recipe.images.normalize(batch, constants),
                              probabilities=True)
        placeholder, = model.inputs.values()
        model.load(session, path, reader, config.network)
        for batch in _batches(itertools.chain([first], images)):
            probabilities = session.run(model.output, {placeholder: np.stack([image for _, image in batch])})
            for (name, _), row in zip(batch, probabilities):
                names = config.class_names or tuple(map(str, range(len(row))))
                best = np.argsort(-row, kind='stable')[:TOP]
                yield Prediction(name, [(names[number], float(row[number])) for number in best])


def _images(read: Callable, paths: Sequence[str], refuse: Callable[[str], None]) -> Iterator[Tuple[str, Any]]:
    for path in _files(paths):
        try:
            files.opened(path).close()     # which a FIFO or a directory is refused by
            yield from read(path)
        except InputError as error:
            refuse(str(error))
        except ValueError as error:
            refuse(one_line('%s: %s' % (path, error)))


def _files(paths: Iterable[str]) -> Iterator[str]:
    """The paths, and for a directory the files in and below it that are not hidden, in alphabetical order."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            yield from (os.path.join(folder, name) for name in sorted(names) if not name.startswith('.'))


def _batches(images: Iterator[Any]) -> Iterator[List[Any]]:
    while True:
        batch = list(itertools.islice(images, _BATCH))
        if not batch:
            return
        yield batch
