"""The command line: the only file that touches absl flags.

Every spelling of every row of core/settings/table.py is a flag of a FlagValues of our own, so that absl's global
flags (--alsologtostderr, ...) are refused like any other unknown word.
"""
from typing import Any, Dict, List, Sequence, Tuple

from absl import flags as absl_flags

from core.errors import InputError
from core.log import printable
from core.settings.table import SWITCHES, Switch

_HELP = ('-h', '--h', '-help', '--help')
# What users of the vendors' other launchers type and a run here has no use for: {flag: why}.
_FOREIGN = {'autotune': '--aoe_mode=2 tunes', 'gpu_id': '--device_id chooses the device',
            'bind_core': 'each rank is bound to cores of its own anyway',
            'server_index': '--server_id chooses the server of --rank_table',
            'conf_path': '--rank_table=FILE names the table that set_ranktable has written'}


class _Parser(absl_flags.ArgumentParser):
    """Puts a kinds.Kind where absl expects a parser."""

    def __init__(self, kind):
        super().__init__()
        self.parse = kind.parse


def _define(switches):
    flags = absl_flags.FlagValues()
    for row in switches:
        flag = absl_flags.MultiFlag if row.repeated else absl_flags.Flag
        for name in (row.name,) + row.aliases:
            flags[name] = flag(_Parser(row.kind), None, name, None, row.help, boolean=row.kind.is_boolean)
    return flags


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether -h or --help stands among the arguments."""
    return any(argument in _HELP for argument in argv)


def without_foreign(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """(the arguments that are for us, lines about the others). Raises InputError for --autotune that is on."""
    kept, lines = [], []
    for argument in argv:
        name, _, value = argument[2:].partition('=')
        if not argument.startswith('--') or name not in _FOREIGN:
            kept.append(argument)
        elif name != 'autotune':
            lines.append('%s: has no effect here; %s' % (argument, _FOREIGN[name]))
        elif value.lower() != 'false':
            raise InputError('%s: CANN has no such tuning any more; %s' % (argument, _FOREIGN[name]))
    return kept, lines


def network_in(argv: Sequence[str]) -> Dict[str, str]:
    """{'network': value} where `argv` gives --network, whose recipe may bring switches of its own; else {}."""
    found = [value for argument, following in zip(argv, [*argv[1:], ''])
             for name, equals, value in [argument.lstrip('-').partition('=')]
             for value in [value if equals else following] if name == 'network' and argument.startswith('-')]
    return {'network': found[-1]} if found else {}


def parse(argv: Sequence[str], own: Sequence[Switch] = ()) -> Dict[str, Any]:
    """The switches that `argv` (without the program's name) gives, as {name: value}; own: those of the recipe.

    Raises InputError naming the flag, its value and what is allowed.
    """
    _check_absls_own(argv)
    given, leftover = parse_known(argv, SWITCHES + tuple(own), known_only=False)
    if leftover:
        raise InputError('%r: not a flag; flags are written --name=value' % leftover[0])
    return given


def parse_with_words(argv: Sequence[str], switches: Sequence[Switch]) -> Tuple[Dict[str, Any], List[str]]:
    """({name: value}, the arguments that are no flags) for a command that takes files. Raises InputError."""
    _check_absls_own(argv)
    given, words = parse_known(argv, switches)
    unknown = [word for word in words if word.startswith('-')]
    if unknown:
        raise InputError('%s: unknown flag; -h lists the flags' % unknown[0])
    return given, words


def _check_absls_own(argv):
    """Raises InputError for arguments to which absl would give a meaning of its own."""
    for argument in argv:
        if argument == '--' or argument.lstrip('-').split('=')[0] in ('undefok', 'flagfile'):
            raise InputError('%s: unknown flag; -h lists the flags' % argument)


def parse_known(argv: Sequence[str], switches: Sequence[Switch],
                known_only: bool = True) -> Tuple[Dict[str, Any], List[str]]:
    """({name: value}, the arguments that are none of `switches`). Raises InputError like parse()."""
    flags = _define(switches)
    flags.set_gnu_getopt(known_only)
    argv = _joined(argv, flags)
    for argument, following in zip(argv, list(argv[1:]) + ['--']):
        name = argument.lstrip('-')
        if name in flags and argument != name and not flags[name].boolean and following.startswith('--'):
            raise InputError('%s: has no value; flags are written --name=value' % argument)
    try:
        leftover = flags(['launcher'] + list(argv), known_only=known_only)[1:]
    except (absl_flags.Error, ValueError) as error:
        raise InputError(_one_line(error))
    return _given(flags, switches), leftover


def _joined(argv, flags):
    """`argv` with `--resume False` as `--resume=False`: absl would take the flag for True and the word for none."""
    joined: List[str] = []
    for argument in argv:
        name = joined[-1][2:] if joined and joined[-1].startswith('--') else ''
        if name in flags and flags[name].boolean and argument.lower() in ('true', 'false'):
            joined[-1] += '=' + argument
        else:
            joined.append(argument)
    return joined


def _given(flags, switches):
    given = {}
    for row in switches:
        spellings = {name: flags[name].value for name in (row.name,) + row.aliases if flags[name].value is not None}
        if len(set(map(str, spellings.values()))) > 1:
            raise InputError('%s: the same parameter with different values' % ' '.join(
                '--%s=%s' % item for item in spellings.items()))
        for value in spellings.values():
            given[row.name] = tuple(value) if row.repeated else value
    return given


def _one_line(error):
    text = printable(str(error))
    if isinstance(error, absl_flags.UnrecognizedFlagError):
        return '--%s: %s; -h lists the flags' % (error.flagname, text[0].lower() + text[1:].rstrip('. '))
    return text[len('flag '):] if text.startswith('flag --') else text
