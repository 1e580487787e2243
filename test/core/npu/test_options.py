"""Every rule of docs/vendor-contract.md section 4, from the command line to the ConfigProto."""
import json
import os

import pytest
from google.protobuf import text_format
from launching import ROOT

from core.errors import InputError
from core.host.devices import CPU, GPU
from core.npu import switches
from core.npu.device import NPU
from core.npu.options import OPTIONS, check_iterations, describe_options
from core.npu.session import session_config
from core.settings import flags
from core.settings.config import resolve
from launchers.networks.registry import RECIPES

MIXED = '--precision_mode=allow_mix_precision'
LISTS = {'black-list': {'to-add': ['MatMul'], 'to-remove': []}, 'white-list': {'to-add': []}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a file of each kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'dumps').mkdir()
    (tmp_path / 'mixlist.json').write_text(json.dumps(LISTS))
    (tmp_path / 'fusion.cfg').write_text('UBFusion:off')
    return tmp_path


def _config(*given):
    """What a command line of these flags makes of the trainer's configuration."""
    arguments = ['--network=sesemi', '--case=performance', '--output_path=/results'] + list(given)
    return resolve(RECIPES['sesemi'], flags.parse(arguments), {})  # a network that asks for no precision of its own


def _options(*given):
    return switches.switch_options(_config(*given))


def _npu(assignments):
    return ['--npu_option=' + assignment for assignment in assignments.split()]


def _refusal(*given):
    with pytest.raises(InputError) as refusal:
        _options(*given)
    message = str(refusal.value)
    assert '\n' not in message
    return message


def test_each_switch_maps_to_its_options(folder):
    assert _options() == {}
    assert _options('--over_dump=True') == {
        'enable_dump_debug': True, 'dump_path': '/results/overflow_dump', 'dump_debug_mode': 'all'}
    assert _options('--data_dump_flag=True', '--data_dump_step=0|5|10-20') == {
        'enable_dump': True, 'dump_path': '/results/data_dump', 'dump_mode': 'all',
        'dump_step': '0|5|10-20'}
    assert _options('--use_mixlist=True', '--mixlist_file=mixlist.json', MIXED) == {
        'modify_mixlist': 'mixlist.json', 'precision_mode': 'allow_mix_precision'}
    assert _options('--fusion_off_flag=True', '--fusion_off_file=fusion.cfg') == {
        'fusion_switch_file': 'fusion.cfg'}


def test_profiling_collects_everything_into_its_folder():
    options = _options('--profiling=True')
    assert options['profiling_mode'] is True
    assert json.loads(options['profiling_options']) == {
        'output': '/results/profiling', 'training_trace': 'on', 'task_trace': 'on', 'aicpu': 'on',
        'fp_point': '', 'bp_point': '', 'aic_metrics': 'PipeUtilization'}


@pytest.mark.parametrize('given, folders', [
    (['--over_dump=True', '--data_save_path=/d'], ['/d/overflow_dump']),
    (['--over_dump=True', '--over_dump_path=/o', '--data_save_path=/d'], ['/o']),
    (['--over_dump=True', '--over_dump_path=', '--data_dump_path=/d'], ['/results/overflow_dump']),
    (['--data_dump_flag=True', '--profiling=True', '--data_save_path=/d'], ['/d/data_dump', '/d/profiling']),
    (['--data_dump_flag=True', '--profiling=True', '--data_dump_path=/d', '--profiling_dump_path=/p'], ['/d', '/p']),
])
def test_dumps_and_profiles_go_where_the_vendors_flags_say(given, folders):
    assert switches.output_folders(_options(*given)) == folders


def test_the_mixed_precision_list_of_the_project_is_found_from_any_directory(folder):
    shipped = os.path.join(ROOT, 'configs', 'ops_info.json')
    for given in (['--mixlist_file=./configs/ops_info.json'], ['--mixlist_file=configs/ops_info.json'], []):
        path = _options('--use_mixlist=True', MIXED, *given)['modify_mixlist']
        assert os.path.samefile(path, shipped)


def test_the_folders_to_create_are_those_of_dumps_and_profiles():
    options = _options('--data_dump_flag=True', '--profiling=True')
    assert switches.output_folders(options) == ['/results/data_dump', '/results/profiling']
    assert switches.output_folders({}) == []


