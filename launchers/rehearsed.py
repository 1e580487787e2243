"""One training step of a recipe in a graph of its own, for the commands that look at it or compute it."""
import contextlib
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from core.ascend.emulation import emulation, gradients
from core.ascend.emulation.precision_rules import Rules
from core.recipe import Recipe
from core.run import Communicator, Options
from core.settings.config import Config
from core.training import step
from launchers.devices import GPU


class Rehearsed(NamedTuple):
    """The graph of a training step, operator by operator as an NPU gets it."""
    graph: tf.Graph
    step: step.Step
    input: Any                     # core.run.Input of its batches
    gradients: List[Tuple[tf.Variable, Any]]   # of each trainable variable: (variable, what the update takes, unscaled)
    emulation: emulation.Emulation


@contextlib.contextmanager
def training_step(recipe: Recipe, config: Config, options: Options, data: Any,
                  rules: Optional[Rules]) -> Iterator[Rehearsed]:
    """A context in which the graph of a step of this rank alone is the default one.

    config: with emulate_precision, so that gradients are remembered; rules: how a chip computes the step, None: in the
    types of the graph. It has none of a CPU's own operators.
    """
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(config.seed)
        train_input = recipe.train_input(data, config)
        built = step.build(recipe, config, GPU, Communicator(), train_input.batch, config.train_steps or 1,
                           train_input.batches, options)
        done = emulation.emulate(graph, rules, built.train_op) if rules else emulation.NO_EMULATION
        yield Rehearsed(graph, built, train_input, gradients.of_graph(graph), done)
