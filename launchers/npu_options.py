"""Prints docs/npu-options.md, made of the table of NpuOptimizer options: python3 -m launchers.npu_options."""
import os
import sys

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')     # TensorFlow's start-up lines would hide the answer

from core.ascend.environment import VARIABLES  # noqa: E402
from core.ascend.option_table import OPTIONS, REFUSED  # noqa: E402
from core.ascend.options import chips_that_lack  # noqa: E402
from core.settings.table import SWITCHES  # noqa: E402

HEAD = '''# Options of the NpuOptimizer

Made by `python3 -m launchers.npu_options > docs/npu-options.md`; the table itself is `core/ascend/option_table.py`.

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


if __name__ == '__main__':
    print(page(), end='')
