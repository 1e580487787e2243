"""A trained network: its checkpoint or HDF5 file, the Config that fits it, its inference graph."""
from typing import Any, Dict, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.inference.samples import LOGITS, PROBABILITIES
from core.log import say
from core.recipe import Images, Recipe, load
from core.settings.config import Config
from core.training import checkpoints, evaluation, identity, weights


def find(config: Config) -> Tuple[str, Any, Config]:
    """(path, reader, Config) of the weights that --ckpt_path names (unset: the run's newest checkpoint).

    The Config is for this process alone, with the seed that drew the run's test set and the run's classes.
    Raises InputError when there is no such checkpoint, or it is damaged.
    """
    path, reader = weights.find(config.ckpt_path or config.ckpt_dir)
    return path, reader, config._replace(rank=0, ranks=1, seed=identity.fact(reader, 'seed', config.seed),
                                         class_names=weights.class_names(reader))


def check_start(recipe: Recipe, config: Config) -> None:
    """Raises InputError unless --ckpt_path, from which a training is to start, has weights of this network.

    A checkpoint that says it is of this network is believed. For another one the data is read and the network is built.
    """
    path, reader = weights.find(config.ckpt_path)
    if identity.fact(reader, 'network') == identity.checksum(config.network):
        return
    data, config = load(recipe, config)
    with tf.Graph().as_default():
        x = recipe.test_input(data, config).batch[0]
        variables = build(recipe, config, x.shape.as_list(), x.dtype).variables
    if config.finetune:
        shapes = reader.get_variable_to_shape_map()
        variables = [v for v in variables if shapes.get(v.op.name) == v.shape.as_list()] or variables[:1]
    checkpoints.check_fits(path, reader, variables, config.network)


def load_data(recipe: Recipe, config: Config) -> Tuple[Any, Config]:
    """(data set, Config) of --data_path for the Config of find(). Raises InputError for another number of classes."""
    known = config.class_names
    data, config = load(recipe, config)
    if known and len(known) != config.classes:
        raise InputError('--data_path: has %d classes, the checkpoint %d (%s)' % (
            config.classes, len(known), ', '.join(known[:10]) + ', ...' * (len(known) > 10)))
    if known not in ((), config.class_names):
        say('the classes of the checkpoint have other names than those of the data: they are taken by their numbers')
    return data, config._replace(class_names=known or config.class_names)


def constants(recipe: Recipe, reader: Any, data: Any) -> Dict[str, np.ndarray]:
    """{name: constant} of the preprocessing: the checkpoint's, else those of `data`, which may be None.

    Raises InputError when the network needs some and neither tells them.
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
    """The graph of a trained network from a placeholder to its output, in a graph of its own."""
    input: tf.Tensor               # of a float32 batch as tests have it, or of images with values from 0 to 255
    output: tf.Tensor              # [batch, classes] float32: logits or probabilities
    output_name: str               # samples.LOGITS or PROBABILITIES
    variables: Sequence[tf.Variable]
    regularization_loss: tf.Tensor

    def load(self, session: tf.Session, path: str, reader: Any, network: str) -> None:
        """Restores the weights. Raises InputError when the checkpoint is of another network."""
        checkpoints.check_fits(path, reader, self.variables, network)
        weights.restore(session, reader, self.variables)


def build(recipe: Recipe, config: Config, shape: Sequence[Any], dtype: tf.DType, normalize: Any = None,
          probabilities: bool = False) -> InferenceGraph:
    """Builds the InferenceGraph of inputs of this shape and type in the default graph; call it with a new one.

    normalize: normalize(images) -> what the model takes; None: the inputs are that already.
    """
    placeholder = tf.placeholder(dtype, shape, name=recipe.input_name)
    x = normalize(placeholder) if normalize else placeholder
    labels = tf.zeros(tf.shape(x)[:1] if shape[0] is None else shape[:1], tf.int32)
    outputs = recipe.model((x, labels), False, config, evaluation.no_dropout)
    output = tf.nn.softmax(outputs.logits) if probabilities else outputs.logits
    return InferenceGraph(placeholder, output, PROBABILITIES if probabilities else LOGITS, tf.global_variables(),
                          outputs.regularization_loss)
