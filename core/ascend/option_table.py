"""OPTIONS: the keys that the Ascend adapter publishes for its NpuOptimizer, one typed row each.

The adapter aborts the process on a bad value, takes an unknown key silently and reads a value in the wrong field as
false, 0 or "". A row has its field, the values that are allowed, the value when nobody sets it, and the options that
it needs or excludes. docs/npu-options.md is made of this table by `python3 -m launchers npu_options`.

Options are a plain dict {key: typed value} of what was set; what nobody set is not in it. What the user typed is
checked here, before a session exists. A key beyond the table, which only --npu_option=raw:KEY=... can set, is in the
dict as raw:KEY.
"""
import difflib
import json
import re
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from core.ascend import option_kinds
from core.errors import InputError
from core.settings import kinds, rules
from core.settings.kinds import MOST
from core.settings.rules import Rule, excludes, idle_without, needs
from core.settings.table import OWN_PRECISION, switch


class Option(NamedTuple):
    """One key of custom_op.parameter_map."""
    field: str                            # of the proto's oneof: 'b', 'i' or 's'
    default: Union[bool, int, str, None]  # the adapter's own; None: it has none, or the chip decides
    kind: kinds.Kind
    meaning: str
    rules: Tuple[Rule, ...] = ()          # what it needs and excludes: else the adapter aborts, or ignores it


_text, _path, _file = kinds.text(), kinds.path(), kinds.file_path()
_MIXED = ('precision_mode=allow_mix_precision|allow_mix_precision_fp16|allow_mix_precision_bf16',
          'precision_mode_v2=mixed_float16|mixed_bfloat16|mixed_hif8')


def _flag(default, meaning, *rules):
    return Option('b', default, kinds.boolean(), meaning, rules)


def _number(default, least, most, meaning, *rules):
    return Option('i', default, kinds.whole(least, most), meaning, rules)


def _choice(default, names, meaning, *rules):
    return Option('s', default, kinds.choice(*names), meaning, rules)


def _string(default, kind, meaning, *rules):
    return Option('s', default, kind, meaning, rules)


