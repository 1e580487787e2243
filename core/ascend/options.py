"""The options of the NpuOptimizer: what the user typed, checked by core/ascend/option_table.py before a session exists.

Options are a plain dict {key: typed value} of what was set; what nobody set is not in it. A key beyond the table, which
only --npu_option=raw:KEY=... can set, is in it as raw:KEY.
"""
import difflib
import json
import re
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from core.errors import InputError
from core.ascend import option_files
from core.ascend.option_table import OPTIONS, REFUSED
from core.settings import kinds, rules

RAW = 'raw:'
_RAW_KINDS = {'b': kinds.boolean(), 'i': kinds.whole(), 's': kinds.text()}
_HIF8 = {'precision_mode_v2': ('cube_hif8', 'mixed_hif8')}
_OF_A_950 = {'dump_debug_mode': ('aicore_overflow', 'atomic_overflow')}
_LACKS = {      # {chip, None without an NPU: {key: values that it has not}}; a 910B is an A2 or A3
    None: {'profiling_options': ('L2Cache',)},
    '910': {'precision_mode': ('allow_mix_precision_bf16', 'allow_fp32_to_bf16'),
            'precision_mode_v2': ('mixed_bfloat16', 'cube_hif8', 'mixed_hif8'),
            'profiling_options': ('L2Cache', 'MemoryAccess'), 'input_batch_cpy': (True,),
            'variable_use_1g_huge_page': (1, 2)},
    '910B': {**_OF_A_950, **_HIF8, 'aoe_mode': ('1',)},
    '950': _OF_A_950,
}
_LONGEST_HCCL_TIMEOUT = 17340  # seconds, of a 910


def parse_option(flag: str, key: str, text: str) -> Any:
    """The typed value of one option; `flag` is what the user typed, for the message.

    Raises InputError for an unknown key (with the nearest known one) and a value not allowed.
    """
    if key in REFUSED:
        raise InputError('%s: %s' % (flag, REFUSED[key]))
    if key not in OPTIONS:
        near = difflib.get_close_matches(key, OPTIONS, n=1, cutoff=.75)
        raise InputError('%s: there is no NPU option %s; %s' % (
            flag, key, 'did you mean %s?' % near[0] if near else 'docs/npu-options.md has all; a key that is not there '
            'is passed on unchecked by --npu_option=raw:KEY=s:TEXT'))
    return _parse(flag, OPTIONS[key].kind, text)


def parse_raw(flag: str, key: str, text: str) -> Any:
    """The value of --npu_option=raw:`key`=`text`, `text` being b:True, i:1 or s:TEXT, which nothing else checks."""
    name = key[len(RAW):]
    if name in REFUSED:
        raise InputError('%s: %s' % (flag, REFUSED[name]))
    if name in OPTIONS:
        raise InputError('%s: %s is an option that is checked; write --npu_option=%s=VALUE' % (flag, name, name))
    field, colon, value = text.partition(':')
    if not re.fullmatch(r'\S+', name) or not colon or field not in _RAW_KINDS:
        raise InputError('%s: must be raw:KEY=b:True, raw:KEY=i:1 or raw:KEY=s:TEXT' % flag)
    return _parse(flag, _RAW_KINDS[field], value)


def _parse(flag, kind, text):
    try:
        return kind.parse(text)
    except ValueError as error:
        raise InputError('%s: %s' % (flag, error)) from None


def fault(options: Dict[str, Any], chip: Callable[[], Optional[str]] = lambda: None) -> Optional[Tuple[str, str]]:
    """(key, message) of the first rule that the options {key: value} break, or None.

    chip() is of table.CHIPS or 950, '' for an NPU that is not known, None without one; asked when an option depends
    on it.
    """
    for key, rule in rules.broken(_rules(options), options, options):
        return key, rules.message(rule, str)
    if options.get('op_debug_level') == 2 and 'op_debug_config' in options:
        if 'oom' in option_files.debugging_of_operators(options['op_debug_config']).get('op_debug_config', ''):
            return 'op_debug_level', 'not together with oom in op_debug_config'
    if 'aicore_num' in options and chip() == '910':
        return 'aicore_num', 'a 910 has no choice of cores'
    if not 0 < options.get('hccl_timeout', 1) <= _LONGEST_HCCL_TIMEOUT and chip() == '910':
        return 'hccl_timeout', 'must be from 1 to %d on a 910' % _LONGEST_HCCL_TIMEOUT
    for key, value in options.items():
        value = json.loads(value or '{}').get('aic_metrics') if key == 'profiling_options' else value
        lacking = [name for name, lacks in _LACKS.items() if value in lacks.get(key, ())]
        if lacking and chip() in lacking:
            what = value if isinstance(value, str) and not value.isdigit() else '%s=%s' % (key, value)
            return key, ('a %s has no %s' % (chip(), what) if chip() else
                         'a 910 has no %s; say --emulate_chip=910B where the chip is a later one' % what)
    return None


def without_effect(options: Dict[str, Any]) -> List[str]:
    """A line for the log about each of the options {key: value} that does nothing, because another is off."""
    return ['--npu_option=%s=%s: %s' % (key, options[key], rules.message(rule, str))
            for key, rule in rules.broken(_rules(options), options, options, (rules.IDLE_WITHOUT,))]


def _rules(options):
    return {key: OPTIONS[key].rules for key in options if key in OPTIONS}


def chips_that_lack() -> Iterator[Tuple[str, str, str]]:
    """(chip, key, values) of what each known chip lacks."""
    return ((chip, key, ', '.join(map(str, values)))
            for chip, lacks in _LACKS.items() if chip for key, values in lacks.items())


def describe_options() -> str:
    """The table for a help text: one line a key, with its default, meaning and values."""
    lines = []
    for key, option in OPTIONS.items():
        default = 'unset' if option.default is None else option.default
        values = '' if option.kind.is_obvious else '; ' + option.kind.allowed
        lines.append('%s (%s): %s%s' % (key, default, option.meaning, values))
    return '\n'.join(lines)
