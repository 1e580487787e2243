"""What the Python commands share: from the command line to a recipe and a Config, and from errors to a status."""
import os
import signal
import sys
from typing import Any, Callable, Mapping, Sequence

from core.errors import InputError, RunEnd
from core.log import one_line, say
from core.ascend.options import describe_options
from core.settings import config as config_lib
from core.settings import flags
from core.settings.table import Switch, switch
from launchers import usage
from launchers.networks.parameters import parameters_read
from launchers.networks.registry import RECIPES, asked, named_by_path
from nets.blocks import chosen


def run(act: Callable, argv: Sequence[str], environ: Mapping[str, str], planning: bool = False) -> int:
    """act(recipe, config) for the command line `argv`; returns the exit status, as status_of() does.

    planning: see config.resolve().
    """
    if flags.asks_for_help(argv):
        return status_of(lambda: print(usage.usage(dict(RECIPES, **named_by_path(argv)), describe_options())))

    def from_flags():
        arguments, lines = flags.without_foreign(argv)
        recipe, given = asked(arguments, environ)
        recipe = chosen.recipe(recipe, given)
        if given.get('label_smoothing') and 'label_smoothing' not in parameters_read([recipe.model.head.score]):
            raise InputError('--label_smoothing=%g: this network\'s head has no labels to smooth' % (
                given['label_smoothing']))
        if given.get('train_steps') and 'train_epochs' in given:
            lines.append('--train_epochs=%d: --train_steps=%d counts' % (given['train_epochs'], given['train_steps']))
        if not planning:               # whose lines the launcher reads
            for line in lines:
                say(line)
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
