"""The kinds of values that only NpuOptimizer options have (docs/npu-options.md)."""
import os
import re
from typing import Dict

from core import files
from core.settings import kinds

MOST_PROFILING_BYTES = 2047       # of profiling_options; the profiler copies them into a buffer of one byte more
_ON_OFF = kinds.choice('on', 'off')
_LEVEL = kinds.choice('on', 'off', 'l0', 'l1')
_FREQUENCY = kinds.whole(least=1, most=kinds.MOST)
_METRICS = ('PipeUtilization', 'ArithmeticUtilization', 'Memory', 'MemoryL0', 'MemoryUB', 'ResourceConflictRatio',
            'L2Cache', 'MemoryAccess', 'PipelineExecuteUtilization')
_TEXT = kinds.Kind('text', str)   # '' too: an empty operator name lets the profiler find the operator itself


def file_of(form: str, reader: str) -> kinds.Kind:
    """The kind of an option that is the path of a file, which a function of option_files.py reads.

    form completes 'a file '.
    """
    def parse(path):
        from core.ascend import option_files       # which few runs need
        path = kinds.file_path().parse(path)
        getattr(option_files, reader)(path)
        return path
    return kinds.Kind('a file ' + form, parse)


def shapes() -> kinds.Kind:
    """`name:int(,int)*` joined by `;`, as input_shape has them; a name has letters, digits, `_` and `/`."""
    one = '[A-Za-z0-9_/]+:-?[0-9]+(,-?[0-9]+)*'
    return kinds.pattern('%s(;%s)*;?' % (one, one), 'NAME:int,int,... of each input, its name of letters, digits, _ '
                         'and /, joined by ;, such as data:-1,32;label:-1')


def dimensions() -> kinds.Kind:
    """Digits joined by `,` and `;`, as dynamic_dims has them."""
    return kinds.pattern('[0-9]+([,;][0-9]+)*;?', 'whole numbers joined by , and ; such as 16,16;32,32')


def shape_ranges() -> kinds.Kind:
    """`data:...` and `getnext:...` joined by `;`, at most one each."""
    return kinds.pattern(r'(data|getnext):[^;:]+(;(data|getnext):[^;:]+)?',
                         'data:RANGES or getnext:RANGES, or both joined by ;, such as getnext:[128,3~5];data:[-1]')


def pairs() -> kinds.Kind:
    """`[[[in],[out]], ...]`, names of operators separated by commas, as in_out_pair has them."""
    names = r'\[[^][,\s]+(,[^][,\s]+)*\]'
    pair = r'\[%s, ?%s\]' % (names, names)
    return kinds.pattern(r'\[%s(, ?%s)*\]' % (pair, pair), '[[[INPUTS],[OUTPUTS]]], names of operators separated by ,')


def streams() -> kinds.Kind:
    """`cv`, `LoadBalance:n` or `MainStream:n` with n from 1 to 64."""
    return kinds.pattern('cv|(LoadBalance|MainStream):([1-9]|[1-5][0-9]|6[0-4])',
                         'cv, LoadBalance:N or MainStream:N with N from 1 to 64')


def cores() -> kinds.Kind:
    """`A|B`: cube and vector cores."""
    return kinds.pattern(r'[1-9][0-9]*\|[1-9][0-9]*', 'two numbers of cores, CUBE|VECTOR, such as 24|48')


def devices() -> kinds.Kind:
    """Digits joined by `,`."""
    return kinds.pattern(r'[0-9]+(,[0-9]+)*', 'whole numbers joined by , such as 0,1')


def memory_size() -> kinds.Kind:
    """Bytes, as text: digits or a product such as `26*1024*1024*1024`."""
    return kinds.pattern(r'[1-9][0-9]*( *\* *[1-9][0-9]*)*',
                         'a number of bytes such as 1073741824 or 26*1024*1024*1024')


