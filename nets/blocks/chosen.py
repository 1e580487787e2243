"""The blocks that every network has as switches, instead of what its recipe has or around it.

--optimizer, --learning_rate_decay and --warmup choose; --freeze, --clip_norm, --accumulate_steps and --ema_decay stand
between the gradients of a step and the optimizer. Each of these is an optimizer around another one, inside of those
that exchange gradients and scale the loss: what it gets are the mean gradients of all ranks, scaled back, of steps that
are not skipped.
"""
import re
from typing import Any, List, Mapping

import tensorflow as tf
from tensorflow.python.training.optimizer import _deduplicate_indexed_slices

from core.errors import InputError
from core.recipe import Recipe, no_penalty
from core.settings.config import Config
from nets import layers
from nets.blocks import optimizers, schedules
from nets.blocks.optimizers import Around, Pairs

OPTIMIZERS = {name: getattr(optimizers, name)
              for name in ('momentum', 'nesterov', 'adam', 'adamw', 'lamb', 'lars', 'ftrl')}
DECAYS = {name: getattr(schedules, name) for name in ('constant', 'cosine', 'linear', 'polynomial', 'stepwise')}
# What these functions read of a Config, where the network has none: {hyper-parameter: (value, their names)}.
DEFAULTS = dict(momentum=(optimizers.MOMENTUM, ('momentum', 'nesterov', 'lars')),
                weight_decay=(optimizers.WEIGHT_DECAY, ('adamw', 'lamb', 'lars')),
                lr_decay_power=(schedules.POWER, ('polynomial',)))
BACKBONE = 'backbone'          # of --freeze


def recipe(own: Recipe, given: Mapping[str, Any]) -> Recipe:
    """`own` with the blocks that the flags `given` {switch: value} choose. Raises InputError."""
    if given.get('label_smoothing') and not own.model.head.smooths_labels:
        raise InputError('--label_smoothing=%g: this network\'s head has no labels to smooth' % (
            given['label_smoothing']))
    name, decay = given.get('optimizer'), given.get('learning_rate_decay')
    needed = {parameter: value for parameter, (value, readers) in DEFAULTS.items() if {name, decay} & set(readers)}
    if 'weight_decay' in needed:       # by the optimizer itself
        own = own._replace(model=own.model._replace(penalty=no_penalty))
    optimizer = OPTIMIZERS[name] if name else own.optimizer
    rate = DECAYS[decay] if decay else own.learning_rate
    return own._replace(
        defaults=dict(needed, **own.defaults),
        model=own.model._replace(net=_with_frozen_statistics(own.model.net)),
        learning_rate=schedules.warmed_up(rate) if given.get('warmup') else rate,
        optimizer=lambda learning_rate, config: around(optimizer(learning_rate, config), config))


def _with_frozen_statistics(net):
    """`net`, of which what --freeze leaves as it is keeps its batch-norm statistics, too, and normalises with them.

    All batch norms belong to the backbone.
    """
    def act(inputs, is_training, config, dropout):
        if not config.freeze:
            return net(inputs, is_training, config, dropout)
        with layers.frozen('' if config.freeze == BACKBONE else config.freeze):
            return net(inputs, is_training, config, dropout)
    return act


def around(optimizer: tf.train.Optimizer, config: Config) -> tf.train.Optimizer:
    """`optimizer` with what the switches put before and behind it."""
    if config.clip_norm:
        optimizer = Clipped(optimizer, config.clip_norm)
    if config.ema_decay:
        optimizer = Averaged(optimizer, config.ema_decay)
    if config.accumulate_steps > 1:
        optimizer = Accumulated(optimizer, config.accumulate_steps)
    if config.freeze:
        optimizer = Frozen(optimizer, config.freeze)
    return optimizer


class Clipped(Around):
    """Scales all gradients down so that their norm together is at most `norm` (Pascanu et al., arXiv 1211.5063)."""

    def __init__(self, optimizer: tf.train.Optimizer, norm: float):
        super().__init__(optimizer)
        self._norm = norm

    def _applied(self, pairs, global_step):
        # A row that occurs several times in a batch has one gradient, the sum.
        gradients = [tf.IndexedSlices(*_deduplicate_indexed_slices(g.values, g.indices), g.dense_shape)
                     if isinstance(g, tf.IndexedSlices) else g for g, _ in pairs]
        clipped, _ = tf.clip_by_global_norm(gradients, self._norm)
        return super()._applied(list(zip(clipped, (v for _, v in pairs))), global_step)


class Averaged(Around):
    """Keeps an exponential moving average of each weight, in variables that checkpoints hold."""

    def __init__(self, optimizer: tf.train.Optimizer, decay: float):
        super().__init__(optimizer)
        self._average = tf.train.ExponentialMovingAverage(decay)

    def _applied(self, pairs, global_step):
        with tf.control_dependencies([super()._applied(pairs, global_step)]):
            return self._average.apply([variable for _, variable in pairs])


class Accumulated(Around):
    """Sums the gradients of `steps` steps, and hands their mean to the optimizer in the last of them."""

    def __init__(self, optimizer: tf.train.Optimizer, steps: int):
        super().__init__(optimizer)
        self._steps = steps

    def _applied(self, pairs, global_step):
        with tf.init_scope(), tf.variable_scope('accumulated'):    # outside of the branch of a loss scale
            held = [tf.get_variable(v.op.name, v.shape, v.dtype.base_dtype, tf.zeros_initializer(), trainable=False)
                    for _, v in pairs]
            count = tf.get_variable('count', [], tf.int32, tf.zeros_initializer(), trainable=False)
        sums = [so_far + tf.convert_to_tensor(gradient) for so_far, (gradient, _) in zip(held, pairs)]
        after = count + 1
        is_last = tf.equal(after, self._steps)
        means = [(total / self._steps, variable) for total, (_, variable) in zip(sums, pairs)]
        update = tf.cond(is_last, lambda: super(Accumulated, self)._applied(means, None), tf.no_op)
        kept = [so_far.assign(tf.where(is_last, tf.zeros_like(total), total)) for so_far, total in zip(held, sums)]
        kept.append(count.assign(tf.where(is_last, 0, after)))
        with tf.control_dependencies([update, *kept]):
            return tf.no_op() if global_step is None else tf.assign_add(global_step, 1).op


class Frozen(Around):
    """Leaves out the variables that the regular expression `names` finds, or with BACKBONE all but the classifier."""

    def __init__(self, optimizer: tf.train.Optimizer, names: str):
        super().__init__(optimizer)
        self._names = names

    def compute_gradients(self, loss: tf.Tensor, var_list: List[tf.Variable], *args: Any, **kwargs: Any) -> Pairs:
        """The gradients of the others. Raises InputError where none or all are left."""
        if self._names == BACKBONE:
            from core.pretrained import initial    # here, because most runs start from nothing
            trained = initial.classifier(var_list)
        else:
            trained = [v for v in var_list if not re.search(self._names, v.op.name)]
        if len(trained) in (0, len(var_list)):
            raise InputError('--freeze=%s: freezes %s of the variables of this network, such as %s' % (
                self._names, 'none' if trained else 'all', var_list[0].op.name))
        return super().compute_gradients(loss, trained, *args, **kwargs)
