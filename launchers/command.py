"""What the Python commands share: from the command line to a recipe and a Config, and from errors to a status."""
import sys
from typing import Callable, Mapping, Sequence

from core.errors import RunEnd
from core.npu.options import describe_options
from core.settings import config as config_lib
from core.settings import flags, usage
from launchers.networks.registry import RECIPES, recipe_of


def run(act: Callable, argv: Sequence[str], environ: Mapping[str, str], planning: bool = False) -> int:
    """act(recipe, config) for the command line `argv`; returns the exit status: 0, that of the RunEnd, or 1 for a
    file system that fails (a log on a full disk).

    planning: see config.resolve().
    """
    if flags.asks_for_help(argv):
        print(usage.usage(dict(RECIPES), describe_options()))
        return 0
    try:
        given = flags.parse(argv)
        recipe = recipe_of(given)
        act(recipe, config_lib.resolve(recipe, given, environ, planning))
        return 0
    except (RunEnd, OSError) as end:
        print(end, file=sys.stderr)
        return getattr(end, 'status', 1)