@pytest.mark.parametrize('given, message', [
    (['--precision_mode=fp61'],
     '--precision_mode=fp61: must be one of allow_fp32_to_fp16, force_fp16, force_fp32, '
     'must_keep_origin_dtype, allow_mix_precision, cube_fp16in_fp32out'),
    (['--data_dump_flag=True', '--data_dump_step=20-10'],
     '--data_dump_step=20-10: must be N or A-B with A < B, joined by |, at most 100 of them, '
     'such as 0|5|10-20'),
    (['--over_dump=True', '--data_dump_flag=True'],
     '--over_dump=True: not together with --data_dump_flag=True'),
    (['--use_mixlist=True', '--precision_mode=force_fp16'],
     '--mixlist_file=%s/configs/ops_info.json: needs precision_mode=allow_mix_precision or '
     'precision_mode_v2=mixed_float16' % ROOT),
    (['--use_mixlist=True', '--mixlist_file=none.json'],
     '--mixlist_file=none.json: must be a file that exists and can be read'),
    (['--use_mixlist=True', '--mixlist_file=fusion.cfg', MIXED],
     '--mixlist_file=fusion.cfg: must be a JSON file of the form {"black-list": {"to-add": [], '
     '"to-remove": []}, "white-list": {"to-add": [], "to-remove": []}}'),
    (['--use_mixlist=True', '--mixlist_file=mixlist.json'],
     '--mixlist_file=mixlist.json: needs precision_mode=allow_mix_precision or precision_mode_v2=mixed_float16'),
    (['--fusion_off_flag=True'], '--fusion_off_flag=True: needs --fusion_off_file'),
    (['--npu_option=dump_mode=foo'],
     '--npu_option=dump_mode=foo: must be one of input, output, all'),
    (['--npu_option=hcom_paralel=True'],
     '--npu_option=hcom_paralel=True: there is no NPU option hcom_paralel; '
     'did you mean hcom_parallel?'),
    (['--npu_option=deterministic'], '--npu_option=deterministic: must be key=value'),
    (['--npu_option=deterministic=1', '--npu_option=deterministic=0'],
     '--npu_option=deterministic=0: deterministic is already set by --npu_option=deterministic=1'),
    (['--over_dump=True', '--npu_option=dump_path=dumps'],
     '--npu_option=dump_path=dumps: dump_path is already set by --over_dump=True'),
    ([MIXED, '--npu_option=precision_mode_v2=fp16'],
     '--npu_option=precision_mode_v2=fp16: not together with precision_mode'),
])
def test_a_wrong_switch_is_refused_by_flag_value_and_what_is_allowed(folder, given, message):
    assert _refusal(*given) == message


@pytest.mark.parametrize('assignment', [
    'use_off_line=yes', 'iterations_per_loop=0', 'iterations_per_loop=1.5', 'task_index=-1',
    'job=', 'precision_mode=fp16', 'precision_mode_v2=force_fp16', 'dump_path=nowhere',
    'dump_path=fusion.cfg', 'dump_debug_mode=input', 'op_select_implmode=fast',
    'fusion_switch_file=nowhere', 'dynamic_graph_execute_mode=eager', 'dynamic_node_type=2',
    'graph_run_mode=2', 'deterministic=2', 'deterministic=True', 'buffer_optimize=l1_optimize',
    'session_device_id=-1', 'local_rank_id=8', 'graph_memory_max_size=lots',
    'variable_memory_max_size=0', 'op_debug_level=high', 'mstune_mode=5', 'profiling_options=on',
    'work_path=nowhere'])
def test_a_value_outside_the_table_is_refused(folder, assignment):
    message = _refusal('--npu_option=' + assignment)
    assert message.startswith('--npu_option={}: must be '.format(assignment))


@pytest.mark.parametrize('steps', ['0', '0|5|10-20', '|'.join(['7'] * 100)])
def test_dump_steps_in_the_documented_form_are_taken(folder, steps):
    options = _options(*_npu('enable_dump=True dump_path=dumps dump_step=' + steps))
    assert options['dump_step'] == steps


@pytest.mark.parametrize('steps', ['5-5', '1,2', '|1', '1||2', '-3', '1-2-3', '٣',
                                   '|'.join(['7'] * 101)])
