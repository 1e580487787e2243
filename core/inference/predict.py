"""Prediction: the most probable classes of images in files, by a checkpoint or by an exported graph."""
import contextlib
import itertools
import os
from typing import Any, Callable, ContextManager, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.log import one_line
from core.device import call_of, cpu_session, keep_memory
from core.inference import trained
from core.inference.inputs import cast
from core.inference.preprocessing import Scaling
from core.inference.runner import PB, Runner
from core.inference.samples import PROBABILITIES
from core.recipe import Images, Recipe
from core.settings.config import Config
from core.training import forms

TOP = 3
_MOST_SIDE = 2 ** 14           # pixels
_BATCH = 32                    # images computed at a time


class Prediction(NamedTuple):
    """The network's classes for one image."""
    file: str
    classes: List[Tuple[str, float]]   # the TOP most probable classes and their probabilities, the largest first


def predict(recipe: Recipe, config: Config, paths: Sequence[str], refuse: Callable[[str], None],
            fast: Callable[[], ContextManager] = contextlib.nullcontext) -> Iterator[Prediction]:
    """Yields the Prediction of every image in the files and directories `paths`, computed on the CPU.

    refuse(line) is called for each file that cannot be read as an image; the others go on.
    fast(): the context in which the graph is built; it yields `configure` of core/device.py's cpu_session().
    Raises InputError for a network that takes no images, and a checkpoint that cannot be used.
    """
    if not recipe.images:
        raise InputError('--network=%s: its inputs are no images' % config.network)
    keep_memory()              # here, because data and images may need a session
    path, reader, config = trained.find(recipe, config)
    data = None
    if config.data_path:
        data, config = trained.load_data(recipe, config, by_number=True)   # the names are the checkpoint's
    constants = trained.constants(recipe, reader, data)
    images = _images(recipe.images, trained.image_size(reader), paths, refuse)
    first = next(images, None)
    if first is None:
        return
    with tf.Graph().as_default():
        with fast() as configure:
            form = forms.named(tf.TensorSpec(first[1].shape, first[1].dtype), recipe.input_name, None)
            model = trained.build(recipe, config, form, lambda batch: recipe.images.normalize(batch, constants),
                                  probabilities=True)
        placeholder, = model.inputs.values()
        with cpu_session(configure) as session:
            model.load(session, path, reader, config.network)
            yield from _found(itertools.chain([first], images), config.class_names, -1,
                              call_of(session, model.output, [placeholder]))


class Exported(NamedTuple):
    """What predict_exported() needs of the description beside a frozen graph."""
    path: str                      # of the graph
    network: str
    class_names: Tuple[str, ...]
    size: int                      # of a batch; -1: any
    image_size: Tuple[int, int]    # (height, width)
    crop: Optional[float]          # Recipe.images.crop() of the export; None: its description is an earlier version's
    scaling: Scaling               # of pixels, before they go into the graph
    is_probabilities: bool         # whether the output has its softmax in it


def exported(path: str) -> Exported:
    """The frozen graph `path`, as the .json that export has written beside it describes it.

    Raises InputError for a graph without such a description, and one of which no image is the input.
    """
    beside = os.path.splitext(path)[0] + '.json'
    try:
        found = files.json_object(beside)
        names, image, shape = found['class_names'], found['image'], found['input_shape']
        if not isinstance(found['network'], str) or not all(isinstance(name, str) for name in names):
            raise ValueError('has no network or no class_names')
        if not isinstance(shape[0], int) or shape[0] < 1 and shape[0] != -1:
            raise ValueError('has no input_shape')
        scaling = Scaling(*[[float(number) for number in image[field]] for field in Scaling._fields])
        if [len(numbers) for numbers in scaling] != [3, 3] or not all(scaling.std):
            raise ValueError('has no mean and std for three channels')
        sides = image['height'], image['width']
        if not all(isinstance(side, int) and 1 <= side <= _MOST_SIDE for side in sides):
            raise ValueError('has no height and width')
        crop = image.get('crop')
        if crop is not None and not (isinstance(crop, (int, float)) and 0 < crop <= 1):
            raise ValueError('has a crop that is no part of the sides, above 0 and up to 1')
    except KeyError as error:
        raise InputError('--pb: %s lacks %s: export the graph of a network of images anew; where the normalisation is '
                         'of the whole image, with --input_dtype=uint8' % (beside, error))
    except (ValueError, TypeError, IndexError) as error:
        raise InputError('--pb: %s: %s; it is the description that export writes beside a graph' % (beside, error))
    return Exported(path, found['network'], tuple(names), shape[0], sides, crop, scaling,
                    found.get('output') == PROBABILITIES)


