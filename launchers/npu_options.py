"""Prints docs/npu-options.md, made of the table of NpuOptimizer options: python3 -m launchers npu_options."""
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'npu_options'] + sys.argv[1:])

from core.ascend.machine import VARIABLES
from core.ascend.option_table import OPTIONS, REFUSED, chips_that_lack
from core.settings import flags
from core.settings.table import SWITCHES
from launchers import command

USAGE = command.Usage('python3 -m launchers npu_options > docs/npu-options.md',
                      'Prints the page of all NpuOptimizer options, which the table in the code makes.')

HEAD = '''# Options of the NpuOptimizer

Made by `python3 -m launchers npu_options > docs/npu-options.md`; the table itself is `core/ascend/option_table.py`.

`--npu_option=KEY=VALUE` sets any of these options, and may be given several times. A value or a combination that the
adapter or CANN would end the process for, and a key that is not in the table, are refused before a device is touched.
The log tells which options have no effect because another is off. The field is the one of the parameter's `b`, `i` and
`s` that the adapter reads; the default is the adapter's own, and nothing is written for an option that neither the user
nor the recipe sets, but for `use_off_line`.

| option | field | default | values | meaning | rules |
|---|---|---|---|---|---|
'''
BELOW = '''
`--npu_option=raw:KEY=b:True`, `raw:KEY=i:1` and `raw:KEY=s:TEXT` pass on an option that is not in the table. Nothing
checks it, and the log says so.

## Switches that set options

'''
LACKS = '''
## What a chip lacks

The chip is the one that `--emulate_chip` or else `npu-smi info` names. Where it is known, these values are refused. On
a machine without an NPU L2Cache is refused, too, unless `--emulate_chip=910B` is given.

'''
GONE = '''
## Options that are refused

'''
ENVIRONMENT = '''
## Environment

| variable | values | meaning |
|---|---|---|
'''


def page() -> str:
    """The text of docs/npu-options.md."""
    options = ''.join(map(_row, OPTIONS, OPTIONS.values()))
    switches = ''.join('- `--%s`: `%s`\n' % (row.name, row.npu_key) for row in SWITCHES if row.npu_key)
    lacks = ''.join('- %s: `%s`, %s\n' % item for item in chips_that_lack())
    gone = ''.join('- `%s`: %s\n' % item for item in REFUSED.items())
    variables = ''.join('| `%s` | %s | %s |\n' % (name, variable.kind.allowed, variable.meaning)
                        for name, variable in VARIABLES.items())
    return HEAD + options + BELOW + switches + LACKS + lacks + GONE + gone + ENVIRONMENT + variables


def _row(key, option):
    default = '' if option.default is None else '`%s`' % option.default
    rules = '; '.join('%s%s %s' % ('with %s ' % rule.when if rule.when else '', rule.words,
                                   ' or '.join('`%s`' % other for other in rule.others)) for rule in option.rules)
    cells = ['`%s`' % key, option.field, default, option.kind.allowed, option.meaning, rules]
    return '| %s |\n' % ' | '.join(cell.replace('|', '\\|') for cell in cells)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints the page; returns the exit status."""
    def act():
        flags.parse(argv, ())
        print(page(), end='')
    return command.status_of(act, argv, USAGE)
