"""Run and all that a run hands around: input, step, clock, reports, the other ranks, checkpoints.

Everything that takes one of these lies above this file, so that each of them has its type wherever it goes.
"""
import contextlib
import time
from typing import Any, Callable, ContextManager, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.progress import BETWEEN, STEP, progress
from core.settings.config import Config

WARMUP_RUNS = 5

Options = Dict[str, Any]       # NpuOptimizer options, {key: typed value}, as Device.options returns them
Metrics = Dict[str, float]     # {'loss': ..., metric: ..., ...}
Panel = Dict[str, Any]         # a picture as plain data, as core/pages/pictures.py makes it


class Input(NamedTuple):
    """An initializable iterator and the batch it delivers."""
    iterator: tf.data.Iterator
    batch: Tuple[Any, ...]         # of nests of tensors with static shapes: (x, y), or whatever the transform returns
    feed: Dict[tf.Tensor, np.ndarray]
    starts: Tuple[tf.Tensor, ...]  # placeholders of the step to begin with
    batches: int                   # of one pass over the data: the steps of an epoch
    size: int                      # samples of the data
    skipped: Any = None            # a data.loading.Skipped, which counts samples that cannot be loaded; None: all can

    def initialize(self, session: tf.Session, first_step: int = 0) -> None:
        """Feeds the data and goes to the batch of `first_step`, without loading the batches before it."""
        steps = {start: first_step for start in self.starts}
        session.run(self.iterator.initializer, {**self.feed, **steps})


class Step(NamedTuple):
    """The tensors, variables and ops of the training graph that hooks and the loop use."""
    train_op: tf.Operation             # updates the weights and global_step
    global_step: tf.Variable           # int64: finished steps
    applied_steps: tf.Tensor           # int64: how many steps, this one included, had finite gradients to apply
    loss: tf.Tensor                    # scalar: the loss of this batch with the penalty
    metrics: Dict[str, tf.Tensor]      # name -> scalar of this batch: 'loss', 'accuracy', ...
    epoch_metrics: Dict[str, tf.Tensor]  # name -> scalar: the mean of the metric over the epoch so far
    learning_rate: tf.Tensor           # scalar
    loss_scale: Optional[tf.Tensor]    # scalar; None without --loss_scale
    model_variables: List[tf.Variable]   # of the network: weights and batch-norm statistics
    stop_request: tf.Variable          # float32, of this rank alone: 1 stops all ranks
    stop_requests: tf.Tensor           # scalar: above 0 when any rank has set its stop_request before this step


