"""The options of the NpuOptimizer (contract section 4): one typed table and its rules.

The adapter aborts the process on a bad value, takes an unknown key silently and reads a value in
the wrong field as false, 0 or "". So everything is checked here, before a session exists.
Options are a plain dict {key: typed value} of what was set; what nobody set is not in it.
"""
import difflib
from typing import NamedTuple, Tuple, Union

from core.errors import InputError
from core.npu import option_kinds
from core.settings import kinds, rules
from core.settings.rules import Rule, excludes, needs
from core.settings.table import switch


class Option(NamedTuple):
    """One key of custom_op.parameter_map."""
    field: str                           # of the proto's oneof: 'b', 'i' or 's'
    default: Union[bool, int, str, None]  # the adapter's own; None: it has none
    kind: kinds.Kind
    meaning: str
    rules: Tuple[Rule, ...] = ()         # what it needs and excludes: without it the adapter ignores it or aborts


_boolean, _choice, _text, _whole = kinds.boolean(), kinds.choice, kinds.text(), kinds.whole

OPTIONS = {
    'use_off_line': Option('b', True, _boolean, 'train on the NPU'),
    'enable_data_pre_proc': Option('b', False, _boolean, 'run GetNext on the NPU'),
    'iterations_per_loop': Option('i', 1, _whole(1), 'training steps in one session.run',
                                  (needs('enable_data_pre_proc=True', when=lambda steps: steps > 1),
                                   excludes('mix_compile_mode=True', when=lambda steps: steps > 1))),
    'mix_compile_mode': Option('b', False, _boolean, 'leave unsupported operators to the host'),
    'lower_functional_ops': Option('b', False, _boolean, 'lower functional control flow'),
    'job': Option('s', 'localhost', _text, 'name of the job in the cluster'),
    'task_index': Option('i', 0, _whole(0), 'task of the job'),
    'precision_mode': Option('s', 'allow_fp32_to_fp16', switch('precision_mode').kind, 'precision of the operators'),
    'precision_mode_v2': Option('s', None, _choice(
        'fp16', 'origin', 'cube_fp16in_fp32out', 'mixed_float16'), 'precision, newer names',
                                (excludes('precision_mode'),)),
    'modify_mixlist': Option('s', None, option_kinds.mixlist_file(),
                             'operators moved between the mixed precision lists',
                             (needs('precision_mode=allow_mix_precision', 'precision_mode_v2=mixed_float16'),)),
    'enable_dump': Option('b', False, _boolean, 'dump the data of operators',
                          (needs('dump_path'), excludes('enable_dump_debug=True'))),
    'enable_dump_debug': Option('b', False, _boolean, 'detect and dump overflows',
                                (needs('dump_path'),)),
    'dump_path': Option('s', '', kinds.directory(), 'where dumps are written',
                        (needs('enable_dump=True', 'enable_dump_debug=True'),)),
    'dump_step': Option('s', '', kinds.dump_steps(), 'steps to dump; all when not set',
                        (needs('enable_dump=True'),)),
    'dump_mode': Option('s', 'output', _choice('input', 'output', 'all'), 'what data to dump',
                        (needs('enable_dump=True'),)),
    'dump_debug_mode': Option('s', 'all', _choice('aicore_overflow', 'atomic_overflow', 'all'),
                              'which overflows to detect',
                              (needs('enable_dump_debug=True'),)),
    'profiling_mode': Option('b', False, _boolean, 'profile the run',
                             (needs('profiling_options'),)),
    'profiling_options': Option('s', '', option_kinds.profiling_options(), 'what to profile',
                                (needs('profiling_mode=True'),)),
    'op_select_implmode': Option('s', 'high_performance', _choice(
        'high_precision', 'high_performance'), 'which implementation of operators'),
    'optypelist_for_implmode': Option('s', '', _text, 'operator types op_select_implmode is for',
                                      (needs('op_select_implmode'),)),
    'fusion_switch_file': Option('s', '', kinds.file_path(), 'which fusions are off'),
    'hcom_parallel': Option('b', False, _boolean, 'all-reduce during the backward pass'),
    'hcom_multi_mode': Option('b', False, _boolean, 'several HCCL communicators'),
    'is_tailing_optimization': Option('b', False, _boolean, 'overlap the last all-reduce'),
    'variable_format_optimize': Option('b', True, _boolean, "variables in the NPU's own format"),
    'dynamic_input': Option('b', False, _boolean, 'inputs change their shape'),
    'dynamic_graph_execute_mode': Option('s', None, _choice('lazy_recompile', 'dynamic_execute'),
                                         'how dynamic inputs run',
                                         (needs('dynamic_input=True'),)),
    'dynamic_inputs_shape_range': Option('s', None, _text, 'range of dynamic input shapes',
                                         (needs('dynamic_input=True'),)),
    'input_shape': Option('s', None, _text, 'shapes, -1 where dynamic_dims fills in',
                          (needs('dynamic_dims'),)),
    'dynamic_dims': Option('s', None, _text, 'the sizes of the -1 dimensions',
                           (needs('dynamic_node_type'),)),
    'dynamic_node_type': Option('i', None, _whole(0, 1), '0: data set inputs, 1: placeholders',
                                (needs('input_shape'),)),
    'graph_run_mode': Option('i', 1, _whole(0, 1), '1: training, 0: inference'),
    'deterministic': Option('i', 0, _whole(0, 1), '1: same result on every run'),
    'buffer_optimize': Option('s', 'l2_optimize', _choice('l2_optimize', 'off_optimize'),
                              'use of the L2 buffer'),
    'session_device_id': Option('i', None, _whole(0), 'NPU of this session'),
    'local_rank_id': Option('i', None, _whole(0, 7), 'rank within the server'),
    'graph_memory_max_size': Option('s', None, option_kinds.memory_size(), 'bytes for graphs'),
    'variable_memory_max_size': Option('s', None, option_kinds.memory_size(), 'bytes for variables'),
    'stream_max_parallel_num': Option('s', None, _text, 'parallel streams of each engine'),
    'op_debug_level': Option('i', 0, _whole(0), 'debug files of compiled operators'),
    'enable_exception_dump': Option('i', 0, _whole(0), 'dump the operator that failed'),
    'enable_small_channel': Option('i', 0, _whole(0), 'optimise few input channels'),
    'auto_tune_mode': Option('s', '', _text, 'tune operators'),
    'mstune_mode': Option('s', '', _choice('1', '2', '3', '4'), 'tune the model',
                          (needs('work_path'),)),
    'work_path': Option('s', '', kinds.directory(), 'where tuning works'),
    'op_compiler_cache_mode': Option('s', '', _text, 'cache of compiled operators'),
    'op_compiler_cache_dir': Option('s', '', _text, 'where that cache is'),
    'debug_dir': Option('s', '', _text, 'where debug files are written'),
    'enable_scope_fusion_passes': Option('s', '', _text, 'scope fusions to switch on'),
}


