"""Recipe: what makes one network's training, as functions and numbers.

One row per network in launchers/networks/registry.py.
"""
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

# Collection to which a net in training adds (moving average, what this batch has of it), beside UPDATE_OPS.
BATCH_STATISTICS = 'batch_statistics'


class Outputs(NamedTuple):
    """What a model says about one batch."""
    losses: Any                    # [batch] float32, the loss of each example without the penalty
    penalty: Any                   # scalar float32, regularisation
    scores: Dict[str, Any]         # name -> [batch] float32, averaged over batches and epochs; has 'accuracy'


def no_hooks(run):
    """The hooks of a recipe that needs none of its own."""
    del run
    return []


def top_1(means):
    """The lines launchers.evaluate prints for a network that is judged by its accuracy."""
    return ['---- Final accuracy ----', 'Top-1: %.4f' % means['accuracy']]


class Recipe(NamedTuple):
    """One network's training."""
    # Config fields: the published recipe, and per --case what differs from it.
    defaults: Dict[str, Any]
    cases: Dict[str, Dict[str, Any]]
    # load(config) -> data set
    load: Callable
    # train_input(data set, config) -> data.pipeline.Input of batches without end; made in training only
    train_input: Callable
    # test_input(data set, config) -> data.pipeline.Input of one pass; a batch ends with its rows' weights
    test_input: Callable
    # model(batch, is_training, config, dropout) -> Outputs; dropout(x, rate) drops while training
    model: Callable
    # learning_rate(config, step, steps) -> scalar tensor; `step` counts from 0, `steps` is the run's length
    learning_rate: Callable
    # optimizer(learning_rate, config) -> tf.train.Optimizer
    optimizer: Callable
    # log(config) -> core.report.Listener that prints the vendor's lines
    log: Callable
    # hooks(run) -> SessionRunHooks of this network alone; run: core.training.Run
    hooks: Callable[..., List] = no_hooks
    # Config fields that differ, whatever the case, on built-in data, so that a rehearsal is short
    on_synthetic: Dict[str, Any] = {}
    # percents of all gradient bytes that each all-reduce between NPUs takes, last layers first; (): the adapter's
    split_strategy: Sequence[int] = ()
    # evaluation_lines(means) -> what launchers.evaluate prints
    evaluation_lines: Callable = top_1


def constant_learning_rate(config, step, steps):
    """The learning rate of a recipe without a schedule."""
    del step, steps
    return config.learning_rate
