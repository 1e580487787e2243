"""The recipes against the table of published ones in docs/vendor-contract.md, number by number."""
import os
import re

import pytest
from launching import ROOT

from core.settings.config import resolve
from core.training import swa
from launchers.networks.registry import RECIPES

NUMBER = r'(\d[\d,.]*(?:e-?\d+)?)'
# {parameter: the words of the table, with a group for its number}
WORDS = {
    'train_epochs': '^%s epochs', 'batch_size': 'batch %s', 'learning_rate': '(?:learning rate|Adam|base_lr) %s',
    'momentum': 'momentum %s', 'weight_decay': '(?:weight decay|L2) %s', 'keep_prob': 'dropout keeps %s',
    'swa_lr': 'swa_lr %s', 'swa_lr2': 'swa_lr2 %s', 'swa_freq': 'swa_freq %s', 'verbose': 'verbose %s',
    'lr_decay_power': 'lr_decay_power %s', 'cutmix_alpha': r'Beta\(%s, '}
# {network: {case: the words of its number of epochs, or steps, with a group for it}}
SHORT = {
    'cspnet': {'performance': r'\(performance run: %s\)'}, 'alexnet': {'performance': r'\(performance run: %s steps\)'},
    'sesemi': {'performance': r'\(performance run: %s\)'},
    'cutmix': {'static_eval': r'performance runs: %s with a static', 'dynamic_eval': '%s with a dynamic one'}}
STATED = {'cspnet': 5, 'alexnet': 6, 'swa': 7, 'sesemi': 4, 'cutmix': 5}     # how many parameters a row has


def published():
    """{network: the text of its recipe in the table}."""
    with open(os.path.join(ROOT, 'docs', 'vendor-contract.md'), encoding='utf-8') as page:
        table = page.read().split('| `--network` | published recipe |')[1].split('\n\n')[0]
    return dict(re.findall(r'^\| `(\w+)` \| (.*?) \|', table, re.M))


ROWS = published()


def stated(words, text):
    found = re.search(words % NUMBER, text)
    return found and float(found.group(1).rstrip(',.').replace(',', ''))


@pytest.mark.parametrize('network', sorted(ROWS))
def test_a_full_run_has_the_published_numbers(network):
    config = resolve(RECIPES[network], {'data_path': 'x'}, {})
    expected = {name: stated(words, ROWS[network]) for name, words in WORDS.items()}
    expected = {name: value for name, value in expected.items() if value is not None}
    assert len(expected) == STATED[network], expected
    assert {name: float(getattr(config, name)) for name in expected} == expected


@pytest.mark.parametrize('network', sorted(SHORT))
def test_a_performance_run_is_as_short_as_published(network):
    for case, words in SHORT[network].items():
        config = resolve(RECIPES[network], {'case': case, 'data_path': 'x'}, {})
        expected = stated(words, ROWS[network])
        assert expected and expected == (config.train_steps or config.train_epochs)
        assert network != 'cutmix' or config.eval_static is (case == 'static_eval')


def test_the_averaging_starts_where_it_is_published():
    config = resolve(RECIPES['swa'], {}, {})
    first = stated('averaging from epoch %s', ROWS['swa'])
    assert swa.start_epoch(config, config.train_epochs) + 1 == first and ', %s,' % config.swa_schedule in ROWS['swa']
