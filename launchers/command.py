"""What the Python entries share: from the command line to a recipe and a Config, and from errors to a status."""
import sys

from core.errors import InputError
from core.npu.options import describe_options
from core.ranks import communicator
from core.settings import config as config_lib
from core.settings import flags
from core.training import hooks
from launchers.networks.registry import RECIPES, recipe_of


def run(act, argv, environ):
    """act(recipe, config) for the command line `argv`; returns the exit status.

    0 when done, or when --resume had nothing left to do; 2 for bad input; 1 for a loss that is not finite, a file
    system that fails (a log on a full disk) and another rank that is gone; 130 and 143 after Ctrl-C and SIGTERM.
    """
    if flags.asks_for_help(argv):
        print(flags.usage(RECIPES, describe_options()))
        return 0
    try:
        given = flags.parse(argv)
        recipe = recipe_of(given)
        act(recipe, config_lib.resolve(recipe, given, environ))
        return 0
    except hooks.NothingLeft as end:
        print(end)
        return 0
    except InputError as error:
        return _fail(error, 2)
    except (hooks.LossIsNotFinite, communicator.RankLost, OSError) as error:
        return _fail(error, 1)
    except hooks.Interrupted as error:
        return _fail(error, 128 + error.signum)


def _fail(error, status):
    print(error, file=sys.stderr)
    return status
