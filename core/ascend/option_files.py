"""The files that NpuOptimizer options name, each read by its grammar (docs/npu-options.md).

CANN's compiler refuses a file of another form after minutes of preparation, or takes what it does not know for
nothing. Each function below returns the content of the file and raises ValueError, 'must ...', for another form.
"""
import re
from typing import Dict, List, NamedTuple, Tuple

from core import files

LISTS, CHANGES = ('black-list', 'white-list', 'gray-list'), ('to-add', 'to-remove')
# All that may be done to one operator type at once. Removed from one list it is gray.
_TOGETHER = [{'black remove'}, {'white remove'}, {'gray add'}, {'black remove', 'gray add'},
             {'white remove', 'gray add'}, {'white add'}, {'white add', 'gray remove'}, {'white add', 'black remove'},
             {'black add'}, {'black add', 'gray remove'}, {'black add', 'white remove'}]
_DTYPES = 'float|float16|float32|bfloat16|bf16|double|bool|u?int(8|16|32|64)|complex(64|128)|hifloat8|float8_\\w+'
_CUSTOM = re.compile(r'(?:OpType::(?P<type>\w+):|(?P<name>[^\s:]+)::)'
                     r'(?:InputDtype:(?P<inputs>DTYPES(?:,(?:DTYPES))*))?,?'
                     r'(?:OutputDtype:(?P<outputs>DTYPES(?:,(?:DTYPES))*))?'.replace('DTYPES', '(?:%s)' % _DTYPES))
_PRECISIONS = ('high_precision', 'high_performance', 'enable_float_32_execution', 'enable_hi_float_32_execution',
               'support_out_of_bound_index', 'keep_fp16', 'super_performance')
_DEBUGS = ('oom', 'dump_cce', 'dump_loc', 'ccec_O0', 'ccec_g', 'check_flag')


class CustomDtypes(NamedTuple):
    """A line of customize_dtypes; () where it leaves out the inputs or the outputs."""
    is_type: bool                  # about all operators of a type, else about one name
    name: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


def mixlist(path: str) -> Dict[str, Dict[str, List[str]]]:
    """{list: {change: operator types}} of modify_mixlist."""
    lists = _json_object(path)
    if set(lists) - set(LISTS):
        raise ValueError('must have no lists but %s: %s is none of them' % (
            ', '.join(LISTS), min(set(lists) - set(LISTS))))
    done = {}
    for which, changes in lists.items():
        if not isinstance(changes, dict) or set(changes) - set(CHANGES):
            raise ValueError('must have {"to-add": [...], "to-remove": [...]} as its %s' % which)
        for change, types in changes.items():
            if not isinstance(types, list) or not all(isinstance(name, str) and name for name in types):
                raise ValueError('must have a list of operator types as %s of its %s' % (change, which))
            for name in types:
                done.setdefault(name, set()).add('%s %s' % (which[:-len('-list')], change[len('to-'):]))
    for name, changes in done.items():
        if changes not in _TOGETHER:
            raise ValueError('must not do this to %s: %s; an operator type may be added to one list and removed from '
                             'another' % (name, ', '.join(sorted(changes))))
    return lists


def fusion_switches(path: str) -> Dict[str, Dict[str, str]]:
    """{GraphFusion or UBFusion: {pass: on or off}} of fusion_switch_file."""
    switches = _json_object(path)
    groups = switches.get('Switch')
    if set(switches) != {'Switch'} or not isinstance(groups, dict):
        raise ValueError('must be {"Switch": {"GraphFusion": {"PASS": "on"}, "UBFusion": {"PASS": "off"}}}')
    for group, passes in groups.items():
        if group not in ('GraphFusion', 'UBFusion') or not isinstance(passes, dict):
            raise ValueError('must have GraphFusion and UBFusion, each with its passes, in Switch: see %s' % group)
        for name, state in passes.items():
            if state not in ('on', 'off'):
                raise ValueError('must have "on" or "off" for %s of %s' % (name, group))
    return groups


def custom_dtypes(path: str) -> List[CustomDtypes]:
    """The lines of customize_dtypes."""
    found = []
    for number, line in _lines(path):
        match = _CUSTOM.fullmatch(line)
        if not match or not (match.group('inputs') or match.group('outputs')):
            raise ValueError('must have lines NAME::InputDtype:T,...,OutputDtype:T,... or '
                             'OpType::TYPE:InputDtype:T,...,OutputDtype:T,...: line %d has not' % number)
        inputs, outputs = (tuple(filter(None, (match.group(which) or '').split(',')))
                           for which in ('inputs', 'outputs'))
        found.append(CustomDtypes(match.group('type') is not None, match.group('type') or match.group('name'),
                                  inputs, outputs))
    return found


def precision_of_operators(path: str) -> Dict[str, Dict[str, str]]:
    """{ByOpType or ByNodeName: {name: precision}} of op_precision_mode."""
    sections, names = {}, None
    for number, line in _lines(path):
        if line in ('[ByOpType]', '[ByNodeName]'):
            names = sections.setdefault(line[1:-1], {})
            continue
        name, equals, precision = (part.strip() for part in line.partition('='))
        if names is None or not name or not equals or precision not in _PRECISIONS:
            raise ValueError('must have sections [ByOpType] and [ByNodeName] with lines NAME=%s: line %d is none of '
                             'them' % ('|'.join(_PRECISIONS), number))
        names[name] = precision
    return sections


def debugging_of_operators(path: str) -> Dict[str, str]:
    """{op_debug_config or op_debug_list: its value} of op_debug_config."""
    found = {}
    for number, line in _lines(path):
        key, equals, value = (part.strip() for part in line.partition('='))
        if key not in ('op_debug_config', 'op_debug_list') or not equals or not value:
            raise ValueError('must have lines op_debug_config=... and op_debug_list=...: line %d has not' % number)
        found[key] = value
    debugs = [word.strip() for word in found.get('op_debug_config', '').split(',') if word.strip()]
    wrong = [word for word in debugs if word not in _DEBUGS]
    if wrong:
        raise ValueError('must have words of %s as op_debug_config: %s is none of them' % (
            ', '.join(_DEBUGS), wrong[0]))
    if {'oom', 'ccec_O0'} <= set(debugs):
        raise ValueError('must have oom or ccec_O0, not both')
    return found


def _json_object(path):
    try:
        return files.json_object(path)
    except ValueError as error:
        raise ValueError('must be a JSON object, {...}: the file %s' % error) from None


def _lines(path):
    """(number, text) of the lines that are neither empty nor comments."""
    try:
        lines = files.text(path).splitlines()
    except ValueError as error:
        raise ValueError('must be text in UTF-8: the file %s' % error) from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1)
            if line.strip() and not line.strip().startswith('#')]
