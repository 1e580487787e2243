"""The command line: spellings, refusals and the order in which values are laid over each other."""
import re
import typing

import pytest

from core.errors import InputError
from core.ascend.option_table import describe_options
from core.settings import flags
from core.settings.config import Config, idle_lines, resolve
from core.settings.table import RECIPE, SWITCHES
from launchers import usage
from launchers.networks.registry import RECIPES, network_of


@pytest.mark.parametrize('spelling, field, value', [
    ('--MOMENTUM=0.8', 'momentum', .8), ('--LAMBDA=0.1', 'weight_decay', .1),
    ('--LEARNING_RATE=0.5', 'learning_rate', .5), ('--epochs=7', 'train_epochs', 7),
    ('--lr=0.5', 'learning_rate', .5), ('--iteration=9', 'train_steps', 9), ('--iterations=9', 'train_steps', 9),
    ('--num_train_steps=9', 'train_steps', 9), ('--max_steps=9', 'train_steps', 9), ('--steps=9', 'train_steps', 9),
    ('--num_train_epochs=7', 'train_epochs', 7), ('--npu_loss_scale=8', 'loss_scale', 8),
    ('--output_dir=d', 'output_path', 'd'),
    ('--train_batch_size=3', 'batch_size', 3),
    ('--max_epoch=7', 'train_epochs', 7), ('--epoch=7', 'train_epochs', 7), ('--max_step=9', 'train_steps', 9),
    ('--batch=5', 'batch_size', 5), ('--SUMMARY=/s', 'summary', '/s'), ('--DISPLAY_STEP=3', 'display_step', 3),
    ('--VAL_EPOCH=2', 'val_epoch', 2), ('--data_dir=/d', 'data_path', '/d'), ('--dataset=/d', 'data_path', '/d'),
    ('--CIFAR_PATH=/d', 'data_path', '/d'), ('--CKPT_PATH=/c', 'ckpt_path', '/c'), ('--step=9', 'train_steps', 9),
    ('--mul_rank_size=8', 'rank_size', 8), ('--mul_device_id=3', 'device_id', 3), ('--data=svhn', 'task', 'svhn'),
    ('--data_save_path=/d', 'data_save_path', '/d'), ('--over_dump_path=/d', 'over_dump_path', '/d'),
    ('--result=/r', 'output_path', '/r'), ('--base_lr=0.5', 'learning_rate', .5), ('--resume', 'resume', True),
    ('--resume=True', 'resume', True), ('--resume=False', 'resume', False), ('--loss_scale=True', 'loss_scale', True),
    ('--loss_scale=128', 'loss_scale', 128.), ('--data_path=/a b;$(x)', 'data_path', '/a b;$(x)'),
])
def test_a_vendor_spelling_sets_its_field(spelling, field, value):
    assert flags.parse([spelling]) == {field: value}


@pytest.mark.parametrize('case, name', [('performance', 'perf'), ('full', 'acc'), ('static_eval', 'static_eval_perf'),
                                        ('dynamic_eval', 'dynamic_eval_perf')])
def test_a_case_has_the_vendors_name(case, name):
    assert resolve(RECIPES['cutmix'], {'case': 'performance'}, {})._replace(case=case).case_name == name


def test_a_network_without_built_in_data_needs_a_directory_when_data_are_read():
    recipe, short = RECIPES['cutmix']._replace(built_in_data=False), {'case': 'performance'}
    for given in {}, {'data_path': 'synthetic'}:
        with pytest.raises(InputError, match='--data_path: this network has no built-in data; give the directory'):
            resolve(recipe, dict(short, **given), {})
    assert resolve(recipe, short, {}, needs_data=False).synthetic
    assert resolve(recipe, dict(short, data_path='/data'), {}).data_path == '/data'


def test_epochs_that_are_given_count_before_the_steps_of_a_recipes_short_run():
    recipe = RECIPES['cutmix']._replace(cases=dict(performance=dict(train_steps=5)))
    assert resolve(recipe, {'case': 'performance'}, {}).train_steps == 5
    settled = resolve(recipe, {'case': 'performance', 'train_epochs': 7}, {})
    assert (settled.train_steps, settled.train_epochs) == (None, 7)


@pytest.mark.parametrize('argument', ['--max_step=0', '--train_steps=0', '--data_dump_path='])
def test_what_the_vendors_launchers_pass_for_nothing_counts_as_not_given(argument):
    assert flags.parse([argument]) == {}


