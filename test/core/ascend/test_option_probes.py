"""Inputs that the adapter, or CANN behind it, ends the process for are refused before, and valid ones are taken."""
import json
import re

import pytest
from _pytest.monkeypatch import MonkeyPatch
from launching import PATIENCE

from core.errors import InputError
from core.ascend import machine, switches
from core.settings import flags
from core.settings.config import resolve
from launchers.networks.registry import RECIPES

SESEMI = RECIPES['sesemi']    # asks for no precision of its own; looked up once, because each look checks the recipe
MIXED = 'precision_mode=allow_mix_precision'
DYNAMIC = 'dynamic_input=True dynamic_graph_execute_mode=dynamic_execute '
THREE = 'input_shape=data:-1 dynamic_dims=1;2 dynamic_node_type=%d '
FILES = {
    'mixlist.json': '{"black-list": {"to-add": ["MatMulV2"]}, "gray-list": {"to-add": ["Add"], "to-remove": ["Mul"]}, '
                    '"white-list": {"to-remove": ["Add"], "to-add": ["Mul"]}}',
    'empty_lists.json': '{}', 'empty': '', 'no_json': 'black-list', 'a_list.json': '[]',
    'fusion.json': '{"Switch": {"GraphFusion": {"ConvBnPass": "on", "ALL": "off"}, "UBFusion": {}}}',
    'dtypes.cfg': '# types\nresnet/block1/Relu::InputDtype:float16,int8,OutputDtype:float16,int8\n\n'
                  'OpType::Relu:InputDtype:float16,OutputDtype:float32\nmodel/Add::OutputDtype:bfloat16\n',
    'precision.ini': '[ByOpType]\nConv2D = high_performance\n# heads\n[ByNodeName]\nmodel/dense/MatMul=keep_fp16\n',
    'debug.cfg': 'op_debug_config=oom,dump_cce\nop_debug_list=MatMul,Relu\n',
    'aoe.json': '{}'}


@pytest.fixture(scope='module', autouse=True)
def working_directory(tmp_path_factory):
    """A working directory with a file of each kind, without variables of the Ascend software."""
    patch = MonkeyPatch()
    directory = tmp_path_factory.mktemp('probes')
    patch.chdir(directory)
    for name in ('AOE_MODE', 'JOB_ID', 'ASCEND_WORK_PATH', 'ENABLE_HF32_EXECUTION'):
        patch.delenv(name, raising=False)
    (directory / 'dumps').mkdir()
    (directory / 'linked').symlink_to('dumps')
    for name, text in FILES.items():
        (directory / name).write_text(text)
    yield directory
    patch.undo()


def options(*given, output='/results'):
    asked = ['--network=sesemi', '--case=performance', '--output_path=%s' % output] + list(given)
    return switches.switch_options(resolve(SESEMI, flags.parse(asked), {}))


def npu(assignments):
    return ['--npu_option=' + assignment for assignment in assignments.split()]


def refused(*given, **kwargs):
    """The one line that refuses these flags."""
    with pytest.raises(InputError) as refusal:
        options(*given, **kwargs)
    assert '\n' not in str(refusal.value)
    return str(refusal.value)


