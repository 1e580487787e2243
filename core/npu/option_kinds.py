"""The kinds of values that only NpuOptimizer options have (contract section 4)."""
import json
import re

from core.settings import kinds

_MIXLIST_FORM = ('{"black-list": {"to-add": [], "to-remove": []}, '
                 '"white-list": {"to-add": [], "to-remove": []}}')
_PROFILING_SWITCHES = ('training_trace', 'task_trace', 'aicpu')
_PROFILING_OPERATORS = ('fp_point', 'bp_point')
_AIC_METRICS = ('PipeUtilization', 'ArithmeticUtilization', 'Memory', 'MemoryL0', 'MemoryUB',
                'ResourceConflictRatio', 'L2Cache')


def memory_size():
    """Bytes, as text: digits or a product such as `26*1024*1024*1024`."""
    allowed = 'a number of bytes such as 1073741824 or 26*1024*1024*1024'

    def parse(text):
        if not re.fullmatch(r'[1-9][0-9]*( *\* *[1-9][0-9]*)*', text):
            raise ValueError('must be ' + allowed)
        return text
    return kinds.Kind(allowed, parse)


def mixlist_file():
    """Path of the JSON file that moves operators into and out of the mixed precision lists."""
    allowed = 'a JSON file of the form ' + _MIXLIST_FORM

    def is_change(change):
        return (isinstance(change, dict) and set(change) <= {'to-add', 'to-remove'}
                and all(isinstance(names, list) and all(isinstance(n, str) and n for n in names)
                        for names in change.values()))

    def parse(path):
        kinds.file_path().parse(path)
        lists = _load_json(path)
        if not (isinstance(lists, dict) and lists and set(lists) <= {'black-list', 'white-list'}
                and all(map(is_change, lists.values()))):
            raise ValueError('must be ' + allowed)
        return path
    return kinds.Kind(allowed, parse)


def profiling_options():
    """JSON text of what the profiler collects; `output` is a directory that exists."""
    allowed = 'JSON text with the keys output, %s (on or off), %s and aic_metrics' % (
        ', '.join(_PROFILING_SWITCHES), ', '.join(_PROFILING_OPERATORS))
    members = {'output': kinds.directory(), 'aic_metrics': kinds.choice(*_AIC_METRICS)}
    members.update((name, kinds.choice('on', 'off')) for name in _PROFILING_SWITCHES)
    # An empty operator name lets the profiler find the first and the last operator itself.
    members.update((name, kinds.Kind('text', str)) for name in _PROFILING_OPERATORS)

    def parse(text):
        try:
            options = json.loads(text)
        except (ValueError, RecursionError):
            options = None
        if not (isinstance(options, dict) and options and set(options) <= set(members)
                and all(isinstance(value, str) for value in options.values())):
            raise ValueError('must be ' + allowed)
        for name in sorted(options):
            _parse_member(name, members[name], options[name])
        return text
    return kinds.Kind(allowed, parse)


def _parse_member(name, kind, text):
    try:
        kind.parse(text)
    except ValueError as error:
        raise ValueError('"%s" %s' % (name, error)) from None


def _load_json(path):
    """What the JSON file holds, or None when it is not JSON text."""
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (ValueError, RecursionError):
        return None
