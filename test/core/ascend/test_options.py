"""Every rule of docs/vendor-contract.md section 4, from the command line to the ConfigProto."""
import json
import os

import pytest
from google.protobuf import text_format
from launching import ROOT

from core.errors import InputError
from launchers.devices import CPU, GPU
from core.ascend import switches
from core.ascend.device import NPU
from core.ascend.option_table import OPTIONS, describe_options
from core.ascend.switches import session_config
from core.training.preflight import check_iterations
from core.settings import flags
from core.settings.config import resolve
from launchers.networks.registry import RECIPES

SESEMI = RECIPES['sesemi']    # asks for no precision of its own; looked up once, because each look checks the recipe
MIXED = '--precision_mode=allow_mix_precision'
LISTS = {'black-list': {'to-add': ['MatMul'], 'to-remove': []}, 'white-list': {'to-add': []}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a file of each kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'dumps').mkdir()
    (tmp_path / 'mixlist.json').write_text(json.dumps(LISTS))
    (tmp_path / 'fusion.json').write_text('{"Switch": {"UBFusion": {"ALL": "off"}}}')
    return tmp_path


def _config(*given):
    """What a command line of these flags makes of the trainer's configuration."""
    arguments = ['--network=sesemi', '--case=performance', '--output_path=/results'] + list(given)
    return resolve(SESEMI, flags.parse(arguments), {})


def _options(*given):
    return switches.switch_options(_config(*given))


def _npu(assignments):
    return ['--npu_option=' + assignment for assignment in assignments.split()]


def test_each_switch_maps_to_its_options(folder):
    assert _options() == {}
    assert _options('--over_dump=True') == {
        'enable_dump_debug': True, 'dump_path': '/results/overflow_dump', 'dump_debug_mode': 'all'}
    assert _options('--data_dump_flag=True', '--data_dump_step=0|5|10-20') == {
        'enable_dump': True, 'dump_path': '/results/data_dump', 'dump_mode': 'all', 'dump_step': '0|5|10-20'}
    assert _options('--use_mixlist=True', '--mixlist_file=mixlist.json', MIXED) == {
        'modify_mixlist': 'mixlist.json', 'precision_mode': 'allow_mix_precision'}
    assert _options('--fusion_off_flag=True', '--fusion_off_file=fusion.json') == {
        'fusion_switch_file': 'fusion.json'}
    assert _options('--aoe_mode=2') == {'aoe_mode': '2', 'work_path': '/results/aoe'}


def test_a_data_dump_alone_is_of_step_10_as_the_vendors_help_says():
    assert _options('--data_dump_flag=True')['dump_step'] == '10'


def test_statistics_and_single_layers_can_be_dumped():
    options = _options('--data_dump_flag=True', '--dump_data=stats', '--dump_layer=conv1 conv2', '--dump_mode=output')
    assert (options['dump_data'], options['dump_layer'], options['dump_mode']) == ('stats', 'conv1 conv2', 'output')


def test_a_detail_without_its_switch_sets_no_option(folder):
    assert _options('--data_dump_step=5', '--mixlist_file=/no/such', '--fusion_off_file=/no/such') == {}


def test_profiling_collects_the_usual_into_its_folder():
    options = _options('--profiling=True')
    assert options['profiling_mode'] is True
    assert json.loads(options['profiling_options']) == {
        'output': '/results/profiling', 'training_trace': 'on', 'task_time': 'on', 'hccl': 'on', 'aicpu': 'on',
        'fp_point': '', 'bp_point': '', 'aic_metrics': 'PipeUtilization'}


