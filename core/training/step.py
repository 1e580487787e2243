"""Step: the built training graph. Everything that runs once per step on the device is made here."""
from typing import Any, Dict, List, NamedTuple

import tensorflow as tf

from core.npu import bridge


class Step(NamedTuple):
    """The tensors, variables and ops that the hooks and the loop use."""
    train_op: Any                  # one update of the weights; advances `number`
    number: Any                    # int64 variable: finished steps
    applied: Any                   # int64 variable: steps whose gradients were applied (finite under loss scaling)
    loss: Any                      # scalar: the loss of this batch, penalty included
    values: Dict[str, Any]         # name -> scalar of this batch: 'loss', 'accuracy', ...
    means: Dict[str, Any]          # name -> scalar, mean of `values` over the epoch so far
    learning_rate: Any             # scalar
    model_variables: List[Any]     # of the network itself: weights and batch-norm statistics
    synchronise: Any               # op: batch-norm statistics become their mean over the ranks
    stop: Any                      # float32 variable of this rank: 1 asks all ranks to stop
    stops: Any                     # scalar of this batch: above 0 when any rank has asked


def build(recipe, config, device, engine, batch, steps, steps_per_epoch):
    """Builds the Step of `recipe` on `batch`; `steps` is the length of the run.

    Losses, scores and gradients are those of all ranks' batches together. The means live in variables, so that
    a checkpoint in the middle of an epoch keeps them.
    """
    number = tf.train.get_or_create_global_step()
    outputs = recipe.model(batch, True, config, stateless_dropout(config, device, number))
    model_variables = [v for v in tf.global_variables() if v is not number]
    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    values = {name: tf.reduce_mean(score) for name, score in outputs.scores.items()}
    values['loss'] = tf.reduce_mean(outputs.losses) + outputs.penalty
    learning_rate = tf.convert_to_tensor(recipe.learning_rate(config, number, steps), tf.float32)
    applied = _counter('applied_steps')
    optimizer = engine.optimizer(recipe.optimizer(learning_rate, config), config.loss_scale)
    gradients = optimizer.compute_gradients(values['loss'], tf.trainable_variables())
    with tf.control_dependencies(update_ops):
        apply = optimizer.apply_gradients(gradients, global_step=applied)
    stop = tf.get_variable('stop_request', [], tf.float32, tf.zeros_initializer(), trainable=False,
                           collections=[tf.GraphKeys.LOCAL_VARIABLES])
    *shared, stops = engine.mean([values[name] for name in sorted(values)] + [stop])
    values = dict(zip(sorted(values), shared))
    means = _epoch_means(values, tf.equal(number % steps_per_epoch, 0))
    with tf.control_dependencies([apply] + list(means.values())):
        train_op = tf.assign_add(number, 1).op
    synchronise = engine.average(_statistics(model_variables))
    return Step(train_op, number, applied, values['loss'], values, means, learning_rate, model_variables,
                synchronise, stop, stops)


def _statistics(variables):
    """Those of `variables` that are computed and not learned: batch norm's moving averages."""
    learned = tf.trainable_variables()
    return [v for v in variables if v not in learned and v.dtype.base_dtype.is_floating]


def _counter(name):
    return tf.get_variable(name, [], tf.int64, tf.zeros_initializer(), trainable=False)


def _epoch_means(values, starts_epoch):
    """Means of `values` since the epoch's first step, kept as one vector of sums and their count."""
    names = sorted(values)
    sums = tf.get_variable('epoch_sums', [len(names) + 1], tf.float32, tf.zeros_initializer(), trainable=False)
    now = tf.stack([values[name] for name in names] + [1.])
    total = tf.assign(sums, tf.where(starts_epoch, tf.zeros_like(now), sums) + now)
    return {name: total[i] / total[-1] for i, name in enumerate(names)}


def stateless_dropout(config, device, number):
    """dropout(x, rate) for a training graph.

    Off the NPU its noise is a function of seed, step, rank and place in the graph, so that a resumed run
    drops what the undisturbed one would have dropped. The NPU has a kernel of its own for it.
    """
    places = []
    draw = number * config.ranks + config.rank

    def dropout(x, rate):
        if device == 'npu':
            return bridge.dropout(x, 1 - rate)
        places.append(x)
        seed = tf.stack([tf.cast(draw, tf.int32), tf.constant(config.seed ^ (len(places) << 24), tf.int32)])
        kept = tf.random.stateless_uniform(tf.shape(x), seed) >= rate
        return tf.where(kept, x / (1 - rate), tf.zeros_like(x))
    return dropout


def no_dropout(x, rate):
    """dropout(x, rate) for a test graph."""
    del rate
    return x