def test_dump_steps_in_another_form_are_refused(folder, steps):
    message = _refusal(*_npu('enable_dump=True dump_path=dumps dump_step=' + steps))
    assert message.startswith('--npu_option=dump_step={}: must be N or A-B'.format(steps))


@pytest.mark.parametrize('assignments, broken, message', [
    ('enable_dump=True', 'enable_dump=True', 'needs dump_path'),
    ('enable_dump_debug=1', 'enable_dump_debug=1', 'needs dump_path'),
    ('dump_path=dumps', 'dump_path=dumps', 'needs enable_dump=True or enable_dump_debug=True'),
    ('dump_step=3', 'dump_step=3', 'needs enable_dump=True'),
    ('enable_dump=True enable_dump_debug=True dump_path=dumps', 'enable_dump=True',
     'not together with enable_dump_debug=True'),
    ('profiling_mode=True', 'profiling_mode=True', 'needs profiling_options'),
    ('optypelist_for_implmode=Pooling', 'optypelist_for_implmode=Pooling',
     'needs op_select_implmode'),
    ('dynamic_graph_execute_mode=lazy_recompile', 'dynamic_graph_execute_mode=lazy_recompile',
     'needs dynamic_input=True'),
    ('dynamic_input=False dynamic_inputs_shape_range=data:[1~8]',
     'dynamic_inputs_shape_range=data:[1~8]', 'needs dynamic_input=True'),
    ('input_shape=data:-1', 'input_shape=data:-1', 'needs dynamic_dims'),
    ('input_shape=data:-1 dynamic_dims=1;2', 'dynamic_dims=1;2', 'needs dynamic_node_type'),
    ('dynamic_node_type=0', 'dynamic_node_type=0', 'needs input_shape'),
    ('iterations_per_loop=10', 'iterations_per_loop=10', 'needs enable_data_pre_proc=True'),
    ('iterations_per_loop=10 enable_data_pre_proc=True mix_compile_mode=True',
     'iterations_per_loop=10', 'not together with mix_compile_mode=True'),
    ('mstune_mode=1', 'mstune_mode=1', 'needs work_path'),
])
def test_an_option_without_what_it_needs_is_refused(folder, assignments, broken, message):
    assert _refusal(*_npu(assignments)) == '--npu_option={}: {}'.format(broken, message)


@pytest.mark.parametrize('assignments', [
    'input_shape=data:-1 dynamic_dims=1;2 dynamic_node_type=0', 'iterations_per_loop=10 enable_data_pre_proc=True',
    'iterations_per_loop=1 mix_compile_mode=True',
    'op_select_implmode=high_performance optypelist_for_implmode=Pooling',
    'graph_memory_max_size=26*1024*1024*1024 variable_memory_max_size=1073741824',
    'precision_mode_v2=mixed_float16 modify_mixlist=mixlist.json'])
def test_options_with_all_they_need_are_taken(folder, assignments):
    assert len(_options(*_npu(assignments))) == len(assignments.split())


@pytest.mark.parametrize('lists', [
    [], {}, {'blacklist': {'to-add': []}}, {'black-list': ['MatMul']},
    {'white-list': {'add': ['MatMul']}}, {'white-list': {'to-add': 'MatMul'}},
    {'white-list': {'to-add': [1]}}])
def test_a_mixlist_of_another_form_is_refused(folder, lists):
    (folder / 'odd.json').write_text(json.dumps(lists))
    message = _refusal(MIXED, '--use_mixlist=True', '--mixlist_file=odd.json')
    assert message.startswith('--mixlist_file=odd.json: must be a JSON file of the form {"black-')


@pytest.mark.parametrize('profile, message', [
    ({'output': 'nowhere'}, '"output" must be a directory that exists'),
    ({'output': 'dumps', 'aicpu': 'yes'}, '"aicpu" must be one of on, off'),
    ({'output': 'dumps', 'aic_metrics': 'Speed'}, '"aic_metrics" must be one of PipeUtilization'),
    ({'output': 'dumps', 'tracing': 'on'}, 'must be JSON text with the keys output, '),
    ({'output': 'dumps', 'aicpu': True}, 'must be JSON text with the keys output, '),
])
def test_a_wrong_profiling_option_is_named(folder, profile, message):
    text = json.dumps(profile)
    assert (_refusal('--npu_option=profiling_mode=True', '--npu_option=profiling_options=' + text)
            .startswith('--npu_option=profiling_options={}: {}'.format(text, message)))


