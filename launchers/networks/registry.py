"""The systems there are. A module of this package that defines a RECIPE is a network; no list of them is kept.

A run imports the module of its own network and what that needs. The list of all networks (-h, a wrong name) imports
every module of the package.
"""
import collections.abc
import importlib.util
import os
import pkgutil
import sys
import traceback
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

from core.errors import InputError
from core.recipe import Recipe
from core.settings import flags
from core.settings.config import Config
from core.settings.table import SWITCHES, switch

_PACKAGE = __name__.rpartition('.')[0]
_NEEDED = ('train_epochs', 'batch_size', 'learning_rate', 'display_step', 'val_epoch')  # by every run


class _Recipes(collections.abc.Mapping):
    """{network: Recipe}. A recipe is imported and checked at its look-up."""

    def __getitem__(self, name: str) -> Recipe:
        if name.endswith('.py'):
            return _of_file(name)
        path = '%s.%s' % (_PACKAGE, name)
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if path.startswith(error.name):
                raise KeyError(name)
            raise
        recipe = getattr(module, 'RECIPE', None)
        if not isinstance(recipe, Recipe):
            raise KeyError(name)
        check(recipe, path)
        return recipe

    def __iter__(self) -> Iterator[str]:
        names = (module.name for module in pkgutil.iter_modules([os.path.dirname(__file__)]))
        return iter([name for name in names if name in self])

    def __len__(self) -> int:
        return len(list(iter(self)))


RECIPES = _Recipes()


def _of_file(path: str) -> Recipe:
    """The Recipe in a file, beside which it may import others. Raises InputError for a file without a sound one."""
    path = os.path.abspath(os.path.expanduser(path))
    name = 'recipe_' + own_name(path)
    if name not in sys.modules or sys.modules[name].__file__ != path:
        if not os.path.isfile(path):
            raise InputError('--network=%s: no such file' % path)
        if os.path.dirname(path) not in sys.path:
            sys.path.append(os.path.dirname(path))
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:     # whatever a file that is executed may raise
            del sys.modules[name]
            line = traceback.extract_tb(error.__traceback__)[-1]
            raise InputError('--network=%s: %s: %s (%s, line %d)' % (
                path, type(error).__name__, error, line.filename, line.lineno)) from error
    recipe = getattr(sys.modules[name], 'RECIPE', None)
    if not isinstance(recipe, Recipe):
        raise InputError('--network=%s: defines no RECIPE, a core.recipe.Recipe' % path)
    check(recipe, path)
    return recipe._replace(path=path)


def own_name(network: str) -> str:
    """The name of a network that may be given as a file."""
    return os.path.basename(network)[:-len('.py')] if network.endswith('.py') else network


def asked(argv: Sequence[str], environ: Mapping[str, str]) -> Tuple[Recipe, Dict[str, Any]]:
    """(the Recipe, {switch: value}) of a command line. Raises InputError."""
    recipe, network = recipe_of(flags.network_in(argv), environ)
    return recipe, dict(flags.parse(argv, SWITCHES + tuple(recipe.switches)), **network)


def named(what: str, network: str) -> str:
    """The network that a file names, `what` being of it, which may be no path: a file names nothing that is executed.

    Raises InputError for a recipe of the user's own, which the command line has to name.
    """
    if network.endswith('.py') or network not in RECIPES:
        raise InputError('--network: the %s are of %s, no network of this package: give the file of its recipe, '
                         '--network=PATH.py' % (what, network))
    return network


def recipe_of(given: Dict[str, Any], environ: Mapping[str, str]) -> Tuple[Recipe, Dict[str, Any]]:
    """The Recipe that the parsed flags name, and the flags with the network's own name. Raises as network_of()."""
    name = network_of(given, environ)
    return RECIPES[name], dict(given, network=own_name(name))


def network_of(given: Dict[str, Any], environ: Mapping[str, str]) -> str:
    """The network that the parsed flags name, or else NETWORK in `environ`: its own name, whichever was written.

    The vendors' names count as well, with or without what follows the number: AlexNet_ID0259_for_TensorFlow,
    AlexNet_ID0259. Raises InputError for a network that there is none of, and for a recipe that cannot work: see
    check().
    """
    name, written = given.get('network'), '--network=%s'
    if name is None and environ.get('NETWORK'):
        name, written = environ['NETWORK'], 'NETWORK=%s (environment)'
    if name is None:
        return switch('network').default
    if name.endswith('.py') or name in RECIPES:
        return name
    for own, recipe in RECIPES.items():
        if recipe.vendor_name and name in (recipe.vendor_name, recipe.vendor_name.partition('_for_')[0]):
            return own
    written %= name
    for own in _with_trunk(name):
        task = ' --task=' + given['task'] if 'task' in given else ''
        raise InputError('%s: is a trunk of %s; write --network=%s --trunk=%s%s' % (written, own, own, name, task))
    raise InputError('%s: must be one of %s' % (written, ', '.join(RECIPES)))


def _with_trunk(name):
    """The networks that have --trunk, when `name` is one of its values."""
    try:
        switch('trunk').kind.parse(name)
    except ValueError:
        return []
    return [own for own, recipe in RECIPES.items() if 'trunk' in recipe.defaults]


def check(recipe: Recipe, module: str) -> None:
    """Raises InputError when `recipe`, which `module` defines, lacks what every run needs, or brings a switch twice."""
    known = {name for row in SWITCHES for name in (row.name, *row.aliases)} | set(Config.__annotations__)
    twice = [name for row in recipe.switches for name in (row.name, *row.aliases)
             if name in known or hasattr(Config, name)]
    if twice:
        raise InputError('%s: the switch %s of RECIPE is there already; give it another name' % (module, twice[0]))
    for name in _NEEDED:
        if name not in recipe.defaults:
            raise InputError('%s: the defaults of RECIPE lack %s; add %s=VALUE to them' % (module, name, name))
