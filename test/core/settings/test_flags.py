"""The command line: spellings, refusals and the order in which values are laid over each other."""
import re

import pytest

from core.errors import InputError
from core.npu.options import describe_options
from core.settings import flags
from core.settings.config import FIELDS, RECIPE, resolve
from launchers.networks.registry import RECIPES, recipe_of


@pytest.mark.parametrize('spelling, field, value', [
    ('--MOMENTUM=0.8', 'momentum', .8), ('--LAMBDA=0.1', 'weight_decay', .1),
    ('--LEARNING_RATE=0.5', 'learning_rate', .5), ('--epochs=7', 'train_epochs', 7),
    ('--max_epoch=7', 'train_epochs', 7), ('--epoch=7', 'train_epochs', 7), ('--max_step=9', 'train_steps', 9),
    ('--batch=5', 'batch_size', 5), ('--SUMMARY=/s', 'summary', '/s'), ('--DISPLAY_STEP=3', 'display_step', 3),
    ('--VAL_EPOCH=2', 'val_epoch', 2), ('--data_dir=/d', 'data_path', '/d'), ('--dataset=/d', 'data_path', '/d'),
    ('--result=/r', 'output_path', '/r'), ('--base_lr=0.5', 'learning_rate', .5), ('--resume', 'resume', True),
    ('--resume=True', 'resume', True), ('--resume=False', 'resume', False), ('--loss_scale=True', 'loss_scale', True),
    ('--loss_scale=128', 'loss_scale', 128.), ('--data_path=/a b;$(x)', 'data_path', '/a b;$(x)'),
])
def test_a_vendor_spelling_sets_its_field(spelling, field, value):
    assert flags.parse([spelling]) == {field: value}


@pytest.mark.parametrize('argv, words', [
    (['--momentun=0.9'], '--momentun: unknown'),
    (['--train_epochs=abc'], '--train_epochs=abc: must be a whole number from 1 to'),
    (['--batch_size=0'], '--batch_size=0: must be'),
    (['--learning_rate=nan'], '--learning_rate=nan: must be a number > 0'),
    (['--resume=maybe'], '--resume=maybe: must be True or False'),
    (['--resume', 'False'], "'False': not a flag"),
    (['--epochs=3', '--max_epoch=4'], '--max_epoch=4 --epochs=3: the same parameter with different values'),
    (['--undefok=momentun', '--momentun=3'], '--undefok=momentun'),
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
    ({'case': 'performance', 'train_steps': 3, 'train_epochs': 2}, {}, 'give one of them'),
    ({'case': 'performance'}, {'ASCEND_DEVICE_ID': '8'}, 'ASCEND_DEVICE_ID=8'),
    ({'case': 'performance'}, {'RANK_SIZE': 'many'}, 'RANK_SIZE=many'),
])
def test_a_run_that_makes_no_sense_is_refused(given, environ, words):
    with pytest.raises(InputError, match=words):
        resolve(RECIPES['cspnet'], given, environ)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match='--network=vgg: must be one of .*cspnet'):
        recipe_of({'network': 'vgg'})


def test_every_hyper_parameter_belongs_to_a_recipe_and_every_recipe_value_to_a_field():
    names = {field.name for field in FIELDS}
    declared = set().union(*(recipe.defaults for recipe in RECIPES.values()))
    assert declared <= names
    assert {field.name for field in FIELDS if field.default is RECIPE} <= declared
    for recipe in RECIPES.values():
        for case in recipe.cases.values():
            assert set(case) <= set(recipe.defaults) | {f.name for f in FIELDS if f.default is not RECIPE}


def test_the_help_names_every_spelling_and_every_default():
    text = flags.usage(RECIPES, describe_options())
    for field in FIELDS:
        for name in (field.name,) + field.aliases:
            assert '--' + name in text
    defaults = {line.split('=')[0].split(',')[0]: below for line, below in zip(
        text.splitlines(), text.splitlines()[2:]) if line.startswith('--')}
    for network, recipe in RECIPES.items():
        for values in (recipe.defaults, *recipe.cases.values(), recipe.on_synthetic):
            for name, value in values.items():
                assert re.search(r'\b%s\b[^;]*(?<![\w.])%s(?![\w.])' % (network, re.escape(str(value))),
                                 defaults['--' + name]), (network, name)
    assert 'cspnet 50, 5 in a performance run' in text
    assert 'dump_mode (output): what data to dump; one of input, output, all' in text.splitlines()