# One option, nothing around it that could be refused instead.
SINGLE = [
    *['input_shape=' + text for text in ('data', 'data:', 'data:a,b', 'data:-1,32;label', 'data=-1,32', 'data:-1.5',
                                         'data:--1', ':1,', 'data:1,,2', 'data:1;;label:1', ';data:1', 'data:1,',
                                         'data:+1', 'data-1:1', 'data:0:1', '')],
    *['dynamic_dims=' + text for text in ('a', '16;b', '16,;32', '-1;32', '16;32;x', '1.5', ';16', '16;;32', '16,',
                                          '+16', '')],
    *['dynamic_inputs_shape_range=' + text for text in ('abc', 'x:[1,2]', 'data', 'data:',
                                                        'data:[1];getnext:[2];data:[3]', 'data:[1]:[2]')],
    *['enable_exception_dump=' + text for text in ('3', '4', '10', '100', '-1', 'on')],
    *['iterations_per_loop=' + text for text in ('0', '-1', '2147483648', '3000000000', '4294967296', '1.5')],
    *['task_index=' + text for text in ('-1', '2147483648', '4294967295')],
    *['dump_path=' + text for text in ('linked', 'nowhere', 'fusion.json')],
    *['dump_step=' + text for text in ('5-5', '20-10', '1,2', '|1', '1||2', '1-2-3', '0-4294967295', '4294967295',
                                       'a', '-0', '-', '|', '', '1 ', '|'.join(['7'] * 101))],
    'use_off_line=yes', 'job=', 'precision_mode=fp16', 'precision_mode=fp61', 'precision_mode_v2=force_fp16',
    'dump_mode=foo', 'dump_debug_mode=input', 'graph_run_mode=2', 'graph_run_mode=-1', 'op_select_implmode=fast',
    'buffer_optimize=l1_optimize', 'session_device_id=-1', 'local_rank_id=8', 'local_rank_id=-1',
    'dynamic_graph_execute_mode=eager', 'dynamic_node_type=2', 'work_path=nowhere', 'aoe_mode=3', 'aoe_mode=0',
    'compile_hybrid_mode=on', 'dump_data=mean', 'export_compile_stat=3', 'export_compile_stat=-1',
    'variable_use_1g_huge_page=3', 'graph_max_parallel_model_num=0', 'jit_compile=yes', 'jit_compile=True',
    'shape_generalization_mode=strict', 'local_device_list=0;1', 'local_device_list=a', 'local_device_list=0,',
    'variable_placement=host',
    'graph_slice=none', 'input_fusion_size=many', 'deterministic=3', 'compile_hybrid_mode=2', 'work_path=linked',
    'in_out_pair=a,b', 'in_out_pair=[[a],[b]]', 'aicore_num=24', 'aicore_num=24|', 'auto_multistream_parallel_mode=all',
    'auto_multistream_parallel_mode=LoadBalance:65', 'auto_multistream_parallel_mode=MainStream:0',
    'deterministic=True',
    'graph_memory_max_size=lots', 'variable_memory_max_size=0', 'op_debug_level=high', 'fusion_switch_file=nowhere',
    'modify_mixlist=nowhere', 'customize_dtypes=nowhere', 'op_precision_mode=nowhere', 'op_debug_config=nowhere',
    'static_memory_policy=5', 'hccl_timeout=soon', 'stream_sync_timeout=-2', 'compress_weight_conf=nowhere',
    'aoe_config_file=nowhere', 'op_compiler_cache_mode=maybe']


@pytest.mark.parametrize('assignment', SINGLE)
def test_a_value_that_the_adapter_would_abort_on_is_refused(assignment):
    key = assignment.partition('=')[0]
    assert re.match('--npu_option=%s=.*: must be ' % key, refused('--npu_option=' + assignment))


@pytest.mark.parametrize('assignment', ['input_shape=data:1 2', 'dynamic_dims=16 ; 32'])
def test_blanks_are_no_part_of_shapes(assignment):
    assert refused('--npu_option=' + assignment).startswith('--npu_option=%s: must be ' % assignment)


