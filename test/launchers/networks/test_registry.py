"""Networks are found where they lie, and a recipe that cannot work is refused when it is loaded."""
import functools
import subprocess
import sys
import types

import pytest
import toy
from launching import ROOT

from core.errors import InputError
from nets.blocks import optimizers, schedules
from launchers import command, train
from launchers.networks.registry import RECIPES, check, network_of


def without(name, **parts):
    """The toy's recipe whose defaults lack `name`, with other parts."""
    return toy.RECIPE._replace(defaults={key: value for key, value in toy.RECIPE.defaults.items() if key != name},
                               **parts)


def by_a_helper(config):
    return config.momentum


class Hook:
    def __init__(self, run):
        self.momentum = run.config.momentum


class Caller:
    @staticmethod
    def rate(config, step, steps):
        return [by_a_helper(config) for _ in range(1)]


@pytest.mark.slow
def test_the_networks_are_the_modules_with_a_recipe():
    assert {'alexnet', 'cspnet', 'cutmix', 'sesemi', 'swa'} == set(RECIPES)
    for name in 'cifar10', 'registry', 'classification', 'os', '../swa', 'swa.os', '':
        assert name not in RECIPES
        with pytest.raises(InputError, match='must be one of alexnet, cspnet, cutmix, sesemi, swa$'):
            network_of({'network': name}, {})


@pytest.mark.slow
def test_a_run_imports_its_own_network_alone():
    script = ('import sys; from launchers.networks.registry import network_of; network_of({"network": "swa"}, {}); '
              'print([name for name in sys.modules if name.startswith(("nets.", "launchers.networks."))])')
    found = subprocess.run([sys.executable, '-c', script], cwd=ROOT, stdout=subprocess.PIPE, check=True,
                           universal_newlines=True).stdout
    assert 'nets.mlp' in found and 'resnet' not in found and 'alexnet' not in found


@pytest.mark.parametrize('parts', [
    dict(optimizer=optimizers.momentum),
    dict(optimizer=lambda rate, config: optimizers.nesterov(rate, config)),
    dict(optimizer=functools.partial(optimizers.momentum)),
    dict(learning_rate=Caller.rate),
    dict(hooks=lambda run: [Hook(run)]),
    dict(images=(None, optimizers.momentum)),
])
def test_a_hyper_parameter_that_functions_read_and_defaults_lack_is_refused_by_name(parts):
    recipe = toy.RECIPE._replace(**parts)
    with pytest.raises(InputError, match=r'^launchers\.networks\.my: the defaults of RECIPE lack momentum, which \S+ '
                                         r'reads; add momentum=VALUE to them$'):
        check(recipe, 'launchers.networks.my')
    check(recipe._replace(defaults=dict(recipe.defaults, momentum=.9)), 'launchers.networks.my')


def test_one_that_every_run_needs_and_one_of_a_closure_are_missed_too():
    for name in 'batch_size', 'val_epoch', 'weight_decay':
        with pytest.raises(InputError, match='lack %s, which' % name):
            check(without(name), 'my')


def test_a_misspelt_parameter_is_refused_by_name():
    with pytest.raises(InputError, match=r'reads config\.momentun, which is no parameter'):
        check(toy.RECIPE._replace(optimizer=lambda rate, config: config.momentun), 'my')


def test_the_user_sees_one_line_before_anything_is_done(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(sys.modules, 'launchers.networks.my', types.SimpleNamespace(
        RECIPE=toy.RECIPE._replace(learning_rate=schedules.polynomial)))
    assert command.run(train.act, ['--network=my', '--output_path=%s' % tmp_path, '--case=performance'], {}) == 2
    assert capfd.readouterr().err.startswith('launchers.networks.my: the defaults of RECIPE lack lr_decay_power, ')
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
