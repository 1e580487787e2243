"""The blocks that every network has as switches, in place of what its recipe has: --optimizer, --learning_rate_decay
and --warmup."""
from typing import Any, Mapping

from core.recipe import Recipe
from nets.blocks import optimizers, schedules

OPTIMIZERS = {'momentum': optimizers.momentum, 'nesterov': optimizers.nesterov, 'adam': optimizers.adam}
DECAYS = {'constant': schedules.constant, 'cosine': schedules.cosine, 'linear': schedules.linear,
          'stepwise': schedules.stepwise}


def recipe(own: Recipe, given: Mapping[str, Any]) -> Recipe:
    """`own` with the blocks that the flags `given` {switch: value} choose."""
    if given.get('optimizer') in ('momentum', 'nesterov') and 'momentum' not in own.defaults:
        own = own._replace(defaults=dict(own.defaults, momentum=optimizers.MOMENTUM))
    if 'optimizer' in given:
        own = own._replace(optimizer=OPTIMIZERS[given['optimizer']])
    rate = DECAYS[given['learning_rate_decay']] if 'learning_rate_decay' in given else own.learning_rate
    return own._replace(learning_rate=schedules.warmed_up(rate) if given.get('warmup') else rate)