@pytest.mark.parametrize('assignments, words', [
    ('enable_dump=True', 'needs dump_path'), ('enable_dump_debug=True', 'needs dump_path'),
    ('enable_dump=True enable_dump_debug=True dump_path=dumps', 'not together with enable_dump_debug=True'),
    ('precision_mode=force_fp16 precision_mode_v2=fp16', 'not together with precision_mode_v2'),
    ('precision_mode=force_fp16 modify_mixlist=mixlist.json', 'needs precision_mode=allow_mix_precision|'),
    ('precision_mode_v2=origin modify_mixlist=mixlist.json', 'needs precision_mode=allow_mix_precision|'),
    ('optypelist_for_implmode=Pooling', 'needs op_select_implmode'),
    ('input_shape=data:-1', 'needs dynamic_dims'), ('dynamic_dims=1;2', 'needs dynamic_node_type'),
    ('dynamic_node_type=0', 'needs input_shape'), ('input_shape=data:-1 dynamic_dims=1', 'needs dynamic_node_type'),
    (THREE % 0 + 'mix_compile_mode=True', 'not together with mix_compile_mode=True'),
    ('iterations_per_loop=10', 'needs enable_data_pre_proc=True'),
    ('iterations_per_loop=10 enable_data_pre_proc=True mix_compile_mode=True', 'not together with mix_compile_mode'),
    ('iterations_per_loop=2 enable_data_pre_proc=True dynamic_input=True dynamic_graph_execute_mode=lazy_recompile',
     'not together with dynamic_graph_execute_mode=lazy_recompile'),
    ('compile_hybrid_mode=1', 'needs input_shape'), (THREE % 0 + 'compile_hybrid_mode=1', 'needs dynamic_node_type=1'),
    (THREE % 1 + 'compile_dynamic_mode=True', 'not together with dynamic_input=True or input_shape'),
    ('compile_dynamic_mode=True dynamic_input=True', 'not together with dynamic_input=True'),
    ('in_out_pair=[[[a],[b]]]', 'needs mix_compile_mode=True'),
    ('variable_placement=Host', 'needs mix_compile_mode=True'),
    (THREE % 1 + 'aoe_mode=2', 'not together with dynamic_dims'),
    ('op_debug_level=2 op_debug_config=debug.cfg', 'not together with oom in op_debug_config'),
    ('enable_compress_weight=True compress_weight_conf=aoe.json', 'not together with compress_weight_conf'),
    ('enable_compress_weight=False compress_weight_conf=aoe.json', 'not together with compress_weight_conf'),
])
def test_options_that_do_not_fit_together_are_refused(assignments, words):
    assert words in refused(*npu(assignments))


@pytest.mark.parametrize('assignment, other', [
    ('dump_path=dumps', 'enable_dump=True or enable_dump_debug=True'), ('dump_step=3', 'enable_dump=True'),
    ('dump_mode=all', 'enable_dump=True'), ('dump_data=stats', 'enable_dump=True'),
    ('dump_layer=Relu', 'enable_dump=True'), ('dump_debug_mode=all', 'enable_dump_debug=True'),
    ('profiling_options={"output":"dumps"}', 'profiling_mode=True'),
    ('dynamic_graph_execute_mode=dynamic_execute', 'dynamic_input=True'),
    ('dynamic_inputs_shape_range=data:[1]', 'dynamic_input=True')])
def test_an_option_that_the_adapter_takes_for_nothing_is_taken_and_told(assignment, other):
    given = options('--npu_option=' + assignment)
    assert switches.notices(given) == ['--npu_option=%s: has no effect without %s' % (assignment, other)]


@pytest.mark.parametrize('assignment, words', [
    ('mstune_mode=1', 'CANN has no mstune_mode any more; use aoe_mode'),
    *[('auto_tune_mode=' + text, 'CANN has no auto_tune_mode any more; use aoe_mode')
      for text in ('RL', 'GA', 'RL,GA', 'x')],
    ('hcom_paralel=True', 'there is no NPU option hcom_paralel; did you mean hcom_parallel?'),
    ('oo_level=O3', 'passed on unchecked by --npu_option=raw:KEY'),
    ('raw:hcom_parallel=b:True', 'hcom_parallel is an option that is checked'),
    ('experimental_accelerate_train_mode=fast', 'needs a hook'), ('raw:mstune_mode=s:1', 'use aoe_mode'),
    ('raw:experimental_accelerate_train_mode=s:fast', 'needs a hook'), ('raw:oo level=s:O3', 'must be raw:KEY='),
    ('raw:oo_level=O3', 'must be raw:KEY='), ('raw:oo_level=b:yes', 'must be True or False'),
    ('raw:oo_level=i:many', 'must be a whole number'), ('raw:=s:x', 'must be raw:KEY='),
    ('deterministic', 'must be key=value')])
def test_a_key_that_is_dead_or_unknown_is_refused(assignment, words):
    assert words in refused('--npu_option=' + assignment)


