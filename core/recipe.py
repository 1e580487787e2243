"""Recipe: what a network supplies, as functions and numbers; launchers/networks/ holds one for each network."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf

from core.device import Dropout
from core.run import Input, Log, Panel, Run, View
from core.settings.config import Config
from core.settings.table import Switch

# The graph collection to which batch norm in training adds pairs (moving average, the statistic of this batch).
BATCH_STATISTICS = 'batch_statistics'
# The graph collection of the first output of the net in training.
FIRST_OUTPUT = 'first_output'


class Total(NamedTuple):
    """A metric of a whole test set that is no mean over its examples: mIoU, AUC, F1, perplexity, RMSE."""
    parts: tf.Tensor                   # [batch, ...] float32: summed over the examples of all batches and ranks
    value: Callable[[np.ndarray], float]   # value(the sums [...], float64) -> the metric; runs on the host


class Scores(NamedTuple):
    """What a head computes of one batch."""
    losses: tf.Tensor                  # [batch] float32: the loss of each example, without the penalty
    # name -> [batch] float32, of which the metric is the mean; a Total counts in tests alone
    metrics: Dict[str, Union[tf.Tensor, Total]]


class Head(NamedTuple):
    """Knows losses, metrics and predictions of outputs and labels (as in tf.estimator).

    nets/blocks/heads.py has heads for classification, segmentation and regression.
    """
    # score(outputs, labels, config) -> Scores; the same in training, evaluation and of an inference device's outputs
    score: Callable[[Any, Any, Config], Scores]
    # the metric by which a run is judged: in the report, the table of runs, the case log
    headline: str
    # name -> function of the first output; 'probabilities' of [batch, classes] are what predictions and pictures need
    predictions: Dict[str, Callable[[tf.Tensor], tf.Tensor]] = {}
    smaller_is_better: bool = False    # of the headline
    of_outputs: bool = True            # whether score() looks at nothing else, so that a device's outputs can be scored
    smooths_labels: bool = False       # whether score() reads config.label_smoothing


def no_penalty(config: Config) -> tf.Tensor:
    """Model.penalty of a network without one."""
    del config
    return tf.zeros([])


class Model(NamedTuple):
    """A network, cut at its outputs: the net is what is exported, the head is what judges it."""
    # net(inputs, is_training, config, dropout) -> outputs, a tensor or {name: tensor}, of which the first is exported;
    # inputs: a tensor, or a tuple or dict of them; dropout(x, rate) changes nothing unless is_training
    net: Callable[[Any, bool, Config, Dropout], Any]
    head: Head
    # penalty(config) -> scalar float32 that is added to the mean of the losses; called after the net
    penalty: Callable[[Config], tf.Tensor] = no_penalty


def first_output(outputs: Any) -> tf.Tensor:
    """The output that is exported."""
    return next(iter(outputs.values())) if isinstance(outputs, dict) else outputs


class Images(NamedTuple):
    """How pictures reach a trained network: from the test set and from any file."""
    # test_pixels(data set, config) -> Input of test_input's images before normalize(), 0 to 255
    test_pixels: Callable[[Any, Config], Input]
    # read(path, (height, width)) -> [(name, image [height, width, 3], 0 to 255)]; None: the size that the network has
    # by itself; raises InputError for a file without images
    read: Callable[[str, Optional[Tuple[int, int]]], List[Tuple[str, Any]]]
    # normalize(images [batch, height, width, 3], constants) -> what the model takes, float32
    normalize: Callable[[tf.Tensor, Dict[str, Any]], tf.Tensor]
    # constants(data set) -> {name: array}: what the training data fixed for normalize(); checkpoints keep it
    constants: Callable[[Any], Dict[str, Any]] = lambda data: {}
    # fit(height, width) -> how read() makes an image of a picture of any size, for people who write an application
    fit: Callable[[int, int], str] = lambda height, width: ''
    # crop(height, width) -> the part of the sides that this is of the largest rectangle of these proportions
    crop: Callable[[int, int], float] = lambda height, width: 1.
    # read_together(paths, (height, width)) -> {path: image} of what takes less time together; read() has the others
    read_together: Callable[[Sequence[str], Optional[Tuple[int, int]]], Dict[str, Any]] = lambda paths, size: {}


class Picture(NamedTuple):
    """A picture for the report of a run."""
    # make(View) -> a Panel, or None when there is nothing to show yet; runs on the host
    make: Callable[[View], Optional[Panel]]
    once: bool = False                 # made at the first evaluation only; else at every one, and when the run is done


def no_hooks(run: Run) -> List[tf.train.SessionRunHook]:
    """Recipe.hooks of a network that needs none of its own."""
    del run
    return []


def metric_lines(metrics: Dict[str, float]) -> List[str]:
    """Recipe.evaluation_lines of a network that has no lines of its own."""
    return ['test %s %.6f' % (name, metrics[name]) for name in sorted(metrics, key=lambda name: (name != 'loss', name))]


class Recipe(NamedTuple):
    """One network's training. Its functions read a parameter as config.NAME; hyper-parameters must be in `defaults`."""
    # values of Config fields, from the published recipe, which a full run follows
    defaults: Dict[str, Any]
    # load(config) -> the data set
    load: Callable[[Config], Any]
    # train_input(data set, config) -> Input of batches (inputs, labels) without end
    train_input: Callable[[Any, Config], Input]
    # test_input(data set, config) -> Input of one pass over batches (inputs, labels, weights of the rows)
    test_input: Callable[[Any, Config], Input]
    model: Model
    # learning_rate(config, global_step, steps) -> scalar; `steps` is the length of the run; nets/blocks/schedules.py
    learning_rate: Callable[[Config, tf.Variable, int], tf.Tensor]
    # optimizer(learning_rate, config); nets/blocks/optimizers.py has some
    optimizer: Callable[[tf.Tensor, Config], tf.train.Optimizer]
    # the vendor's name of the system; without one the name of its module
    vendor_name: str = ''
    # the values of --task, which are data sets, that load() reads; (): it reads no files
    tasks: Sequence[str] = ()
    # rows of the command line that this network alone has, read as config.NAME
    switches: Sequence[Switch] = ()
    # the file of a recipe outside launchers/networks; the registry sets it
    path: str = ''
    # whether load() has data of its own for a run without --data_path
    built_in_data: bool = True
    # log() -> the Log that prints the vendor's lines; None: core/reporting/report.py
    log: Optional[Callable[[], Log]] = None
    # what the name of its file of losses has before the CaseName
    loss_prefix: str = ''
    # for each --case, the values of Config fields that differ from the defaults
    cases: Dict[str, Dict[str, Any]] = {'full': {}, 'performance': {}}
    # (condition, changes), one after the other: where all fields of a condition have its values, these defaults differ
    variants: Sequence[Tuple[Dict[str, Any], Dict[str, Any]]] = ()
    # hooks(run) -> the hooks of this network alone
    hooks: Callable[[Run], List[tf.train.SessionRunHook]] = no_hooks
    # values of Config fields on built-in data, whatever the case, so that a rehearsal is short
    on_synthetic: Dict[str, Any] = {}
    # class_names(data set) -> the names of its classes, in the order of their numbers
    class_names: Callable[[Any], Tuple[str, ...]] = lambda data: data.class_names
    # how pictures reach the network; None: its inputs are no pictures
    images: Optional[Images] = None
    # name of the input of an exported graph
    input_name: str = 'input'
    # values of Config fields in an exported graph, unless the user gives others
    on_export: Dict[str, Any] = {}
    # percents of all gradient bytes in each fused all-reduce between NPUs, last layers first; (): the adapter's choice
    split_strategy: Sequence[int] = ()
    # pictures() -> {name: Picture}: what the report shows of this network, in its order; called when one is first due
    pictures: Callable[[], Dict[str, Picture]] = dict
    # evaluation_lines(metrics over the test set) -> the lines that the command evaluate prints
    evaluation_lines: Callable[[Dict[str, float]], List[str]] = metric_lines


def load(recipe: Recipe, config: Config) -> Tuple[Any, Config]:
    """(data set, Config with its class_names). Raises InputError for data that cannot be used."""
    data = recipe.load(config)
    return data, config._replace(class_names=tuple(recipe.class_names(data)))
