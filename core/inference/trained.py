"""A trained network: its checkpoint or HDF5 file, the Config that fits it, its inference graph."""
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.inference.samples import LOGITS, OUTPUT, PROBABILITIES
from core.log import say
from core.pretrained import found, initial
from core.recipe import Images, Recipe, first_output, load
from core.run import Reader
from core.settings import kinds
from core.settings.config import Config
from core.training import checkpoints, evaluation, forms, identity, weights


def find(recipe: Recipe, config: Config) -> Tuple[str, Reader, Config]:
    """(path, reader, Config) of the weights that --ckpt_path names (unset: the run's newest checkpoint).

    The Config is for this process alone, with the seed that drew the run's test set, the run's classes and the size of
    its images. Raises InputError when there is no such checkpoint, it is damaged, or of images of another --image_size.
    """
    path, reader = found.find(config.ckpt_path or config.ckpt_dir)
    noted = image_size(reader)
    size = getattr(config, 'image_size', None)     # which only some networks have
    if size and noted:
        own = kinds.size().parse('%dx%d' % noted)
        # By identity, because a size that is typed is another object than the default of the same text.
        if size != own and size is not recipe.defaults.get('image_size'):
            raise InputError('--image_size=%s: the checkpoint is of images of %s; leave the flag out' % (
                size, own))
        config = config._replace(image_size=own)
    return path, reader, config._replace(rank=0, ranks=1, seed=identity.fact(reader, 'seed', config.seed),
                                         class_names=weights.class_names(reader))


def image_size(reader: Reader) -> Optional[Tuple[int, int]]:
    """(height, width) of the images that a checkpoint's network takes; None where it does not note them."""
    form = weights.input_form(reader)
    if not isinstance(form, tf.TensorSpec) or form.shape.ndims < 3:
        return None
    return tuple(form.shape.as_list()[-3:-1])


def check_start(recipe: Recipe, config: Config) -> None:
    """Raises InputError unless --ckpt_path, from which a training is to start, has weights of this network.

    A checkpoint with this network's name needs no more. For another the data is read and the network is built.
    """
    _, reader = found.find(config.ckpt_path)
    if not config.init_map and identity.fact(reader, 'network') == identity.checksum(config.network):
        return
    data, config = load(recipe, config)
    with tf.Graph().as_default():
        form = forms.of(recipe.test_input(data, config).batch[0])
        initial.check(config, build(recipe, config, forms.named(form, recipe.input_name, None)).variables)


def load_data(recipe: Recipe, config: Config, by_number: bool = False) -> Tuple[Any, Config]:
    """(data set, Config) of --data_path for the Config of find().

    Raises InputError for another number of classes than the checkpoint's, and for other names unless by_number.
    """
    known = config.class_names
    data, config = load(recipe, config)
    if known and len(known) != config.classes:
        raise InputError('--data_path: has %d classes, the checkpoint %d (%s)' % (
            config.classes, len(known), ', '.join(known[:10]) + ', ...' * (len(known) > 10)))
    if known not in ((), config.class_names):
        number = [one == other for one, other in zip(known, config.class_names)].index(False)
        line = 'class %d is %s in the checkpoint and %s in the data' % (
            number, known[number], config.class_names[number])
        if not by_number:
            raise InputError(
                '--data_path: %s; name them alike, or --classes_by_number takes all by their numbers' % line)
        say(line + ': the classes are taken by their numbers')
    return data, config._replace(class_names=known or config.class_names)


def input_form(recipe: Recipe, config: Config, reader: Reader) -> Tuple[Any, Config]:
    """(forms of a batch of inputs, Config) without a data set: as the checkpoint notes them, or of the built-in data.

    Raises InputError where neither has them.
    """
    noted = None if recipe.on_export else weights.input_form(reader)   # which may be of other inputs than an export has
    if noted is None:
        if not recipe.built_in_data:
            raise InputError('--data_path: needed, for this checkpoint does not note the form of its inputs')
        data, on_built_in = load(recipe, config)
        with tf.Graph().as_default():
            noted = forms.of(recipe.test_input(data, on_built_in).batch[0])
        config = config if config.class_names else on_built_in
    return forms.named(noted, recipe.input_name, config.batch_size), config


def constants(recipe: Recipe, reader: Reader, data: Any) -> Dict[str, np.ndarray]:
    """{name: constant} of the preprocessing: the checkpoint's, else what `data`, which may be None, gives.

    Raises InputError when the network needs some and neither has them.
    """
    if weights.class_names(reader):        # the checkpoint has notes
        return weights.constants(reader)
    if data is not None:
        return recipe.images.constants(data)
    if recipe.images.constants is not Images._field_defaults['constants']:
        raise InputError('--ckpt_path: the checkpoint does not hold the preprocessing of its images; '
                         'give --data_path, the data it was trained on')
    return {}


class InferenceGraph(NamedTuple):
    """The graph of a trained network from its placeholders to its first output, in a graph of its own."""
    inputs: Dict[str, tf.Tensor]   # placeholders by name
    output: tf.Tensor              # [batch, ...] float32
    output_name: str               # PROBABILITIES, or the net's own name of it, else LOGITS or OUTPUT
    output_key: str                # the net's own name of it; '' for a net that returns one tensor
    variables: Sequence[tf.Variable]
    penalty: tf.Tensor

    def load(self, session: tf.Session, path: str, reader: Reader, network: str) -> None:
        """Restores the weights. Raises InputError when the checkpoint is of another network."""
        checkpoints.check_fits(path, reader, self.variables, network)
        weights.restore(session, reader, self.variables)


def build(recipe: Recipe, config: Config, form: Any, normalize: Any = None,
          probabilities: bool = False) -> InferenceGraph:
    """Builds the InferenceGraph of inputs of this form (training/forms.py) in the default graph; call it with a new one.

    normalize: normalize(placeholder) -> what the net takes; None: the inputs are that already.
    Raises InputError for probabilities of a network that has none.
    """
    of_output = recipe.model.head.predictions.get(PROBABILITIES)
    if probabilities and not of_output:
        raise InputError('--network=%s: its outputs are no classes, so there are no probabilities' % config.network)
    placeholders = forms.placeholders(form)
    outputs = recipe.model.net(normalize(placeholders) if normalize else placeholders, False, config,
                               evaluation.no_dropout)
    output_key = next(iter(outputs)) if isinstance(outputs, dict) else ''
    output = tf.cast(first_output(outputs), tf.float32)
    name = PROBABILITIES if probabilities else output_key or (LOGITS if of_output else OUTPUT)
    penalty = recipe.model.penalty(config)
    return InferenceGraph({one.op.name: one for one in tf.nest.flatten(placeholders)},
                          of_output(output) if probabilities else output, name, output_key, tf.global_variables(),
                          penalty)