def test_steps_must_be_multiples_of_the_iterations_per_loop():
    options = {'iterations_per_loop': 10}
    check_iterations(options, {'training steps': 100, 'steps a checkpoint': 50})
    check_iterations({}, {'training steps': 7, 'steps a checkpoint': 3})
    with pytest.raises(InputError, match='iterations_per_loop=10: the 105 training steps are no '):
        check_iterations(options, {'training steps': 105, 'steps a checkpoint': 50})
    with pytest.raises(InputError, match='the 25 steps a checkpoint are no multiple'):
        check_iterations(options, {'training steps': 100, 'steps a checkpoint': 25})


def _parameters(config):
    optimizer, = config.graph_options.rewrite_options.custom_optimizers
    assert optimizer.name == 'NpuOptimizer'
    return {key: (value.WhichOneof('value'), getattr(value, value.WhichOneof('value')))
            for key, value in optimizer.parameter_map.items()}


@pytest.mark.parametrize('device', [NPU, GPU, CPU])
def test_the_session_of_every_device_holds_the_npu_optimizer(device):
    config = device.session_config({'dump_step': '0|5'}, None)
    assert _parameters(config) == {'use_off_line': ('b', True), 'dump_step': ('s', b'0|5'),
                                   'precision_mode': ('s', b'allow_fp32_to_fp16')}
    rewrites = config.graph_options.rewrite_options
    assert (rewrites.remapping, rewrites.memory_optimization) == (2, 2)
    assert dict(config.device_count) == ({'GPU': 0} if device is CPU else {})


@pytest.mark.parametrize('key, text, field, value', [
    ('use_off_line', 'False', 'b', False), ('local_rank_id', '0', 'i', 0),
    ('mstune_mode', '1', 's', b'1'), ('graph_memory_max_size', '1024', 's', b'1024'),
    ('enable_exception_dump', '1', 'i', 1), ('dynamic_input', '1', 'b', True)])
def test_a_value_lands_in_the_field_that_the_adapter_reads(key, text, field, value):
    options = {key: OPTIONS[key].kind.parse(text)}
    assert _parameters(session_config(options))[key] == (field, value)


def test_each_default_of_the_table_has_the_type_of_its_field():
    types = {'b': bool, 'i': int, 's': str}
    for key, option in OPTIONS.items():
        assert option.default is None or type(option.default) is types[option.field], key


@pytest.mark.parametrize('options, precision', [
    ({'graph_run_mode': 0}, ('s', b'force_fp16')),
    ({'graph_run_mode': 0, 'precision_mode': 'force_fp32'}, ('s', b'force_fp32')),
    ({'precision_mode_v2': 'fp16'}, None)])
def test_the_default_precision_follows_the_other_options(options, precision):
    assert _parameters(session_config(options)).get('precision_mode') == precision


def test_the_printed_config_is_sorted_whatever_the_order_of_the_flags():
    one = session_config({'job': 'a', 'deterministic': 1, 'debug_dir': 'd'})
    other = session_config({'debug_dir': 'd', 'deterministic': 1, 'job': 'a'})
    text = text_format.MessageToString(one)
    assert text == text_format.MessageToString(other) == str(one)
    keys = [line.split('"')[1] for line in text.splitlines() if 'key:' in line]
    assert keys == ['debug_dir', 'deterministic', 'job', 'precision_mode', 'use_off_line']


def test_the_help_describes_every_option_with_its_default():
    lines = describe_options().splitlines()
    assert len(lines) == len(OPTIONS)
    assert 'dump_mode (output): what data to dump; one of input, output, all' in lines


def test_the_notice_names_the_switches_that_need_an_npu():
    config = _config('--over_dump=True', '--precision_mode=force_fp16', *_npu('deterministic=1'))
    assert switches.off_npu(config) == [
        'These switches act on an NPU only: --precision_mode=force_fp16 --over_dump=True '
        '--npu_option=deterministic=1']
    assert switches.off_npu(_config('--data_dump_step=5')) == []


def test_a_switch_that_does_something_else_off_an_npu_says_what():
    assert switches.off_npu(_config('--loss_scale=128')) == [
        "Off an NPU, --loss_scale=128.0: TensorFlow's own loss scale"]
