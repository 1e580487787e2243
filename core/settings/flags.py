"""The command line: the only file that touches absl flags.

Every spelling of every row of core.config.FIELDS is a flag of a FlagValues of our own, so that absl's global
flags (--alsologtostderr, ...) are refused like any other unknown word.
"""
from absl import flags as absl_flags

from core.errors import InputError
from core.settings import config as config_lib
from core.settings import kinds

_HELP = ('-h', '--h', '-help', '--help')


class _Parser(absl_flags.ArgumentParser):
    """Puts a kinds.Kind where absl expects a parser."""

    def __init__(self, kind):
        super().__init__()
        self.parse = kind.parse


def _define(fields):
    flags = absl_flags.FlagValues()
    for field in fields:
        flag = absl_flags.MultiFlag if field.repeated else absl_flags.Flag
        for name in (field.name,) + field.aliases:
            flags[name] = flag(_Parser(field.kind), None, name, None, field.meaning,
                               boolean=field.kind.allowed == kinds.boolean().allowed)
    return flags


def asks_for_help(argv):
    """Whether -h or --help stands among the arguments."""
    return any(argument in _HELP for argument in argv)


def parse(argv):
    """The fields that `argv` (without the program's name) gives, as {field name: value}.

    Raises InputError naming the flag, its value and what is allowed.
    """
    for argument in argv:
        if argument == '--' or argument.lstrip('-').split('=')[0] in ('undefok', 'flagfile'):
            raise InputError('%s: unknown flag; -h lists the flags' % argument)
    given, leftover = parse_known(argv, config_lib.FIELDS, known_only=False)
    if leftover:
        raise InputError('%r: not a flag; flags are written --name=value' % leftover[0])
    return given


def parse_known(argv, fields, known_only=True):
    """({field name: value}, the arguments that are none of `fields`). Raises InputError like parse()."""
    flags = _define(fields)
    flags.set_gnu_getopt(known_only)
    for argument, following in zip(argv, list(argv[1:]) + ['--']):
        name = argument.lstrip('-')
        if name in flags and argument != name and not flags[name].boolean and following.startswith('--'):
            raise InputError('%s: has no value; flags are written --name=value' % argument)
    try:
        leftover = flags(['launcher'] + list(argv), known_only=known_only)[1:]
    except (absl_flags.Error, ValueError) as error:
        raise InputError(_one_line(error))
    return _given(flags, fields), leftover


def _given(flags, fields):
    given = {}
    for field in fields:
        spellings = {name: flags[name].value for name in (field.name,) + field.aliases
                     if flags[name].value is not None}
        if len(set(map(str, spellings.values()))) > 1:
            raise InputError('%s: the same parameter with different values' % ' '.join(
                '--%s=%s' % item for item in spellings.items()))
        for value in spellings.values():
            given[field.name] = tuple(value) if field.repeated else value
    return given


def _one_line(error):
    text = ' '.join(str(error).split())
    if isinstance(error, absl_flags.UnrecognizedFlagError):
        return '--%s: %s; -h lists the flags' % (error.flagname, text[0].lower() + text[1:].rstrip('. '))
    return text[len('flag '):] if text.startswith('flag --') else text


def usage(recipes, options):
    """The text of -h: every flag and NPU option with its meaning and default, for `recipes` {name: Recipe}.

    options: the text about the NPU options.
    """
    head = ['usage: bash test/train_performance_1p.sh [--network=NAME] [--flag=value ...]',
            'networks: ' + ', '.join(recipes), '']
    options = ['', 'what --npu_option=KEY=VALUE takes, KEY (default): meaning; values', options]
    return '\n'.join(head + describe(config_lib.FIELDS, recipes) + options)


def describe(fields, recipes):
    """Lines about every flag of `fields`: spellings, meaning, default, and that of each of `recipes` {name: Recipe}."""
    lines = []
    for field in fields:
        names = ', '.join('--' + name for name in (field.name,) + field.aliases)
        lines.append('%s=VALUE' % names)
        lines.append('    %s (%s)' % (field.meaning, field.kind.allowed) if field.kind.allowed
                     else '    %s' % field.meaning)
        lines.append('    default: %s' % _default(field, recipes))
    return lines


def _default(field, recipes):
    rows = []
    if field.default is not config_lib.RECIPE:
        rows.append('unset' if field.default in (None, ()) else str(field.default))
    for name, recipe in recipes.items():
        cases = ['%s in a %s run' % (case[field.name], label.replace('_', '-'))
                 for label, case in recipe.cases.items() if field.name in case]
        if field.name in recipe.on_synthetic:
            cases.append('%s on synthetic data' % recipe.on_synthetic[field.name])
        own = [str(recipe.defaults[field.name])] if field.name in recipe.defaults else []
        if own or cases:
            rows.append('%s %s' % (name, ', '.join(own + cases)))
    return '; '.join(rows)
