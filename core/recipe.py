"""Recipe: what makes one network's training, as functions and numbers; launchers/networks/ holds one for each."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

# Collection to which batch norm in training adds pairs (moving average, the statistic of this batch).
BATCH_STATISTICS = 'batch_statistics'


class Outputs(NamedTuple):
    """What a model says about one batch."""
    losses: Any                    # [batch] float32, the loss of each example without the penalty
    penalty: Any                   # scalar float32, regularisation
    scores: Dict[str, Any]         # name -> [batch] float32, averaged over batches and epochs; has 'accuracy'


def no_hooks(run: Any) -> List[Any]:
    """Recipe.hooks of a network that needs none of its own."""
    del run
    return []


def top_1(means: Dict[str, float]) -> List[str]:
    """Recipe.evaluation_lines of a network that is judged by its accuracy."""
    return ['---- Final accuracy ----', 'Top-1: %.4f' % means['accuracy']]


class Recipe(NamedTuple):
    """One network's training. Its functions read a parameter as config.NAME; hyper-parameters must be in `defaults`.

    launchers/networks/registry.py refuses a recipe that reads a hyper-parameter which its defaults lack.
    """
    # Config fields: the published recipe, which a full run follows
    defaults: Dict[str, Any]
    # load(config) -> data set
    load: Callable
    # train_input(data set, config) -> data.pipeline.Input of batches without end; made in training only
    train_input: Callable
    # test_input(data set, config) -> data.pipeline.Input of one pass; a batch ends with its rows' weights
    test_input: Callable
    # model(batch, is_training, config, dropout) -> Outputs; dropout(x, rate) drops while training
    model: Callable
    # learning_rate(config, step, steps) -> scalar, of core/training/schedules.py
    learning_rate: Callable
    # optimizer(learning_rate, config) -> tf.train.Optimizer, of core/training/optimizers.py
    optimizer: Callable
    # log() -> core.reporting.report.Listener that prints the vendor's lines; None: core/reporting/neutral_log.py
    log: Optional[Callable] = None
    # for each --case there is, the Config fields that differ from the defaults
    cases: Dict[str, Dict[str, Any]] = {'full': {}, 'performance': {}}
    # hooks(run) -> SessionRunHooks of this network alone; run: core.training.loop.Run
    hooks: Callable[..., List] = no_hooks
    # Config fields that differ, whatever the case, on built-in data, so that a rehearsal is short
    on_synthetic: Dict[str, Any] = {}
    # percents of all gradient bytes that each all-reduce between NPUs takes, last layers first; (): the adapter's
    split_strategy: Sequence[int] = ()
    # evaluation_lines(means of a test, by name) -> the lines that launchers.evaluate prints
    evaluation_lines: Callable[[Dict[str, float]], List[str]] = top_1
