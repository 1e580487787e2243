"""The blocks that every network has as switches, instead of what its recipe has or around it: --optimizer,
--learning_rate_decay, --warmup, and those of updates.py."""
from typing import Any, Mapping

from core.errors import InputError
from core.recipe import Recipe, no_penalty
from nets.blocks import optimizers, schedules, updates

OPTIMIZERS = {name: getattr(optimizers, name)
              for name in ('momentum', 'nesterov', 'adam', 'adamw', 'lamb', 'lars', 'ftrl')}
DECAYS = {name: getattr(schedules, name) for name in ('constant', 'cosine', 'linear', 'polynomial', 'stepwise')}
# What these functions read of a Config, where the network has none: {hyper-parameter: (value, their names)}.
DEFAULTS = dict(momentum=(optimizers.MOMENTUM, ('momentum', 'nesterov', 'lars')),
                weight_decay=(optimizers.WEIGHT_DECAY, ('adamw', 'lamb', 'lars')),
                lr_decay_power=(schedules.POWER, ('polynomial',)))


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
        learning_rate=schedules.warmed_up(rate) if given.get('warmup') else rate,
        optimizer=lambda learning_rate, config: updates.around(optimizer(learning_rate, config), config))