@pytest.mark.parametrize('profile, words', [
    ({'training_trace': 'off'}, '"training_trace" must be one of on'),
    ({'aicpu': 'yes'}, '"aicpu" must be one of on, off'), ({'aic_metrics': 'Speed'}, '"aic_metrics" must be one of'),
    ({'tracing': 'on'}, '"tracing" is no key of it'), ({'aicpu': True}, 'must be JSON text'),
    ({'aic_metrics': 'L2Cache'}, 'a 910 has no L2Cache'), ({'task_trace': 'on'}, 'needs "training_trace": "on"'),
    ({'fp_point': 'x' * 2048}, 'must be shorter than 2048 bytes'), ({'storage_limit': '100MB'}, '200MB or more'),
    ({'output': 'fusion.json'}, '"output" must be a directory'), ({'task_time': 'l2'}, '"task_time" must be'),
    ({'sys_cpu_freq': 'often'}, '"sys_cpu_freq" must be'), ({'output': None}, 'must be JSON text')])
def test_profiling_options_that_the_profiler_would_refuse_are_refused(profile, words):
    text = json.dumps(dict({'output': 'dumps'}, **profile))
    assert words in refused('--npu_option=profiling_mode=True', '--npu_option=profiling_options=' + text)


def test_profiles_need_a_place(monkeypatch):
    given = npu('profiling_mode=True profiling_options={"aicpu":"on"}')
    assert '"output" is missing' in refused(*given)
    monkeypatch.setenv('ASCEND_WORK_PATH', '/somewhere')
    assert options(*given)['profiling_mode']


@pytest.mark.parametrize('lists, words', [
    ('', 'JSON'), ('black-list', 'JSON'), ('[]', 'JSON object'), ('{"blacklist": {}}', 'blacklist is none of them'),
    ('{"black-list": ["MatMul"]}', 'as its black-list'), ('{"white-list": {"add": ["MatMul"]}}', 'as its white-list'),
    ('{"white-list": {"to-add": "MatMul"}}', 'list of operator types'),
    ('{"white-list": {"to-add": [1]}}', 'list of operator types'),
    ('{"black-list": {"to-add": ["Add"], "to-remove": ["Add"]}}', 'black add, black remove'),
    ('{"black-list": {"to-add": ["Add"]}, "white-list": {"to-add": ["Add"]}}', 'black add, white add'),
    ('{"black-list": {"to-remove": ["Add"]}, "white-list": {"to-remove": ["Add"]}}', 'black remove, white remove'),
    ('{"gray-list": {"to-remove": ["Add"]}}', 'Add: gray remove')])
def test_a_mixlist_that_the_compiler_would_refuse_is_refused(tmp_path, lists, words):
    path = tmp_path / 'lists.json'
    path.write_text(lists)
    assert words in refused('--use_mixlist=True', '--mixlist_file=%s' % path, '--' + MIXED)


@pytest.mark.parametrize('key, text', [
    ('fusion_switch_file', 'UBFusion:off'), ('fusion_switch_file', '{"switch": {}}'), ('fusion_switch_file', '{}'),
    ('fusion_switch_file', '{"Switch": {"Fusion": {}}}'),
    ('fusion_switch_file', '{"Switch": {"UBFusion": {"a": "no"}}}'),
    ('customize_dtypes', 'Relu:InputDtype:float16'), ('customize_dtypes', 'a::InputDtype:half'),
    ('customize_dtypes', 'OpType::Relu:Input:float16'), ('customize_dtypes', 'a::'),
    ('op_precision_mode', 'Relu=high_precision'), ('op_precision_mode', '[ByOpType]\nRelu=fast'),
    ('op_precision_mode', '[ByType]\nRelu=keep_fp16'), ('op_precision_mode', '[ByOpType]\nRelu'),
    ('op_debug_config', 'oom'), ('op_debug_config', 'op_debug_config=oom,fast'),
    ('op_debug_config', 'op_debug_config=ccec_O0,oom'), ('op_debug_config', 'debug=oom')])
def test_a_file_of_another_grammar_is_refused(tmp_path, key, text):
    path = tmp_path / 'file'
    path.write_text(text)
    assert refused('--npu_option=%s=%s' % (key, path)).startswith('--npu_option=%s=%s: must ' % (key, path))


