"""Step: the training graph. Everything that runs on the device in each step is built here."""
import copy
import zlib
from typing import Any, Callable, Dict, Tuple

import tensorflow as tf

from core.device import LOSS_SCALE, Device, keep_dtype
from core.recipe import FIRST_OUTPUT, Recipe, first_output
from core.run import Communicator, Options, Step
from core.settings.config import Config
from core.training import evaluation


def build(recipe: Recipe, config: Config, device: Device, communicator: Communicator, batch: Tuple[Any, Any],
          steps: int, steps_per_epoch: int, options: Options) -> Step:
    """Builds the Step of `recipe` on this rank's `batch` (inputs, labels), for a run of `steps`.

    Loss, metrics, gradients and batch-norm statistics are means over the batches of all ranks. Variables start from
    what the seed of the graph and their own names give, whatever other operators the graph has.
    """
    tf.get_variable_scope().set_custom_getter(_drawn_by_name)
    global_step = tf.train.get_or_create_global_step()
    inputs, labels = batch
    dropout = device.dropout(config, global_step)
    outputs, scores = evaluation.computed(recipe.model, inputs, labels, True, config, dropout)
    tf.add_to_collection(FIRST_OUTPUT, first_output(outputs))
    model_variables = [v for v in tf.global_variables() if v is not global_step]
    statistics = [v for v in model_variables
                  if v not in tf.trainable_variables() and v.dtype.base_dtype.is_floating]
    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    own_metrics = evaluation.means(scores)
    own_metrics['loss'] += recipe.model.penalty(config)
    with keep_dtype():             # float16 counts to 2048 only, and ends at 65504 steps
        learning_rate = tf.convert_to_tensor(recipe.learning_rate(config, global_step, steps), tf.float32)
    applied = tf.get_variable('applied_steps', [], tf.int64, tf.zeros_initializer(), trainable=False)
    # The loss scale looks at the mean gradients, so that all ranks skip the same steps.
    optimizer = device.optimizer(communicator.optimizer(recipe.optimizer(learning_rate, config)), config, options)
    gradients = optimizer.compute_gradients(own_metrics['loss'], tf.trainable_variables())
    # The loss first, because its penalty reads the weights, which the update writes in their place.
    with tf.control_dependencies([*update_ops, own_metrics['loss']]):
        apply_gradients = optimizer.apply_gradients(gradients, global_step=applied)
        own_statistics = [v.read_value() for v in statistics] if communicator.ranks > 1 else []
    with tf.control_dependencies([apply_gradients]):
        applied_steps = applied.read_value()
    stop_request = tf.get_variable('stop_request', [], tf.float32, tf.zeros_initializer(), trainable=False,
                                   collections=[tf.GraphKeys.LOCAL_VARIABLES])
    names = sorted(own_metrics)
    # In one exchange, because each has its own latency.
    stop_requests, *means = communicator.mean([stop_request] + [own_metrics[name] for name in names] + own_statistics)
    metrics = dict(zip(names, means))
    epoch_metrics = _means_over_epoch(metrics, tf.equal(global_step % steps_per_epoch, 0))
    renewed = [tf.assign(v, mean) for v, mean in zip(statistics, means[len(names):])]      # of several ranks
    updates = [apply_gradients, *epoch_metrics.values(), *renewed]
    with tf.control_dependencies(updates):
        train_op = tf.assign_add(global_step, 1).op
    tf.add_to_collection(tf.GraphKeys.TRAIN_OP, train_op)
    loss_scale = next(iter(tf.get_collection(LOSS_SCALE)), None)
    return Step(train_op, global_step, applied_steps, metrics['loss'], metrics, epoch_metrics, learning_rate,
                loss_scale, model_variables, stop_request, stop_requests)


def _drawn_by_name(getter: Callable, name: str, initializer: Any = None, **others: Any) -> tf.Variable:
    """A custom getter: the variable, with random initial values that depend on the graph's seed and on its name.

    TensorFlow would number the draws by the operators before them, which differ between devices.
    """
    if hasattr(initializer, 'seed'):
        initializer = copy.copy(initializer)           # because layers share one
        initializer.seed = zlib.crc32(name.encode()) >> 1   # TensorFlow takes an int32
    return getter(name=name, initializer=initializer, **others)


def _means_over_epoch(metrics: Dict[str, Any], starts_epoch: tf.Tensor) -> Dict[str, tf.Tensor]:
    """The means of `metrics` since the first step of the epoch.

    Their sums and the count of steps are one variable, so that a checkpoint in the middle of an epoch keeps them.
    """
    names = sorted(metrics)
    with keep_dtype():             # float16 counts to 2048 only
        sums = tf.get_variable('epoch_sums', [len(names) + 1], tf.float32, tf.zeros_initializer(), trainable=False)
        now = tf.stack([metrics[name] for name in names] + [1.])
        totals = tf.assign(sums, tf.where(starts_epoch, tf.zeros_like(now), sums) + now)
        *of_metrics, steps = tf.unstack(totals)
        return {name: total / steps for name, total in zip(names, of_metrics)}
