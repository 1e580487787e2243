"""Evaluation of a checkpoint on the whole test set."""
from typing import Dict

import tensorflow as tf

from core.device import Device
from core.errors import InputError
from core.inference import trained
from core.recipe import Recipe
from core.run import Communicator
from core.settings.config import Config
from core.training import checkpoints, evaluation, weights


def evaluate(recipe: Recipe, config: Config, device: Device, by_number: bool = False) -> Dict[str, float]:
    """The metrics of the checkpoint --ckpt_path (unset: the run's newest) over the whole test set.

    This process evaluates alone, whatever RANK_SIZE is, on the test set that the seed of the checkpoint's run draws.
    by_number: whether classes under other names are taken by their numbers.
    Raises InputError when there is no such checkpoint, or the checkpoint is damaged or of another network, or its
    classes are not those of the data.
    """
    if config.graph_cache:
        raise InputError('--graph_cache=True: the graphs of trainings alone are kept; leave it out')
    options = device.options(config)
    device.check(config._replace(ranks=1), options)
    path, reader, config = trained.find(recipe, config)
    data, config = trained.load_data(recipe, config, by_number)
    device.prepare(config, options)
    with tf.Graph().as_default():
        with device.graph(config, options):
            test_graph = evaluation.build(recipe, config, recipe.test_input(data, config), Communicator(),
                                          finds_mistakes=False)
        variables = tf.global_variables()
        checkpoints.check_fits(path, reader, variables, config.network)
        with tf.Session(config=device.session_config(options, config)) as session:
            weights.restore(session, reader, variables)
            return test_graph(session)