class Clock(tf.train.SessionRunHook):
    """Counts finished steps on the host and times them; the other hooks read the step from it.

    Steps are counted here from the first one on, because global_step fetched beside train_op may be read before or
    after its update. The time between two steps (evaluation, checkpoints) does not count.
    """

    def __init__(self, steps: int, steps_per_epoch: int, steps_per_run: int = 1):
        self.steps = steps                        # of the whole run
        self.steps_per_epoch = steps_per_epoch
        self.steps_per_run = steps_per_run        # training steps of one session.run
        self.step = 0                             # finished steps
        self.first_step = 0                       # finished steps when this process started
        self.run_seconds = 0.                     # in training steps of this process
        self._warmup = []                         # seconds of the first runs, in which graphs are compiled

    def finish(self) -> None:
        """Makes the last finished step the last one of the run."""
        self.steps = self.step

    def start(self, step: int) -> None:
        """Says how many steps are finished when the session starts."""
        self.step = self.first_step = step

    def after_create_session(self, session, coord):
        self._started = time.monotonic()

    def before_run(self, run_context):
        progress.now(STEP, self.step + 1)
        self._before = time.monotonic()

    def after_run(self, run_context, run_values):
        seconds = time.monotonic() - self._before
        self.run_seconds += seconds
        self.step += self.steps_per_run
        progress.now(BETWEEN, self.step)
        if len(self._warmup) < WARMUP_RUNS:
            self._warmup.append(seconds)

    @property
    def epoch(self) -> int:
        """Index, from 0, of the epoch that the last finished step belongs to."""
        return max(self.step - 1, 0) // self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Number of epochs of the run; a partial last one counts."""
        return -(-self.steps // self.steps_per_epoch)

    def passed(self, interval: int) -> bool:
        """Whether the last run reached a multiple of `interval` steps."""
        return self.step // interval > (self.step - self.steps_per_run) // interval

    @property
    def at_epoch_start(self) -> bool:
        """Whether no step of the epoch is finished, or none by this process."""
        return self.step == self.first_step or self.step % self.steps_per_epoch == 0

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last run finished an epoch, or the training."""
        return self.passed(self.steps_per_epoch) or self.at_end

    @property
    def at_end(self) -> bool:
        """Whether all steps of the run are finished."""
        return self.step >= self.steps

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the session started."""
        return time.monotonic() - self._started

    @property
    def timed_steps(self) -> int:
        """The number of steps that seconds_per_step is the mean of: all but the warm-up ones, at least one run's."""
        return max(self._runs - len(self._warmup), 1) * self.steps_per_run

    @property
    def seconds_per_step(self) -> float:
        """Mean over the timed steps; of the last run while all runs so far are warm-up ones."""
        timed = self.run_seconds - sum(self._warmup)
        return (timed if self._runs > len(self._warmup) else self._warmup[-1]) / self.timed_steps

    @property
    def _runs(self):
        return (self.step - self.first_step) // self.steps_per_run


class Communicator:
    """The communicator of a single rank: every result is this rank's own. It is also the interface of the others."""
    rank, ranks = 0, 1
    target = ''                    # for tf.Session

    def configure(self, session_config: tf.ConfigProto) -> None:
        """Adds to `session_config` what sessions on `target` need."""

    def optimizer(self, optimizer: tf.train.Optimizer) -> tf.train.Optimizer:
        """`optimizer` with gradients that are their mean over the ranks."""
        return optimizer

    def sum(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The sum over the ranks of each tensor; their shapes are static."""
        return list(tensors)

    def mean(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The mean over the ranks of each floating-point tensor; their shapes are static."""
        return list(tensors)

    def rendezvous(self, integers: Sequence[int]) -> List[int]:
        """Waits for all ranks and returns the integers of rank 0. It is the first exchange, in a graph of its own.

        On NPUs nothing is exchanged, because HCCL limits by itself how long ranks wait for each other.
        """
        return list(integers)

    def broadcast(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """What each tensor is on rank 0; their shapes are static."""
        return list(tensors)

    def barrier(self) -> tf.Operation:
        """An op that ends when every rank runs it."""
        return tf.group(*self.sum([tf.zeros([])]))

    def together(self) -> ContextManager:
        """A context around the whole run; the loss of another rank ends this one before it has reached the end.

        Raises RankLost instead of the errors that a collective has when another rank is gone.
        """
        return contextlib.nullcontext()


class Validation(NamedTuple):
    """What the validation part tells of a run so far."""
    metrics: Metrics
    best: float                    # the best value of the headline
    step: int                      # after which it was; 0 for none


class Report(NamedTuple):
    """A run after one of its steps."""
    step: int                      # finished steps
    steps: int                     # of the whole run
    epoch: int                     # index, from 0, of the epoch that the step belongs to
    steps_per_epoch: int
    batch_size: int                # of this rank
    metrics: Metrics               # of the batch of this step
    epoch_metrics: Metrics         # means over the epoch so far
    learning_rate: float
    skipped: int                   # steps that a loss scale has left out, because their gradients were not finite
    seconds: float                 # since the session started
    run_seconds: float             # of these in training steps
    seconds_per_step: float        # mean over the timed steps so far
    evaluation: Optional[Metrics] = None   # over the test set, when an evaluation was due
    validation: Optional['Validation'] = None   # of the validation part, at the same steps; None without such a part
    first_step: int = 0            # finished steps when this process started
    timed_steps: int = 1           # steps of this process without those that warm up
    loss_scale: Optional[float] = None     # of this step; None without --loss_scale

    @property
    def images_per_second(self) -> float:
        """Examples of this rank a second, over the timed steps."""
        return self.batch_size / self.seconds_per_step

    @property
    def steps_in_epoch(self) -> int:
        """Finished steps of the epoch; fewer than steps_per_epoch where --train_steps ends a run within an epoch."""
        return (self.step - 1) % self.steps_per_epoch + 1


class Listener:
    """Gets the reports of a run. A listener overrides the methods for the reports it needs."""

    def begin(self, run: 'Run', data: Any) -> None:
        """Before the first step that this process takes; data: what Recipe.load returned."""

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Before the first step that this process takes in an epoch; `epoch` counts from 0."""

    def first_step(self, report: Report) -> None:
        """After the first step that this process takes in an epoch."""

    def step(self, report: Report) -> None:
        """After every step that is a multiple of --display_step, and after the last one."""

    def epoch(self, report: Report) -> None:
        """After the last step of an epoch."""

    def evaluation(self, report: Report) -> None:
        """After an evaluation within an epoch (--eval_steps); an evaluation after its last step comes to epoch().
        """

    def evaluation_start(self, epoch: int) -> None:
        """Before an evaluation after the last step of an epoch, which counts from 0."""

    def average(self, evaluation: Metrics) -> None:
        """After stochastic weight averaging: the metrics of the average over the test set."""

    def values(self, step: int, values: Metrics) -> None:
        """Values that a Device has measured at a step."""

    def end(self, report: Report) -> None:
        """After the last step of the run."""


class Log(Listener):
    """A Listener that prints the log of a network, and keeps what its lines say of the run for core/reporting/report.py.

    accuracy and test_accuracy are in the words of the newest lines; the latter is empty where the former is that of
    the test set.
    """
    accuracy, test_accuracy = '', ''
    accuracy_is = 'of the test set, from 0 to 1'   # what the number `accuracy` is

    def __init__(self) -> None:
        self.losses: List[Tuple[int, str]] = []    # (step, text) of each loss

    def loss(self, step: int, text: str) -> str:
        """`text`, which is kept as the loss of that step."""
        self.losses.append((step, text))
        return text


class Predictions(NamedTuple):
    """What an evaluation of a classifier found in the test set, of all ranks: how many are right, and the mistakes."""
    right: np.ndarray                  # [classes] int64: examples of each class that are taken for it
    rows: np.ndarray                   # [mistakes] int64: the rows of the others in the test set
    labels: np.ndarray                 # [mistakes] int64: their classes
    classes: np.ndarray                # [mistakes] int64: the most probable class of each
    probabilities: np.ndarray          # [mistakes] float64: the probability of that class


class View(NamedTuple):
    """What a recipe's pictures may look at."""
    config: Config
    data: Any                                  # what Recipe.load returned
    step: int                                  # finished steps
    epoch: int                                 # index, from 0, of the epoch of the last one
    predictions: Optional[Predictions]         # of the evaluation that has just ended; None at the end of the run
    stored: Callable[[str], Optional[Panel]]   # stored(name): the picture of that name as it is


class Reader:
    """What a checkpoint or an HDF5 file holds: the part of tf.train.NewCheckpointReader that the house uses."""

    def get_variable_to_shape_map(self) -> Dict[str, List[int]]:
        """{path of a variable: its shape}."""

    def has_tensor(self, name: str) -> bool:
        """Whether there is a variable of that path."""

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable."""


class Run(NamedTuple):
    """A run with its graphs: what the hooks of a recipe, a device or a method may use."""
    config: Config
    options: Options
    clock: Clock
    step: Step
    train_input: Input
    # evaluate(session) -> the metrics over the test set, {'loss': ..., ...}; every rank has to call it
    evaluate: Callable[[tf.Session], Dict[str, float]]
    # predictions() -> those of the newest evaluate(), None before and of other heads than classifiers
    predictions: Callable[[], Optional[Predictions]]
    listener: Log                  # prints the recipe's log lines
    communicator: Communicator
    facts: Dict[str, int]          # of core/training/identity.py
    headline: str                  # the metric by which the run is judged
    smaller_is_better: bool        # of the headline
    notes: Dict[tf.Variable, Any]  # what inference needs beside the weights, and its values: core/training/weights.py
    record: Callable[[int, Dict[str, float]], Any]   # record(step, values), in which a Device keeps what it measured
    # validate(session), as evaluate(): the metrics over the validation part; None without such a part
    validate: Optional[Callable[[tf.Session], Metrics]] = None
