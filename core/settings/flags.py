"""The command line of every command, read by rows of Switch; nothing else looks at flags.

A flag is written --name=value, --name value, or --name alone where it is boolean; one dash does as well as two.
"""
import difflib
from typing import Any, Dict, List, Sequence, Tuple

from core.errors import InputError
from core.log import printable
from core.settings.table import SWITCHES, Switch

_HELP = ('-h', '--h', '-help', '--help')
# What users of the vendors' other launchers type and a run here has no use for: {flag: why}.
_FOREIGN = {'autotune': '--aoe_mode=2 tunes', 'gpu_id': '--device_id chooses the device',
            'bind_core': 'each rank is bound to cores of its own anyway',
            'server_index': '--server_id chooses the server of --rank_table',
            'conf_path': '--rank_table=FILE names the table that set_ranktable has written'}


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
    """{'network': value} where `argv` gives --network; else {}. Its recipe may bring switches of its own."""
    return parse_known(argv, [row for row in SWITCHES if row.name == 'network'])[0]


def parse(argv: Sequence[str], switches: Sequence[Switch] = SWITCHES) -> Dict[str, Any]:
    """The switches that `argv` (without the program's name) gives, as {name: value}.

    Raises InputError naming the flag, its value and what is allowed.
    """
    given, words = parse_with_words(argv, switches)
    if words:
        raise InputError('%s: not a flag; flags are written --name=value' % printable(repr(words[0])))
    return given


def parse_with_words(argv: Sequence[str], switches: Sequence[Switch]) -> Tuple[Dict[str, Any], List[str]]:
    """({name: value}, the arguments that are no flags) for a command that takes files. Raises InputError."""
    given, words = parse_known(argv, switches)
    for word in words:
        if word.startswith('-'):
            raise InputError(_unknown(word.split('=')[0], switches))
    return given, words


def parse_known(argv: Sequence[str], switches: Sequence[Switch]) -> Tuple[Dict[str, Any], List[str]]:
    """({name: value}, the arguments that are none of `switches`). Raises InputError for a value that is not allowed."""
    rows = {spelling: row for row in switches for spelling in (row.name,) + row.aliases}
    found: Dict[str, Any] = {}     # by spelling
    others = []
    arguments = list(argv)
    while arguments:
        argument = arguments.pop(0)
        name, equals, text = argument.lstrip('-').partition('=')
        row = rows.get(name)
        if row is None or not argument.startswith('-'):
            others.append(argument)
            continue
        if not equals and row.kind.is_boolean:
            text = arguments.pop(0) if arguments and arguments[0].lower() in ('true', 'false') else 'True'
        elif not equals:
            if not arguments or arguments[0].startswith('--'):
                raise InputError('%s: has no value; flags are written --name=value' % argument)
            text = arguments.pop(0)
        value = _value(row, name, text)
        found[name] = found.get(name, ()) + (value,) if row.repeated else value
    return _given(found, switches), others


def _value(row, name, text):
    try:
        return row.kind.parse(text)
    except ValueError as error:
        raise InputError('--%s=%s: %s' % (name, printable(text), error))


def _given(found, switches):
    given = {}
    for row in switches:
        spellings = {name: found[name] for name in (row.name,) + row.aliases if found.get(name) is not None}
        if len(set(map(str, spellings.values()))) > 1:
            raise InputError('%s: the same parameter with different values' % ' '.join(
                '--%s=%s' % item for item in spellings.items()))
        for value in spellings.values():
            given[row.name] = value
    return given


def _unknown(flag, switches):
    spellings = ['--' + name for row in switches for name in (row.name,) + row.aliases]
    alike = difflib.get_close_matches(flag, spellings, 1, .75)
    return '%s: unknown flag; %s-h lists the flags' % (
        printable(flag), 'did you mean %s? ' % alike[0] if alike else '')
