"""Networks are found where they lie, and a recipe that cannot work is refused when it is loaded."""
import functools
import subprocess
import sys
import types

import pytest
import toy
from launching import ROOT

from core.errors import InputError, RunEnd
from core.settings.config import resolve
from nets.blocks import optimizers, schedules
from launchers import command, train
from launchers.networks.registry import RECIPES, check, network_of


def settled(recipe=toy.RECIPE):
    return resolve(recipe, dict(case='performance'), {})


@pytest.mark.slow
def test_the_networks_are_the_modules_with_a_recipe():
    assert {'alexnet', 'cspnet', 'cutmix', 'sesemi', 'swa'} == set(RECIPES)
    for name in 'cifar10', 'registry', 'classification', 'os', '../swa', 'swa.os', '':
        assert name not in RECIPES
        with pytest.raises(InputError, match='must be one of alexnet, cspnet, cutmix, sesemi, swa$'):
            network_of({'network': name}, {})


@pytest.mark.slow
def test_a_run_imports_its_own_network_alone(forking_python):
    script = ('import sys; from launchers.networks.registry import network_of; network_of({"network": "swa"}, {}); '
              'print([name for name in sys.modules if name.startswith(("nets.", "launchers.networks."))])')
    found = subprocess.run([*forking_python, '-c', script], cwd=ROOT, stdout=subprocess.PIPE, check=True,
                           universal_newlines=True).stdout
    assert 'nets.mlp' in found and 'resnet' not in found and 'alexnet' not in found


def by_a_helper(whatever, name):
    return getattr(whatever, name)


@pytest.mark.parametrize('read', [
    lambda c: optimizers.momentum(.1, c), functools.partial(optimizers.nesterov, .1),
    lambda c: by_a_helper(c, 'momentum'), lambda c: c._replace(seed=2).momentum,
])
def test_a_hyper_parameter_that_the_defaults_lack_is_refused_where_it_is_read(read):
    with pytest.raises(RunEnd) as refusal:
        read(settled())
    assert str(refusal.value) == 'the defaults of RECIPE lack momentum, which it reads; add momentum=VALUE to them'
    read(settled(toy.RECIPE._replace(defaults=dict(toy.RECIPE.defaults, momentum=.9))))


def test_a_misspelt_parameter_is_refused_by_name():
    with pytest.raises(RunEnd, match=r'^config\.momentun: no parameter of the command line; add a row to the switches'):
        settled().momentun


@pytest.mark.parametrize('name', ['batch_size', 'val_epoch'])
def test_a_recipe_without_what_every_run_needs_is_refused_when_it_is_loaded(name):
    with pytest.raises(InputError, match='^my: the defaults of RECIPE lack %s; add %s=VALUE to them$' % (name, name)):
        check(toy.RECIPE._replace(defaults={key: 1 for key in toy.RECIPE.defaults if key != name}), 'my')


def test_the_user_sees_one_line_before_anything_is_written(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(sys.modules, 'launchers.networks.my', types.SimpleNamespace(
        RECIPE=toy.RECIPE._replace(learning_rate=schedules.polynomial)))
    assert command.run(train.act, ['--network=my', '--output_path=%s' % tmp_path, '--case=performance'], {}) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        'the defaults of RECIPE lack lr_decay_power, which it reads; add lr_decay_power=VALUE to them')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('given, environ, network', [
    ({}, {}, 'cspnet'), ({}, {'NETWORK': ''}, 'cspnet'), ({}, {'NETWORK': 'cutmix'}, 'cutmix'),
    ({'network': 'swa'}, {'NETWORK': 'cutmix'}, 'swa'), ({'network': 'AlexNet_ID0259_for_TensorFlow'}, {}, 'alexnet'),
    ({'network': 'AlexNet_ID0259'}, {}, 'alexnet'), ({'network': 'cutmix_ID2502_for_TensorFlow2.X'}, {}, 'cutmix'),
    ({}, {'NETWORK': 'SESEMI_ID1270'}, 'sesemi'),
])
def test_a_network_has_the_vendors_names_too_and_may_come_from_the_environment(given, environ, network):
    assert network_of(given, environ) == network


@pytest.mark.parametrize('given, environ, words', [
    ({'network': 'convnet', 'task': 'cifar10'}, {},
     '--network=convnet: is a trunk of sesemi; write --network=sesemi --trunk=convnet --task=cifar10'),
    ({}, {'NETWORK': 'vgg'}, 'NETWORK=vgg (environment): must be one of alexnet, cspnet'),
    ({'network': '_for_TensorFlow'}, {}, '--network=_for_TensorFlow: must be one of'),
])
def test_a_network_that_there_is_none_of_is_answered(given, environ, words):
    with pytest.raises(InputError) as refusal:
        network_of(given, environ)
    assert str(refusal.value).startswith(words)