@pytest.mark.parametrize('given, folders', [
    (['--over_dump=True', '--data_save_path=/d'], ['/d/overflow_dump']),
    (['--over_dump=True', '--over_dump_path=/o', '--data_save_path=/d'], ['/o']),
    (['--over_dump=True', '--over_dump_path=', '--data_dump_path=/d'], ['/results/overflow_dump']),
    (['--data_dump_flag=True', '--profiling=True', '--data_save_path=/d'], ['/d/data_dump', '/d/profiling']),
    (['--data_dump_flag=True', '--profiling=True', '--data_dump_path=/d', '--profiling_dump_path=/p'], ['/d', '/p']),
])
def test_dumps_and_profiles_go_where_the_vendors_flags_say(given, folders):
    assert switches.output_directories(_options(*given)) == folders


def test_the_mixed_precision_list_of_the_project_is_found_from_any_directory(folder):
    shipped = os.path.join(ROOT, 'configs', 'ops_info.json')
    for given in (['--mixlist_file=./configs/ops_info.json'], ['--mixlist_file=configs/ops_info.json'], []):
        path = _options('--use_mixlist=True', MIXED, *given)['modify_mixlist']
        assert os.path.samefile(path, shipped)


def test_profiling_options_are_laid_over_the_usual():
    options = _options('--profiling=True', '--profiling_options=task_time=l1,aic_metrics=Custom:0x49,0x8,l2=on')
    profile = json.loads(options['profiling_options'])
    assert (profile['task_time'], profile['aic_metrics'], profile['l2']) == ('l1', 'Custom:0x49,0x8', 'on')
    assert profile['output'] == '/results/profiling' and profile['training_trace'] == 'on'
    assert 'task_time' not in json.loads(
        _options('--profiling=True', '--profiling_options=task_trace=on')['profiling_options'])


def test_the_folders_to_create_are_those_of_dumps_profiles_and_tuning():
    options = _options('--data_dump_flag=True', '--profiling=True', '--aoe_mode=2')
    assert switches.output_directories(options) == ['/results/data_dump', '/results/profiling', '/results/aoe']
    assert switches.output_directories({}) == []


def test_what_the_user_says_of_the_precision_overrules_what_the_recipe_says():
    recipe = RECIPES['cspnet']._replace(defaults=dict(RECIPES['cspnet'].defaults, precision_mode='allow_mix_precision'))

    def options(*given):
        return switches.switch_options(resolve(recipe, flags.parse(['--case=performance'] + list(given)), {}))
    assert options() == {'precision_mode': 'allow_mix_precision'}
    assert options('--precision_mode=force_fp32') == {'precision_mode': 'force_fp32'}
    for given in '--precision_mode_v2=origin', '--npu_option=precision_mode_v2=origin':
        assert options(given) == {'precision_mode_v2': 'origin'}
    assert options('--npu_option=precision_mode=force_fp16') == {'precision_mode': 'force_fp16'}


def test_an_option_that_the_table_does_not_know_is_passed_on_in_its_field_and_told():
    options = _options(*_npu('raw:oo_level=s:O3 raw:graph_exec_timeout=i:-1 raw:enable_graph_parallel=b:True'))
    assert switches.notices(options) == [
        '--npu_option=raw:oo_level=O3: passed on as it is; nothing here checks it',
        '--npu_option=raw:graph_exec_timeout=-1: passed on as it is; nothing here checks it',
        '--npu_option=raw:enable_graph_parallel=True: passed on as it is; nothing here checks it']
    assert _parameters(session_config(options)) == {
        'use_off_line': ('b', True), 'oo_level': ('s', b'O3'), 'graph_exec_timeout': ('i', -1),
        'enable_graph_parallel': ('b', True)}


def test_steps_must_be_multiples_of_the_iterations_per_loop():
    check_iterations(10, {'training steps': 100, 'steps a checkpoint': 50})
    check_iterations(1, {'training steps': 7, 'steps a checkpoint': 3})
    with pytest.raises(InputError, match='iterations_per_loop=10: the 105 training steps are no '):
        check_iterations(10, {'training steps': 105, 'steps a checkpoint': 50})
    with pytest.raises(InputError, match='the 25 steps a checkpoint are no multiple'):
        check_iterations(10, {'training steps': 100, 'steps a checkpoint': 25})


