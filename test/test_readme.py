"""The pages for users say the same in both languages, and name commands, flags and files that are there."""
import glob
import os
import re

import pytest
from launching import ROOT
from pages import PAIRS, commands, page

from core.settings.table import SWITCHES

PAGES = [name for pair in PAIRS for name in pair]
SHOWN_AS_NEW = ('data/npz.py', 'test/output') + tuple(                # the reader makes these
    'launchers/networks/' + name for name in ('fromnpz.py', 'warm.py'))

OF_DOCKER = {'--rm', '--ipc'}
OF_MSAME = {'--dymBatch', '--dymDims'}
GONE = {'--plan'}                                                     # the changelog names flags of before


def flags(name):
    return set(re.findall(r'(?<![\w-])--[A-Za-z][A-Za-z0-9_-]*', page(name)))


@pytest.mark.parametrize('english, chinese', PAIRS)
def test_both_show_the_same_commands(english, chinese):
    assert commands(english) == commands(chinese)


@pytest.mark.parametrize('english, chinese', PAIRS)
def test_both_name_the_same_flags(english, chinese):
    assert flags(english) == flags(chinese)


@pytest.mark.parametrize('pair', PAIRS)
def test_both_have_the_same_code_and_the_same_sections(pair):
    def shape(name):
        text = page(name)
        return (re.findall(r'^```(\w+)', text, re.MULTILINE), len(re.findall(r'^## ', text, re.MULTILINE)),
                len(re.findall(r'^\|', text, re.MULTILINE)))
    assert shape(pair[0]) == shape(pair[1])


def test_the_readme_is_one_screen_and_leads_to_every_page_for_users():
    for english_or_chinese, names in zip(PAIRS[0], zip(*PAIRS[1:])):
        text = page(english_or_chinese)
        assert len(text.splitlines()) < 120
        assert [name for name in names if '(%s)' % name not in text] == []


def known_flags():
    """Every flag of the command line, and what else the sources say to be one."""
    known = {'--' + spelling for row in SWITCHES for spelling in (row.name,) + row.aliases} | OF_DOCKER | OF_MSAME
    for folder in ('launchers', 'test', 'docs'):
        for directory, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(('.py', '.sh')) and name != os.path.basename(__file__):
                    text = page(os.path.join(directory, name))
                    known |= set(re.findall(r'--[A-Za-z][A-Za-z0-9_-]*', text))
                    known |= {'--' + flag for flag in re.findall(r"Switch\('\w+', '(\w+)'", text)}
    return known


@pytest.mark.parametrize('name', [english for english, _ in PAIRS] + [
    'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/vendor-contract.md'])
def test_every_flag_that_a_page_names_is_one(name):
    assert flags(name) - known_flags() - GONE - {'--name'} == set()


@pytest.mark.parametrize('name', PAGES + [
    'CONTRIBUTING.md', 'docs/architecture.md', 'docs/vendor-contract.md'])
def test_every_file_that_a_page_names_is_there(name):
    named = set(re.findall(r'(?<![\w/.])((?:core|data|docs|launchers|nets|test)/[\w/.*-]*[\w/])(?!{)\b', page(name)))
    named |= {os.path.normpath(os.path.join(os.path.dirname(name), link)) for link in
              re.findall(r'\]\(([^)#:]+)', page(name))}
    missing = sorted(path for path in named - set(SHOWN_AS_NEW)
                     if not glob.glob(os.path.join(ROOT, path)) + glob.glob(os.path.join(ROOT, path + '.py')))
    assert missing == []