@pytest.mark.parametrize('argv, words', [
    (['--momentun=0.9'], '--momentun: unknown flag; did you mean --momentum? -h lists the flags'),
    (['--train_epochs=abc'], '--train_epochs=abc: must be a whole number from 1 to'),
    (['--batch_size=0'], '--batch_size=0: must be'),
    (['--learning_rate=nan'], '--learning_rate=nan: must be a number > 0'),
    (['--resume=maybe'], '--resume=maybe: must be True or False'),
    (['--seed=1', 'False'], "'False': not a flag"),
    (['--epochs=3', '--max_epoch=4'], '--max_epoch=4 --epochs=3: the same parameter with different values'),
    (['--undefok=momentun', '--momentun=3'], '--undefok: unknown'),
    (['--modeldir', '--resume'], '--modeldir: has no value'),
    (['--resume', '--modeldir'], '--modeldir: has no value'),
    (['--'], '--: unknown'),
    (['--seed=-1'], '--seed=-1: must be a whole number from 0'),
    (['--alsologtostderr'], '--alsologtostderr: unknown'),
])
def test_a_wrong_flag_is_refused_in_one_line_that_names_it(argv, words):
    with pytest.raises(InputError) as refusal:
        flags.parse(argv)
    assert words in str(refusal.value) and '\n' not in str(refusal.value)


def test_what_the_user_gives_is_laid_over_the_case_the_recipe_and_the_table():
    recipe = RECIPES['cspnet']
    assert resolve(recipe, {'case': 'performance'}, {}).train_epochs == recipe.cases['performance']['train_epochs']
    config = resolve(recipe, {'case': 'performance', 'train_epochs': 9}, {})
    assert (config.train_epochs, config.batch_size) == (9, recipe.defaults['batch_size'])


@pytest.mark.parametrize('given, environ, words', [
    ({}, {}, '--data_path'),
    ({'case': 'static_eval'}, {}, '--case=static_eval: must be one of'),
    ({'case': 'performance'}, {'ASCEND_DEVICE_ID': '16'}, 'ASCEND_DEVICE_ID=16'),
    ({'case': 'performance'}, {'RANK_SIZE': 'many'}, 'RANK_SIZE=many'),
])
def test_a_run_that_makes_no_sense_is_refused(given, environ, words):
    with pytest.raises(InputError, match=words):
        resolve(RECIPES['cspnet'], given, environ)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match='--network=vgg: must be one of .*cspnet'):
        network_of({'network': 'vgg'}, {})


@pytest.mark.parametrize('given, message', [
    ({'over_dump': True, 'data_dump_flag': True}, '--over_dump=True: not together with --data_dump_flag=True'),
    ({'fusion_off_flag': True}, '--fusion_off_flag=True: needs --fusion_off_file'),
    ({'swa_start_epoch': 1, 'swa_lr': .1}, '--swa_lr=0.1: needs --swa_schedule=constant|cyclic'),
])
def test_what_needs_or_excludes_each_other_is_refused_in_one_form(given, message):
    with pytest.raises(InputError) as refusal:
        resolve(RECIPES['cspnet'], dict(given, case='performance'), {})
    assert str(refusal.value) == message


def test_a_detail_without_its_switch_is_taken_and_told():
    given = dict(case='performance', data_dump_step='5', mixlist_file='/no/such/file')
    config = resolve(RECIPES['cspnet'], given, {})
    assert idle_lines(config) == ['--data_dump_step=5 has no effect without --data_dump_flag=True',
                                  '--mixlist_file=/no/such/file has no effect without --use_mixlist=True']
    assert idle_lines(resolve(RECIPES['cspnet'], {'case': 'performance'}, {})) == []


def test_the_number_of_ranks_is_one_value_whoever_says_it():
    def ranks(given, environ, planning=False):
        return resolve(RECIPES['cspnet'], dict(given, case='performance'), environ, planning).ranks
    assert ranks({}, {'RANK_SIZE': '8'}) == ranks({'rank_size': 8}, {'RANK_SIZE': '8'}) == 8
    assert ranks({'rank_size': 2}, {'RANK_SIZE': '8'}, planning=True) == 2
    assert ranks({'rank_table': '/t'}, {'RANK_SIZE': '8'}, planning=True) == 0, 'as many as the table has'
    assert not hasattr(resolve(RECIPES['cspnet'], {'case': 'performance'}, {}), 'rank_size')


def test_the_device_of_one_rank_may_be_a_flag():
    def device(given, environ):
        return resolve(RECIPES['cspnet'], dict(given, case='performance'), environ, planning=True).device_id
    assert device({'device_id': 3}, {'ASCEND_DEVICE_ID': '1'}) == 3
    with pytest.raises(InputError, match='--device_id=3: for a run of one rank'):
        device({'device_id': 3, 'rank_size': 2}, {})


def test_automatic_rates_of_the_averaging_are_those_of_the_vendors_callback():
    given = dict(case='performance', swa_start_epoch=1, swa_schedule='cyclic', swa_lr='auto', swa_lr2='auto',
                 learning_rate=.4)
    config = resolve(RECIPES['swa'], given, {})
    assert (config.swa_lr, config.swa_lr2) == (pytest.approx(.04), pytest.approx(.04 + .25 * .36))