OPTIONS = {
    # Where and how a graph runs.
    'use_off_line': _flag(True, 'train on the NPU'),
    'job': _string('localhost', _text, 'name of the job in the cluster; ps and default train on the host'),
    'task_index': _number(0, 0, MOST, 'task of the job'),
    'session_device_id': _number(None, 0, MOST, 'NPU of this session'),
    'local_rank_id': _number(None, 0, 7, 'rank within the server'),
    'local_device_list': _string(None, option_kinds.devices(), 'NPUs of this server that a process may use'),
    'graph_run_mode': _number(1, 0, 1, '1: training, 0: inference'),
    'enable_data_pre_proc': _flag(False, 'run GetNext on the NPU (deprecated)'),
    'iterations_per_loop': _number(1, 1, MOST, 'training steps in one session.run',
                                   needs('enable_data_pre_proc=True', when='> 1'),
                                   excludes('mix_compile_mode=True', when='> 1'),
                                   excludes('dynamic_graph_execute_mode=lazy_recompile', when='> 1')),
    'mix_compile_mode': _flag(False, 'leave operators that the NPU lacks to the host'),
    'lower_functional_ops': _flag(False, 'lower functional control flow'),
    'deterministic': _number(0, 0, 2, '1: the same result on every run; 2: HCCL reduces in one order, too'),
    'frozen_variable': _flag(False, 'keep the variables of a graph for inference as constants'),

    # Precision.
    'precision_mode': _string(None, switch('precision_mode').kind, 'precision of the operators; unset: '
                              '%s on a 910, %s on later chips, force_fp16 with graph_run_mode=0'
                              % tuple(OWN_PRECISION.values()) + '; force_fp16 is documented for inference',
                              excludes('precision_mode_v2')),
    'precision_mode_v2': _string(None, switch('precision_mode_v2').kind, 'the same by its newer names'),
    'modify_mixlist': _string(None, option_kinds.file_of(
        'of JSON text {"black-list": {"to-add": [], "to-remove": []}, "white-list": {...}, "gray-list": {...}}',
        'mixlist'), 'operator types moved between the lists of mixed precision', needs(*_MIXED)),
    'customize_dtypes': _string(None, option_kinds.file_of(
        'with lines NAME::InputDtype:T,...,OutputDtype:T,... or OpType::TYPE:InputDtype:T,...,OutputDtype:T,...',
        'custom_dtypes'), 'types of single operators, above precision_mode'),
    'op_precision_mode': _string(None, option_kinds.file_of(
        'with sections [ByOpType], [ByNodeName] and lines NAME=PRECISION', 'precision_of_operators'),
        'which implementation of single operators, instead of op_select_implmode'),
    'op_select_implmode': _choice(None, ('high_precision', 'high_performance', 'high_precision_for_all',
                                         'high_performance_for_all'),
                                  'which implementation of operators (deprecated: op_precision_mode)'),
    'optypelist_for_implmode': _string(None, _text, 'operator types that op_select_implmode is for (deprecated)',
                                       needs('op_select_implmode')),

    # Dumps and profiles.
    'enable_dump': _flag(False, 'dump the data of operators', needs('dump_path'), excludes('enable_dump_debug=True')),
    'enable_dump_debug': _flag(False, 'detect and dump overflows', needs('dump_path')),
    'dump_path': _string(None, option_kinds.own_directory(), 'where dumps are written',
                         idle_without('enable_dump=True', 'enable_dump_debug=True')),
    'dump_step': _string(None, kinds.dump_steps(), 'steps to dump; unset: all', idle_without('enable_dump=True')),
    'dump_mode': _string('output', switch('dump_mode').kind, 'what of an operator to dump',
                         idle_without('enable_dump=True')),
    'dump_data': _string('tensor', switch('dump_data').kind, 'the values, or a csv of statistics about them',
                         idle_without('enable_dump=True')),
    'dump_layer': _string(None, switch('dump_layer').kind, 'operators to dump; unset: all',
                          idle_without('enable_dump=True')),
    'dump_debug_mode': _choice('all', ('aicore_overflow', 'atomic_overflow', 'all'), 'which overflows to detect',
                               idle_without('enable_dump_debug=True')),
    'quant_dumpable': _choice(None, ('0', '1'), 'whether dumps of a quantised graph are complete'),
    'enable_exception_dump': _number(2, 0, 2, 'dump the operator that failed: 0 no, 1 all of it, 2 briefly'),
    'profiling_mode': _flag(False, 'profile the run'),
    'profiling_options': _string(None, option_kinds.profiling_options(), 'what to profile; unset: as msprof would',
                                 idle_without('profiling_mode=True')),
    'export_compile_stat': _number(1, 0, 2, 'write which fusions were made: 0 no, 1 at the end, 2 after compilation'),
    'debug_dir': _string(None, _path, 'where files about compiled operators are written'),
    'op_debug_level': _number(0, 0, 4, 'files about compiled operators (deprecated: op_debug_config)'),
    'op_debug_config': _string(None, option_kinds.file_of(
        'with lines op_debug_config=oom,dump_cce,dump_loc,ccec_O0,ccec_g,check_flag and op_debug_list=...',
        'debugging_of_operators'), 'how operators are compiled for debugging'),

    # Compilation.
    'fusion_switch_file': _string(None, option_kinds.file_of(
        'of JSON text {"Switch": {"GraphFusion": {"PASS": "on"}, "UBFusion": {"PASS": "off"}}}',
        'fusion_switches'), 'which fusions are off'),
    'enable_scope_fusion_passes': _string(None, _text, 'scope fusions to switch on, separated by ,'),
    'buffer_optimize': _choice('l2_optimize', ('l2_optimize', 'off_optimize'), 'use of the L2 buffer'),
    'enable_small_channel': _number(0, 0, 1, 'optimise convolutions of few input channels'),
    'variable_format_optimize': _flag(None, "variables in the NPU's own format"),
    'op_compiler_cache_mode': _choice(None, ('enable', 'disable', 'force'), 'cache of compiled operators'),
    'op_compiler_cache_dir': _string(None, _path, 'where that cache is'),
    'graph_compiler_cache_dir': _string(None, _path, 'where compiled graphs are kept; CANN knows them by a '
                                        'number alone, so a run of anything else takes wrong ones: use --graph_cache'),
    'oo_constant_folding': _flag(True, 'compute constant parts of a graph when it is compiled'),
    'input_fusion_size': _number(None, None, None, 'bytes up to which inputs are copied to the NPU together; the '
                                 'adapter brings it between 0 and 33554432'),
    'input_batch_cpy': _flag(False, 'copy the inputs of a step to the NPU in one go'),
    'graph_slice': _choice(None, ('auto', 'manual'), 'cut a graph into slices'),
    'aicore_num': _string(None, option_kinds.cores(), 'cube and vector cores that operators may use (A2, A3)'),
    'ac_parallel_enable': _choice(None, ('0', '1'), 'run AI CPU and AI Core operators at the same time'),
    'auto_multistream_parallel_mode': _string(
        None, option_kinds.streams(), 'operators over streams: cv cube and vector ones apart, else all over N streams'),
    'stream_max_parallel_num': _string(None, _text, 'parallel streams of each engine: DNN_VM_AICPU:10,DNN_HCCL:1'),
    'enable_compress_weight': _flag(False, 'compress weights', excludes('compress_weight_conf', when='True|False')),
    'compress_weight_conf': _string(None, _file, 'which weights to compress'),
    'atomic_clean_policy': _number(0, 0, 1, 'clear atomic workspaces: 0 together, 1 one by one'),

    # Shapes that change.
    'dynamic_input': _flag(False, 'inputs change their shape (deprecated)'),
    'dynamic_graph_execute_mode': _choice(None, ('lazy_recompile', 'dynamic_execute'), 'how such a graph runs',
                                          idle_without('dynamic_input=True')),
    'dynamic_inputs_shape_range': _string(None, option_kinds.shape_ranges(), 'ranges of the shapes',
                                          idle_without('dynamic_input=True')),
    'input_shape': _string(None, option_kinds.shapes(), 'shapes of the inputs, -1 where dynamic_dims fills in',
                           needs('dynamic_dims'), excludes('mix_compile_mode=True')),
    'dynamic_dims': _string(None, option_kinds.dimensions(), 'sets of sizes, joined by ;, each with one for '
                            'every -1 of input_shape', needs('dynamic_node_type')),
    'dynamic_node_type': _number(None, 0, 1, '0: inputs are a data set, 1: placeholders', needs('input_shape')),
    'compile_hybrid_mode': _number(0, 0, 1, '1: compile for the given sizes and for any other', needs(
        'input_shape', when='1'), needs('dynamic_node_type=1', when='1')),
    'compile_dynamic_mode': _flag(False, 'compile for any shape', excludes('dynamic_input=True', 'input_shape')),
    'jit_compile': _choice(None, ('true', 'false', 'auto'), 'compile operators for the shape at hand'),
    'shape_generalization_mode': _choice('STRICT', ('STRICT', 'FULL', 'ADAPTIVE'), 'how shapes are generalised'),
    'all_tensor_not_empty': _flag(False, 'no tensor is empty, whatever its shape'),
    'in_out_pair': _string(None, option_kinds.pairs(), 'operators between which a graph runs on the NPU',
                           needs('mix_compile_mode=True')),
    'in_out_pair_flag': _flag(True, 'whether in_out_pair names what runs on the NPU, or what does not'),

    # Memory.
    'static_memory_policy': _number(0, 0, 4, '0: as much as is needed; 1: in no document; 2: graphs of static '
                                    'shape share the memory of the largest, 3: of dynamic shape, 4: both'),
    'graph_memory_max_size': _string(None, option_kinds.memory_size(), 'bytes for graphs (without effect today)'),
    'variable_memory_max_size': _string(None, option_kinds.memory_size(), 'bytes for variables (without effect today)'),
    'variable_placement': _choice('Device', ('Host', 'Device'), 'where variables lie',
                                  needs('mix_compile_mode=True', when='Host')),
    'variable_use_1g_huge_page': _number(0, 0, 2, 'variables in pages of 1 GB: 0 no, 1 must, 2 where they are left'),
    'external_weight': _flag(False, 'weights of a graph in files of their own'),

    # Several NPUs, and limits of time.
    'hcom_parallel': _flag(True, 'all-reduce during the backward pass'),
    'hcom_multi_mode': _flag(False, 'several HCCL communicators'),
    'is_tailing_optimization': _flag(False, 'overlap the last all-reduce'),
    'graph_max_parallel_model_num': _number(None, 1, MOST, 'copies of a graph that run at the same time'),
    'hccl_timeout': _number(1836, 0, MOST, 'seconds to wait for another NPU in an exchange; 0: without end; on a 910 '
                            '1 to 17340, rounded to a multiple of 68'),
    'op_wait_timeout': _number(120, 0, MOST, 'seconds that an operator waits for another'),
    'op_execute_timeout': _number(None, 0, MOST, 'seconds that an operator may run'),
    'stream_sync_timeout': _number(-1, -1, MOST, 'milliseconds that a stream may take; -1: no limit'),
    'event_sync_timeout': _number(-1, -1, MOST, 'milliseconds that an event may take; -1: no limit'),

    # Tuning.
    'aoe_mode': _string(None, switch('aoe_mode').kind, 'tune: 1 subgraphs, 2 operators, 4 the split of the gradients',
                        excludes('dynamic_dims')),
    'work_path': _string(None, option_kinds.own_directory(), 'where tuning works'),
    'aoe_config_file': _string(None, _file, 'what to tune'),
}

# Keys that act off an NPU, too (core/ascend/emulation/rehearsal.py).
REHEARSED = ('iterations_per_loop', 'enable_data_pre_proc', 'precision_mode', 'precision_mode_v2', 'modify_mixlist',
             'customize_dtypes', 'enable_dump', 'enable_dump_debug', 'dump_path', 'dump_step', 'dump_mode', 'dump_data',
             'dump_layer', 'profiling_mode', 'profiling_options')

# Keys that are refused: {key: why, and what to do}.
REFUSED = {**{key: 'CANN has no %s any more; use aoe_mode' % key for key in ('mstune_mode', 'auto_tune_mode')},
           'experimental_accelerate_train_mode': 'it needs a hook that hands steps or losses to the adapter, which no '
                                                 'run here has; choose a precision_mode'}

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

    chip() is of table.CHIPS or 950, '' for an NPU that is not known, None without one; called when an option depends
    on it.
    """
    for key, rule in rules.broken(_rules(options), options, options):
        return key, rules.message(rule, str)
    if options.get('op_debug_level') == 2 and 'op_debug_config' in options:
        from core.ascend import option_files
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