def own_directory() -> kinds.Kind:
    """A directory that is no link, because the adapter looks at the path itself."""
    usable = kinds.directory()

    def parse(given):
        path = kinds.path().parse(given)
        if os.path.islink(path):
            raise ValueError('must be a directory itself: this is a link to %s' % os.path.realpath(path))
        return usable.parse(path)
    return kinds.Kind(usable.allowed + ', no link', parse)


def _output(path):
    """The directory of the profiles, which the profiler makes where it is missing."""
    path = os.path.expanduser(path)
    existing = os.path.abspath(path)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not path or not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError('must be a directory that can be written to or made')
    return path


def _metrics(text):
    if text not in _METRICS and not re.fullmatch(r'Custom:0x[0-9a-fA-F]+(,0x[0-9a-fA-F]+)*', text):
        raise ValueError('must be one of %s, Custom:0x..,0x..' % ', '.join(_METRICS))
    return text


def _storage(text):
    if not re.fullmatch('[0-9]{1,9}MB', text) or int(text[:-2]) < 200:
        raise ValueError('must be a size of 200MB or more')
    return text


_PROFILING = {
    'output': kinds.Kind('', _output), 'aic_metrics': kinds.Kind('', _metrics),
    # Only `on` is known to the compiler, which refuses `off`: it has to be left out, or empty.
    'training_trace': kinds.or_unset('', kinds.choice('on')),
    'task_time': _LEVEL, 'ge_api': kinds.choice('off', 'l0', 'l1'), 'storage_limit': kinds.Kind('', _storage),
    'fp_point': _TEXT, 'bp_point': _TEXT, 'llc_profiling': _TEXT, 'sys_mem_serviceflow': _TEXT, 'host_sys': _TEXT,
    'host_sys_usage': _TEXT,
    **dict.fromkeys(('task_trace', 'aicpu', 'l2', 'hccl', 'msproftx', 'task_block', 'task_tsfw', 'runtime_api',
                     'task_memory', 'instr_profiling'), _ON_OFF),
    **dict.fromkeys(('instr_profiling_freq', 'sys_hardware_mem_freq', 'sys_io_sampling_freq',
                     'sys_interconnection_freq', 'sys_cpu_freq', 'dvpp_freq', 'host_sys_usage_freq', 'sys_lp_freq'),
                    _FREQUENCY),
}


def profiling_options() -> kinds.Kind:
    """JSON text of what the profiler collects."""
    allowed = 'JSON text {"key": "value"} with the keys ' + ', '.join(_PROFILING)

    def parse(text):
        if not text:
            return text  # the adapter takes its own ones
        try:
            options = files.json_of(text)
        except ValueError:
            options = None
        if not (isinstance(options, dict) and all(isinstance(value, str) for value in options.values())):
            raise ValueError('must be ' + allowed)
        check_profiling(options, len(text.encode()))
        return text
    return kinds.Kind(allowed, parse)


def check_profiling(options: Dict[str, str], size: int) -> None:
    """Raises ValueError for {key: text} that the profiler would refuse; size: bytes of them as JSON text."""
    for name in sorted(options):
        if name not in _PROFILING:
            raise ValueError('"%s" is no key of it; known are %s' % (name, ', '.join(_PROFILING)))
        try:
            _PROFILING[name].parse(options[name])
        except ValueError as error:
            raise ValueError('"%s" %s' % (name, error)) from None
    if options.get('task_trace') == 'on' and options.get('training_trace') != 'on':
        raise ValueError('"task_trace" needs "training_trace": "on"; or take "task_time" instead')
    if 'output' not in options and not os.environ.get('ASCEND_WORK_PATH'):
        raise ValueError('"output" is missing: the directory of the profiles, unless ASCEND_WORK_PATH is set')
    if size > MOST_PROFILING_BYTES:
        raise ValueError('must be shorter than %d bytes' % (MOST_PROFILING_BYTES + 1))
