"""What the commands share: from the command line to a recipe and a Config, from errors to a status, and their -h.

Works where TensorFlow is not installed, until a command needs a recipe.
"""
import importlib.util
import os
import signal
import sys
from typing import Any, Callable, Dict, Mapping, NamedTuple, Sequence

from core.errors import RunEnd, input_errors
from core.log import one_line, say
from core.settings import config as config_lib
from core.settings import flags, kinds
from core.settings.table import RECIPE, SWITCHES, Switch, switch

ALL = tuple(row.name for row in SWITCHES)

BY_NUMBER = Switch('inference', 'classes_by_number', kinds.boolean(), False,
                   'take the classes of the checkpoint by their numbers where the data has other names for them')


class Usage(NamedTuple):
    """What -h of a command prints."""
    typed: str                     # what users type
    about: str = ''
    own: Sequence[Switch] = ()     # flags of this command alone
    shared: Sequence[str] = ()     # names of the trainer's flags that matter to the command; ALL: under their headings


TRAINING = Usage('bash test/train_performance_1p.sh', shared=ALL)


def run(act: Callable, argv: Sequence[str], environ: Mapping[str, str], about: Usage = TRAINING,
        planning: bool = False) -> int:
    """act(recipe, config) for the command line `argv`; returns the exit status, as status_of() does.

    about.own: flags that act() takes as arguments of the same names. planning: see config.resolve().
    """
    def from_flags():
        from launchers.networks.registry import asked
        from nets.blocks import chosen
        arguments, lines = flags.without_foreign(argv)
        own, arguments = flags.parse_known(arguments, about.own)
        if flags.parse_known(arguments, [switch('ckpt_path')])[0].get('ckpt_path'):
            from launchers.networks.described import completed     # here, because most runs start from nothing
            arguments = completed(arguments, environ, trains=about.shared is ALL)
        recipe, given = asked(arguments, environ)
        recipe = chosen.recipe(recipe, given)
        if given.get('train_steps') and 'train_epochs' in given:
            lines.append('--train_epochs=%d: --train_steps=%d counts' % (given['train_epochs'], given['train_steps']))
        if not planning:               # the launcher reads the lines of a plan
            for line in lines:
                say(line)
        # Looking for deprecated arguments takes an eighth of the time in which a graph is built, and nobody sees these
        # warnings.
        from tensorflow.python.util import deprecation
        with deprecation.silence():
            return act(recipe, config_lib.resolve(recipe, given, environ, planning), **own)
    return status_of(from_flags, argv, about)


def status_of(act: Callable[[], Any], argv: Sequence[str], about: Usage) -> int:
    """Prints the help where `argv` has -h, or else calls act().

    Returns the exit status: 0 or what act() returns; a RunEnd's, with its line on standard error; 1 for a file
    system that fails; 141 when nobody reads standard output any more.
    """
    try:
        with input_errors():
            status = print(help_text(argv, about)) if flags.asks_for_help(argv) else act()
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:            # the reader has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (RunEnd, OSError) as end:
        print(one_line(str(end)), file=sys.stderr)
        return getattr(end, 'status', 1)


def help_text(argv: Sequence[str], about: Usage) -> str:
    """What -h prints; with --network=NAME in `argv` the flags and defaults of that network alone."""
    from core.ascend.option_table import describe_options
    from launchers import usage
    given, _ = flags.parse_known(argv, [switch('network'), switch('case')])
    if about.shared is ALL:
        return usage.usage(about.typed, _recipes(given), describe_options(), given.get('case'))
    recipes = _recipes(given) if 'network' in given and importlib.util.find_spec('tensorflow') else {}
    lines = ['usage: ' + about.typed] + ['', about.about] * bool(about.about) + [''] * bool(about.own)
    lines += usage.describe(about.own)
    if about.shared:
        rows = [row for row in map(switch, about.shared) if row.default is not RECIPE or not recipes
                or any(row.name in recipe.defaults for recipe in recipes.values())]
        rows += [row for recipe in recipes.values() for row in recipe.switches]
        lines += ['', 'and, as in training:'] + usage.describe(rows, recipes)
    return '\n'.join(lines)


def _recipes(given) -> Dict[str, Any]:
    """{network: Recipe} of the network that was given, else of all."""
    from launchers.networks.registry import RECIPES, recipe_of
    if 'network' not in given:
        return dict(RECIPES)
    recipe, settled = recipe_of(given, {})
    return {settled['network']: recipe}
