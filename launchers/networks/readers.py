"""Which network reads which data set: the data of another network is recognised before anything is touched."""
import os
from typing import List

from core.errors import InputError
from core.recipe import Recipe
from core.settings import paths
from core.settings.config import Config
from data import known
from data.dataset import packed
from launchers.networks.registry import RECIPES


def check(recipe: Recipe, config: Config) -> None:
    """Raises InputError when --data_path holds the data of another network, or of none, and not this network's."""
    if config.synthetic or not recipe.tasks:
        return
    if config.task not in recipe.tasks:
        raise InputError('--task=%s: --network=%s reads %s' % (config.task, config.network, ', '.join(recipe.tasks)))
    found = known.found(config.data_path)
    if not known.is_known(config.task) or config.task in found:
        return
    wanted = '--network=%s reads %s' % (config.network, known.title(config.task))
    if found:
        raise InputError('--data_path=%s: holds %s, which %s reads; %s' % (
            config.data_path, known.title(found[0]), ' or '.join(_flags(found[0])), wanted))
    raise InputError('--data_path=%s: holds none of the data sets that a network reads; %s; class folders '
                     'need --task=folder; %s needs no data%s' % (
                         config.data_path, wanted, ' or '.join('--network=' + name for name in _without_data()),
                         packed(config.data_path)))


def inspect(recipe: Recipe, config: Config) -> str:
    """What will be read of --data_path, in one line; '' where only reading shows it. Raises InputError for bad data."""
    if config.synthetic or not recipe.tasks:
        return ''
    return known.inspect(config.task, config.data_path, config.seed, os.path.join(config.output_path, paths.CACHE))


def others(recipe: Recipe, config: Config) -> List[str]:
    """The further networks that read the data of this run without another flag."""
    if config.synthetic or not recipe.tasks:
        return []
    return [name for name, other in _recipes() if name != config.network and other.tasks
            and other.defaults.get('task') == config.task]


def _flags(task):
    """The flags with which each network reads a data set."""
    return ['--network=%s%s' % (name, '' if recipe.defaults['task'] == task else ' --task=' + task)
            for name, recipe in _recipes() if task in recipe.tasks]


def _without_data():
    return [name for name, recipe in _recipes() if not recipe.tasks and recipe.defaults.get('data_path')]


def _recipes():
    """(name, recipe) of every network; none when a recipe of the package cannot work, which is that network's fault."""
    try:
        return list(RECIPES.items())
    except InputError:
        return []