def test_every_hyper_parameter_belongs_to_a_recipe_and_every_recipe_value_to_a_switch():
    names = {row.name for row in SWITCHES}
    declared = set().union(*(recipe.defaults for recipe in RECIPES.values()))
    assert declared <= names
    assert {row.name for row in SWITCHES if row.default is RECIPE} <= declared
    for recipe in RECIPES.values():
        for case in recipe.cases.values():
            assert set(case) <= set(recipe.defaults) | {row.name for row in SWITCHES if row.default is not RECIPE}


def is_a(value, annotation):
    if annotation is float:
        return type(value) in (int, float)
    if getattr(annotation, '__origin__', None) is typing.Union:
        return any(is_a(value, one) for one in annotation.__args__)
    if getattr(annotation, '__origin__', None) is tuple:
        return type(value) is tuple and all(is_a(one, annotation.__args__[0]) for one in value)
    return type(value) is annotation


@pytest.mark.parametrize('network', RECIPES)
def test_every_value_of_a_config_has_the_type_that_its_class_notes(network):
    config = resolve(RECIPES[network], {'case': 'performance'}, {})
    noted = typing.get_type_hints(Config)
    assert set(noted) == {row.name for row in SWITCHES} | set(Config.__annotations__)
    assert {name: value for name, value in config.values().items() if not is_a(value, noted[name])} == {}
    with pytest.raises(AttributeError, match='frozen'):
        config.seed = 2


def test_every_rule_of_a_switch_names_switches():
    names = {row.name for row in SWITCHES}
    for row in SWITCHES:
        assert {other.partition('=')[0] for rule in row.rules for other in rule.others} <= names


def test_the_help_names_every_spelling_and_every_default():
    text = usage.usage('train', RECIPES, describe_options())
    for row in SWITCHES:
        for name in (row.name,) + row.aliases:
            assert '--' + name in text
    defaults = {line.split('=')[0].split(',')[0]: below for line, below in zip(
        text.splitlines(), text.splitlines()[2:]) if line.startswith('--')}
    for network, recipe in RECIPES.items():
        for values in (recipe.defaults, *recipe.cases.values(), recipe.on_synthetic):
            for name, value in values.items():
                assert re.search(r'\b%s\b[^;]*(?<![\w.])%s(?![\w.])' % (network, re.escape(str(value))),
                                 defaults['--' + name]), (network, name)
    assert 'cspnet 50, 5 in a performance run' in text
    assert 'dump_mode (output): what of an operator to dump; one of input, output, all' in text.splitlines()


def test_the_help_has_headings_and_each_switch_stands_under_one():
    lines = usage.usage('train', RECIPES, '').splitlines()
    headings = [below for line, below in zip(lines, lines[1:]) if not line]
    assert headings[:4] == ['RUN', 'DATA', 'SCHEDULE', 'HYPER-PARAMETERS OF EVERY NETWORK']
    assert headings[-3:] == ['PRECISION AND NPU SWITCHES', 'RANKS', 'OPTIONS: --npu_option=KEY=VALUE']
    assert 'HYPER-PARAMETERS OF ALEXNET' in headings and 'HYPER-PARAMETERS OF SESEMI' in headings
    switches = [line.split('=')[0].split(',')[0][2:] for line in lines if line.startswith('--')]
    assert sorted(switches) == sorted(row.name for row in SWITCHES)


def test_the_help_says_what_precision_mode_may_be_and_nothing_that_goes_without_saying():
    text = usage.usage('train', RECIPES, '')
    assert 'allow_mix_precision' in text.split('--precision_mode=VALUE')[1].split('default:')[0]
    assert 'UTF-8' not in text


@pytest.mark.parametrize('network, given, precision', [
    ('cspnet', {}, 'allow_mix_precision'), ('alexnet', {}, 'allow_mix_precision'), ('swa', {}, 'allow_mix_precision'),
    ('cutmix', {}, 'allow_mix_precision'), ('sesemi', {}, None),
    ('cspnet', {'precision_mode': 'force_fp32'}, 'force_fp32'),
    ('cspnet', {'npu_option': ('precision_mode_v2=fp16',)}, None),
    ('cspnet', {'npu_option': ('job=x',)}, 'allow_mix_precision')])
def test_a_network_has_the_precision_of_its_vendors_script_unless_the_user_says_otherwise(network, given, precision):
    assert resolve(RECIPES[network], dict(given, case='performance'), {}).precision_mode == precision


@pytest.mark.parametrize('word', ['False', 'True', 'false'])
def test_a_truth_value_after_a_blank_belongs_to_its_flag(word):
    assert flags.parse(['--resume', word, '--batch_size=3']) == {'resume': word == 'True', 'batch_size': 3}
    assert flags.parse(['--resume']) == {'resume': True}
    with pytest.raises(InputError, match="'False': not a flag"):
        flags.parse(['False'])


def test_an_empty_file_of_fusion_switches_is_none():
    assert flags.parse(['--fusion_off_file=']).get('fusion_off_file') is None