def parse_option(flag, key, text):
    """The typed value of one option; `flag` is what the user typed, for the message.

    Raises InputError for an unknown key (with the nearest known one) and a value not allowed.
    """
    if key not in OPTIONS:
        near = difflib.get_close_matches(key, OPTIONS, n=1)
        hint = 'did you mean %s?' % near[0] if near else 'known are ' + ', '.join(OPTIONS)
        raise InputError('%s: there is no NPU option %s; %s' % (flag, key, hint))
    try:
        return OPTIONS[key].kind.parse(text)
    except ValueError as error:
        raise InputError('%s: %s' % (flag, error)) from None


def fault(options):
    """(key, message) of the first rule that the options {key: value} break, or None."""
    for key, rule in rules.broken({key: OPTIONS[key].rules for key in options}, options, options):
        return key, rules.message(rule, str)
    return None


def check_iterations(options, counts):
    """Raises InputError unless the step counts {what: steps} are multiples of iterations_per_loop."""
    iterations = options.get('iterations_per_loop', 1)
    for what, steps in counts.items():
        if steps % iterations:
            below = steps // iterations * iterations
            nearest = '%d or %d' % (below, below + iterations) if below else str(iterations)
            raise InputError('--npu_option=iterations_per_loop=%d: the %d %s are no multiple of it; the nearest are %s'
                             % (iterations, steps, what, nearest))


def describe_options():
    """The table for a help text: one line a key, with its default, meaning and values."""
    def default(option):
        return 'unset' if option.default in (None, '') else option.default
    return '\n'.join('%s (%s): %s; %s' % (key, default(option), option.meaning, option.kind.allowed)
                     for key, option in OPTIONS.items())