def predict_exported(recipe: Recipe, graph: Exported, paths: Sequence[str], refuse: Callable[[str], None],
                     fast: Callable[[], ContextManager] = contextlib.nullcontext) -> Iterator[Prediction]:
    """As predict(), by a frozen graph alone: pixels are scaled as its description has it.

    Raises InputError for a graph that cannot be loaded, or that takes something else than the description has.
    """
    crop = recipe.images.crop(*graph.image_size) if recipe.images else None
    if crop and graph.crop not in (None, crop):
        raise InputError('--pb=%s: its description has a crop of %g, and of pictures for this network %g of the sides '
                         'is taken here; export it anew' % (graph.path, graph.crop, crop))
    mean, std = (np.array(numbers, np.float32) for numbers in graph.scaling)
    with Runner(PB, graph.path, fast=fast) as model:
        if len(model.inputs) != 1 or not recipe.images or PROBABILITIES not in recipe.model.head.predictions:
            raise InputError('--pb=%s: is no classifier of images' % graph.path)
        placeholder, = model.inputs.values()
        output = model.output
        if not graph.is_probabilities:
            with output.graph.as_default():
                output = recipe.model.head.predictions[PROBABILITIES](output)
        call = call_of(model.session, output, [placeholder])

        def run(batch):
            try:
                return call(cast((batch - mean) / std, placeholder.dtype))
            except (ValueError, tf.errors.OpError) as error:
                raise InputError('--pb=%s: takes no images of %s: %s' % (
                    graph.path, ' x '.join(map(str, batch.shape[1:])), str(error).splitlines()[0]))
        images = _images(recipe.images, graph.image_size, paths, refuse)
        yield from _found(images, graph.class_names, graph.size, run)


def _found(images: Iterator[Any], names: Sequence[str], size: int,
           run: Callable[[np.ndarray], np.ndarray]) -> Iterator[Prediction]:
    """The Predictions of (name, image) pairs by run(images) -> probabilities, in full batches of `size`; -1: of any."""
    for batch in _batches(images, _BATCH if size < 0 else size):
        pixels = np.stack([image for _, image in batch])
        missing = max(size - len(batch), 0)
        probabilities = run(np.concatenate([pixels, np.repeat(pixels[-1:], missing, 0)]))
        best = np.argsort(-probabilities, 1, kind='stable')[:, :TOP]
        called = names or tuple(map(str, range(probabilities.shape[1])))
        for (name, _), row, numbers in zip(batch, probabilities, best):
            yield Prediction(name, [(called[number], float(row[number])) for number in numbers])


def _images(images: Images, size: Optional[Tuple[int, int]], paths: Sequence[str],
            refuse: Callable[[str], None]) -> Iterator[Tuple[str, Any]]:
    count = 0
    for some in _batches(_files(paths), _BATCH):
        together = images.read_together(some, size)
        for path in some:
            try:
                if path in together:
                    found = [(path, together[path])]
                else:
                    files.opened(path).close()     # which a FIFO or a directory is refused by
                    found = images.read(path, size)
                for image in found:
                    count += 1
                    yield image
            except InputError as error:
                refuse(str(error))
            except ValueError as error:
                refuse(one_line('%s: %s' % (path, error)))
    if not count:
        refuse('no image in %s' % ', '.join(paths))


def _files(paths: Iterable[str]) -> Iterator[str]:
    """The paths, and for a directory the files in and below it that are not hidden, in alphabetical order."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            yield from (os.path.join(folder, name) for name in sorted(names) if not name.startswith('.'))


def _batches(images: Iterator[Any], size: int) -> Iterator[List[Any]]:
    while True:
        batch = list(itertools.islice(images, size))
        if not batch:
            return
        yield batch