@pytest.mark.parametrize('name, value', [
    ('AOE_MODE', '7'), ('AOE_MODE', 'x'), ('JOB_ID', 'x' * 128), ('ENABLE_HF32_EXECUTION', 'yes')])
def test_a_variable_that_would_end_the_process_is_refused_whatever_the_flags(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert refused().startswith('%s=%s (environment): must be ' % (name, value))


def test_tuning_by_the_environment_knows_the_chip_and_the_shapes(monkeypatch):
    monkeypatch.setenv('AOE_MODE', '1')
    assert refused('--emulate_chip=910B').startswith('AOE_MODE=1 (environment): an A2 or A3 does not tune subgraphs')
    assert options('--emulate_chip=910') == {}
    assert 'not together with dynamic_dims' in refused(*npu(THREE % 1))


@pytest.mark.parametrize('flag, folder', [
    ('--aoe_mode=2', 'aoe'), ('--over_dump=True', 'overflow_dump'), ('--data_dump_flag=True', 'data_dump')])
def test_a_dump_folder_that_is_a_link_is_refused(tmp_path, flag, folder):
    (tmp_path / folder).symlink_to(tmp_path)
    assert 'is a link' in refused(flag, output=tmp_path)


@pytest.mark.parametrize('given, words', [
    (['--precision_mode=fp61'], 'must be one of allow_fp32_to_fp16'),
    (['--precision_mode=force_fp16', '--precision_mode_v2=fp16'], 'not together with --precision_mode_v2'),
    (['--data_dump_flag=True', '--data_dump_step=20-10'], 'must be N or A-B with A < B'),
    (['--over_dump=True', '--data_dump_flag=True'], 'not together with --data_dump_flag=True'),
    (['--use_mixlist=True'], 'needs precision_mode=allow_mix_precision|'),
    (['--fusion_off_flag=True'], 'needs --fusion_off_file'),
    (['--dump_data=stats'], 'needs --data_dump_flag=True'), (['--dump_layer=a'], 'needs --data_dump_flag=True'),
    (['--data_dump_flag=True', '--dump_data=mean'], 'must be one of tensor, stats'),
    (['--aoe_mode=3'], 'must be one of 1, 2, 4'),
    (['--profiling_options=aicpu=off'], 'needs --profiling=True'),
    (['--profiling=True', '--profiling_options=training_trace=off'], '"training_trace" must be one of on'),
    (['--profiling=True', '--profiling_options=aicpu'], 'must be KEY=VALUE'),
    (['--use_mixlist=True', '--mixlist_file=mixlist.json', '--precision_mode=force_fp32'],
     'needs precision_mode=allow_mix_precision|'),
    (['--over_dump=True', '--npu_option=dump_path=dumps'], 'dump_path is already set by --over_dump=True'),
    (['--npu_option=deterministic=1', '--npu_option=deterministic=0'], 'deterministic is already set by'),
])
def test_a_wrong_switch_is_refused(given, words):
    assert words in refused(*given)


VALID = [
    *['precision_mode=' + mode for mode in (
        'allow_fp32_to_fp16', 'force_fp16', 'force_fp32', 'must_keep_origin_dtype', 'allow_mix_precision',
        'cube_fp16in_fp32out', 'allow_mix_precision_fp16', 'allow_mix_precision_bf16', 'allow_fp32_to_bf16')],
    *['precision_mode_v2=' + mode for mode in ('fp16', 'origin', 'cube_fp16in_fp32out', 'mixed_float16',
                                               'mixed_bfloat16', 'cube_hif8', 'mixed_hif8')],
    MIXED + ' modify_mixlist=mixlist.json', MIXED + ' modify_mixlist=empty_lists.json',
    'precision_mode_v2=mixed_bfloat16 modify_mixlist=mixlist.json', 'fusion_switch_file=fusion.json',
    'customize_dtypes=dtypes.cfg', 'op_precision_mode=precision.ini', 'op_debug_config=debug.cfg',
    *['op_select_implmode=' + mode for mode in ('high_precision', 'high_performance', 'high_precision_for_all',
                                                'high_performance_for_all')],
    'op_select_implmode=high_performance optypelist_for_implmode=Pooling,SoftmaxV2',
    *['enable_dump=True dump_path=dumps dump_step=' + steps for steps in (
        '0', '0|5|10-20', '2147483647', '|'.join(['7'] * 100), '1|', '-1', '1-', '007')],
    'enable_dump=True dump_path=dumps dump_mode=all dump_data=stats dump_layer=model/conv1',
    'enable_dump_debug=True dump_path=dumps dump_debug_mode=aicore_overflow', 'enable_dump=False',
    'profiling_mode=True', 'profiling_mode=True profiling_options=',
    'enable_exception_dump=0', 'enable_exception_dump=2', 'iterations_per_loop=1 mix_compile_mode=True',
    'iterations_per_loop=2147483647 enable_data_pre_proc=True', 'task_index=2147483647', 'job=worker', 'job=ps',
    'job=localhost', 'use_off_line=False', 'session_device_id=0', 'local_rank_id=7', 'graph_run_mode=0',
    THREE % 0, THREE % 1 + 'compile_hybrid_mode=1', 'compile_hybrid_mode=0',
    'input_shape=model/data:-1 dynamic_dims=1;2 dynamic_node_type=1', 'deterministic=2',
    'in_out_pair=[[[a/b,c],[d]],[[e],[f]]] mix_compile_mode=True', 'auto_multistream_parallel_mode=LoadBalance:64',
    'auto_multistream_parallel_mode=cv', 'hccl_timeout=0', 'compile_dynamic_mode=True', 'op_debug_level=2',
    'op_debug_level=1 op_debug_config=debug.cfg', 'input_shape=data:1; dynamic_dims=16; dynamic_node_type=0',
    'input_shape=data:1,1,40,-1;label:1,-1;mask:-1,-1 dynamic_dims=20,20,1,1;40,40,2,2 dynamic_node_type=1',
    DYNAMIC + 'dynamic_inputs_shape_range=getnext:[128,3~5,2~128,-1],[64,3~5];data:[1~8]',
    DYNAMIC + 'dynamic_inputs_shape_range=data:[1~8]', 'dynamic_input=True dynamic_graph_execute_mode=lazy_recompile',
    'graph_memory_max_size=26*1024*1024*1024 variable_memory_max_size=1073741824', 'aoe_mode=2 work_path=dumps',
    'aoe_mode=4 aoe_config_file=aoe.json', 'work_path=dumps', 'export_compile_stat=2', 'jit_compile=auto',
    'shape_generalization_mode=ADAPTIVE', 'local_device_list=0,1',
    'variable_placement=Host mix_compile_mode=True', 'graph_slice=auto',
    'enable_compress_weight=True', 'compress_weight_conf=aoe.json', 'input_fusion_size=33554433', 'hccl_timeout=1836',
    'op_wait_timeout=120', 'op_execute_timeout=90', 'stream_sync_timeout=-1', 'event_sync_timeout=60000',
    'static_memory_policy=4', 'deterministic=1', 'buffer_optimize=off_optimize', 'hcom_parallel=False',
    'variable_use_1g_huge_page=1', 'graph_max_parallel_model_num=2', 'atomic_clean_policy=1', 'external_weight=True',
    'aicore_num=24|48', 'op_compiler_cache_mode=enable op_compiler_cache_dir=cache', 'graph_compiler_cache_dir=cache',
    'raw:oo_level=s:O3', 'raw:graph_exec_timeout=i:-1', 'raw:enable_graph_parallel=b:True']


@pytest.mark.parametrize('assignments', VALID)
def test_what_the_adapter_takes_is_taken(assignments):
    assert len(options(*npu(assignments))) == len(assignments.split())


@pytest.mark.parametrize('profile', [
    {}, {'training_trace': 'on', 'task_trace': 'on', 'fp_point': '', 'bp_point': ''}, {'training_trace': ''},
    {'task_time': 'l1', 'hccl': 'on'},
    *[{'aic_metrics': metric} for metric in (
        'PipeUtilization', 'ArithmeticUtilization', 'Memory', 'MemoryL0', 'MemoryUB', 'ResourceConflictRatio',
        'MemoryAccess', 'PipelineExecuteUtilization', 'Custom:0x49,0x8')],
    {'l2': 'on', 'msproftx': 'on', 'ge_api': 'l0', 'runtime_api': 'on', 'storage_limit': '200MB', 'task_memory': 'on'},
    {'sys_hardware_mem_freq': '50', 'host_sys': 'cpu,mem', 'llc_profiling': 'read', 'dvpp_freq': '50',
     'instr_profiling_freq': '1000'}, {'output': 'to/be/made'}])
def test_what_the_profiler_takes_is_taken(profile):
    text = json.dumps(dict({'output': 'dumps'}, **profile))
    assert options('--npu_option=profiling_mode=True', '--npu_option=profiling_options=' + text)


@pytest.mark.parametrize('name, value', [('AOE_MODE', '2'), ('JOB_ID', 'x' * 127), ('ENABLE_HF32_EXECUTION', '1')])
def test_variables_with_good_values_are_taken(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert options() == {}


@pytest.mark.parametrize('like, given, words', [
    ('910', ['--precision_mode=allow_mix_precision_bf16'], 'a 910 has no allow_mix_precision_bf16'),
    ('910', ['--precision_mode_v2=mixed_bfloat16'], 'a 910 has no mixed_bfloat16'),
    ('910', ['--profiling=True', '--profiling_options=aic_metrics=MemoryAccess'], 'a 910 has no MemoryAccess'),
    ('910B', npu('enable_dump_debug=True dump_path=dumps dump_debug_mode=aicore_overflow'),
     'a 910B has no aicore_overflow'),
    ('910B', ['--aoe_mode=1'], 'a 910B has no aoe_mode=1'),
    ('910', ['--npu_sat_mode=1'], 'a 910 always saturates'), ('910', ['--enable_hf32=True'], 'a 910 has no HF32'),
    ('910', npu('aicore_num=24|48'), 'a 910 has no choice of cores'),
    ('910', npu('hccl_timeout=0'), 'must be from 1 to 17340 on a 910'),
    ('910', npu('hccl_timeout=17341'), 'must be from 1 to 17340 on a 910'),
    ('910', npu('input_batch_cpy=True'), 'a 910 has no input_batch_cpy=True'),
    ('910', npu('variable_use_1g_huge_page=1'), 'a 910 has no variable_use_1g_huge_page=1')])
def test_what_the_chip_lacks_is_refused_where_the_chip_is_known(like, given, words):
    assert words in refused('--emulate_chip=' + like, *given)
    options(*given, '--emulate_chip=' + {'910': '910B', '910B': '910'}[like])


@pytest.mark.parametrize('mode', ['cube_hif8', 'mixed_hif8'])
def test_types_of_8_bits_are_taken_where_the_chip_is_not_known_and_refused_on_those_that_lack_them(mode):
    given = '--precision_mode_v2=' + mode
    for chip_name in ('910', '910B'):
        assert 'a %s has no %s' % (chip_name, mode) in refused('--emulate_chip=' + chip_name, given)
    assert options(given)


@pytest.mark.parametrize('name, refuses', [('910A', True), ('910B3', False), ('310P3', False), (None, False)])
def test_the_chip_of_a_machine_with_npus_is_known(tmp_path, monkeypatch, name, refuses):
    script = tmp_path / 'npu-smi'
    script.write_text('#!/bin/sh\ncat <<END\n| NPU   Name      | Health |\n| 0     %s     | OK     |\nEND\n' % name)
    script.chmod(0o755 if name else 0o644)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    monkeypatch.setattr(machine, '_SECONDS', PATIENCE)
    machine.answer.cache_clear()
    try:
        if refuses:
            assert 'a 910 has no mixed_bfloat16' in refused('--precision_mode_v2=mixed_bfloat16')
        else:
            assert options('--precision_mode_v2=mixed_bfloat16')
        cached = '--profiling=True', '--profiling_options=aic_metrics=L2Cache'
        if refuses or name is None:  # a run without an NPU rehearses one on a 910
            assert 'a 910 has no L2Cache' in refused(*cached)
        else:
            assert options(*cached)
    finally:
        machine.answer.cache_clear()
