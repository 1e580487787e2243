"""What the Python commands share: from the command line to a recipe and a Config, and from errors to a status."""
import os
import signal
import sys
from typing import Any, Callable, Mapping, Sequence

from core.errors import RunEnd
from core.log import one_line
from core.ascend.options import describe_options
from core.settings import config as config_lib
from core.settings import flags, usage
from core.settings.table import Switch, switch
from launchers.networks.registry import RECIPES, recipe_of


def run(act: Callable, argv: Sequence[str], environ: Mapping[str, str], planning: bool = False) -> int:
    """act(recipe, config) for the command line `argv`; returns the exit status, as status_of() does.

    planning: see config.resolve().
    """
    if flags.asks_for_help(argv):
        return status_of(lambda: print(usage.usage(RECIPES, describe_options())))

    def from_flags():
        recipe, given = recipe_of(flags.parse(argv), environ)
        act(recipe, config_lib.resolve(recipe, given, environ, planning))
    return status_of(from_flags)


def status_of(act: Callable[[], Any]) -> int:
    """Calls act(); returns the exit status: what act() returns or 0, that of the RunEnd, whose line goes to standard
    error, 1 for a file system that fails, or 141 when nobody reads standard output any more."""
    try:
        status = act() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:            # the reader has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (RunEnd, OSError) as end:
        print(one_line(str(end)), file=sys.stderr)
        return getattr(end, 'status', 1)


def help_text(command: str, own: Sequence[Switch], shared: Sequence[str] = ()) -> str:
    """What -h of a command prints: its line, its `own` switches, and those of the trainer that matter to it."""
    lines = ['usage: ' + command, ''] + usage.describe(own, {})
    if shared:
        lines += ['', 'and, as in training:'] + usage.describe([switch(name) for name in shared], {})
    return '\n'.join(lines)
