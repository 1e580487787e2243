"""Commands, minutes and expected figures stand in the networks' docstrings, and docs/results.md has the same."""
import ast
import os
import re

import pytest
from launching import ROOT

from launchers.networks.registry import RECIPES

COLUMNS = 'minutes', 'published', 'loss of the first steps', 'after one epoch', 'later'


def docstring(network):
    path = os.path.join(ROOT, 'launchers', 'networks', network)
    path = os.path.join(path, '__init__.py') if os.path.isdir(path) else path + '.py'
    with open(path, encoding='utf-8') as file:
        return ast.get_docstring(ast.parse(file.read()))


def rows(network):
    """The lines of the table that the docstring of a network makes: one for each command in it."""
    _, *runs = re.split(r'^    bash test/train_full_1p.sh ', docstring(network), flags=re.MULTILINE)
    for run in runs:
        command, *lines = re.sub('\n    ', ' ', run).strip().split('\n')
        flags = [flag for flag in command.split() if flag != '--data_path=DIR']
        assert flags.pop(0) == '--network=' + network
        cells = dict(line.split(': ', 1) for line in lines if line)
        assert tuple(cells) == COLUMNS
        yield '| %s | %s |' % (', '.join(['`%s`, full' % network] + ['`%s`' % flag for flag in flags]),
                               ' | '.join(cells.values()))


def table(page):
    with open(os.path.join(ROOT, 'docs', page), encoding='utf-8') as file:
        lines = file.read().splitlines()
    start = next(number for number, line in enumerate(lines)
                 if line.startswith('| `--network`') and line.count('|') == 7)
    return [line for line in lines[start + 2:start + 20] if re.match(r'\| `\w+`(,|，) ?full', line)]


@pytest.mark.parametrize('network', RECIPES)
def test_the_table_of_expected_figures_has_what_the_docstring_of_a_network_has(network):
    expected = list(rows(network))
    assert expected and [line for line in table('results.md') if line.startswith('| `%s`' % network)] == expected


def test_both_languages_have_the_same_figures():
    def figures(page):
        return [set(re.findall(r'\d[\d.,]*\d|\d', line)) for line in table(page)]
    assert figures('results.md') == figures('results.zh.md')