def _parameters(config):
    optimizer, = config.graph_options.rewrite_options.custom_optimizers
    assert optimizer.name == 'NpuOptimizer'
    return {key: (value.WhichOneof('value'), getattr(value, value.WhichOneof('value')))
            for key, value in optimizer.parameter_map.items()}


@pytest.mark.parametrize('device', [NPU, GPU, CPU])
def test_the_session_of_every_device_holds_the_npu_optimizer(device):
    config = device.session_config({'dump_step': '0|5'}, resolve(SESEMI, {'case': 'performance'}, {}))
    assert _parameters(config) == {'use_off_line': ('b', True), 'dump_step': ('s', b'0|5')}
    rewrites = config.graph_options.rewrite_options
    assert (rewrites.remapping, rewrites.memory_optimization) == (2, 2)
    assert dict(config.device_count) == ({'GPU': 0} if device is CPU else {})


@pytest.mark.parametrize('key, text, field, value', [
    ('use_off_line', 'False', 'b', False), ('local_rank_id', '0', 'i', 0),
    ('aoe_mode', '1', 's', b'1'), ('graph_memory_max_size', '1024', 's', b'1024'),
    ('enable_exception_dump', '1', 'i', 1), ('dynamic_input', '1', 'b', True)])
def test_a_value_lands_in_the_field_that_the_adapter_reads(key, text, field, value):
    options = {key: OPTIONS[key].kind.parse(text)}
    assert _parameters(session_config(options))[key] == (field, value)


def test_each_default_of_the_table_has_the_type_of_its_field():
    types = {'b': bool, 'i': int, 's': str}
    for key, option in OPTIONS.items():
        assert option.default is None or type(option.default) is types[option.field], key


@pytest.mark.parametrize('options', [{}, {'graph_run_mode': 0}, {'precision_mode_v2': 'fp16'}])
def test_no_precision_is_written_that_nobody_asked_for(options):
    assert 'precision_mode' not in _parameters(session_config(options))


def test_the_printed_config_is_sorted_whatever_the_order_of_the_flags():
    one = session_config({'job': 'a', 'deterministic': 1, 'debug_dir': 'd'})
    other = session_config({'debug_dir': 'd', 'deterministic': 1, 'job': 'a'})
    text = text_format.MessageToString(one)
    assert text == text_format.MessageToString(other) == str(one)
    keys = [line.split('"')[1] for line in text.splitlines() if 'key:' in line]
    assert keys == ['debug_dir', 'deterministic', 'job', 'use_off_line']


def test_the_help_describes_every_option_with_its_default():
    lines = describe_options().splitlines()
    assert len(lines) == len(OPTIONS)
    assert 'dump_mode (output): what of an operator to dump; one of input, output, all' in lines


def test_the_notice_names_the_switches_that_need_an_npu():
    config = _config('--aoe_mode=2', '--graph_cache', *_npu('deterministic=1 iterations_per_loop=1'))
    assert switches.off_npu(config, {}) == [
        'These switches act on an NPU only: --aoe_mode=2 --graph_cache=True --npu_option=deterministic=1']
    assert switches.off_npu(_config('--data_dump_step=5'), {}) == []


def test_a_precision_that_is_not_emulated_is_told():
    assert switches.off_npu(_config('--precision_mode=force_fp16', '--emulate_precision=False'), {}) == [
        'Off an NPU, --precision_mode=force_fp16: this run computes in float32; --emulate_precision=True rehearses the '
        'mode']
    assert switches.off_npu(_config('--precision_mode=force_fp16'), {}) == []


def test_a_switch_that_does_something_else_off_an_npu_says_what():
    assert switches.off_npu(_config('--loss_scale=128'), {}) == [
        "Off an NPU, --loss_scale=128.0: TensorFlow's own loss scale"]
