"""The words of the pages: code has English ones, core/pages/chinese.tsv the Chinese for each of them."""
import ast
import glob
import os
import re
import subprocess

import pytest
from launching import ROOT

from core.pages import text
from launchers import devices, run_report
from launchers.networks.registry import RECIPES
from core.settings.config import resolve

PRODUCT = [path for room in ('core', 'data', 'launchers', 'nets')
           for path in glob.glob(os.path.join(ROOT, room, '**', '*.py'), recursive=True)]
PLACEHOLDER = r'%(?:\.\d|0\d)?[a-z%]'


def strings():
    """(every string of the product's code without docstrings, those that both() gets as its first argument)."""
    found, of_both = set(), set()
    for path in PRODUCT:
        with open(path, encoding='utf-8') as file:
            tree = ast.parse(file.read())
        found |= {node.s for parent in ast.walk(tree) if not isinstance(parent, ast.Expr)
                  for node in ast.iter_child_nodes(parent) if isinstance(node, ast.Str)}
        calls = [node for node in ast.walk(tree)
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'both']
        of_both |= {node.s for call in calls for node in ast.walk(call.args[0]) if isinstance(node, ast.Str)}
    return found, of_both


def test_every_text_of_the_pages_has_its_chinese_and_every_line_of_the_table_is_used():
    found, of_both = strings()
    table = text.table()
    assert len(of_both) > 100 and sorted(of_both - set(table)) == []
    assert sorted(set(table) - found) == [], 'no code has these English texts'


def test_the_two_languages_take_the_same_values_in_the_same_order():
    for english, chinese in text.table().items():
        assert re.findall(PLACEHOLDER, english) == re.findall(PLACEHOLDER, chinese), english


def test_every_name_in_the_record_of_a_run_that_is_no_option_has_its_chinese(tmp_path):
    recipe = RECIPES['cspnet']
    config = resolve(recipe, dict(case='performance', network='cspnet', output_path=str(tmp_path)), {})
    facts = run_report.facts(recipe, config, devices.detect('cpu'), {'precision_mode': 'allow_mix_precision'})
    names = {name for name, _ in facts['environment'] + facts['results']}
    assert names - set(text.table()) == {'precision_mode'} and {'device', 'system', 'checkpoints'} <= names


def test_no_other_file_of_the_product_has_chinese_words():
    files = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, stdout=subprocess.PIPE,
                           universal_newlines=True, check=True).stdout.splitlines()
    rooms = 'core/', 'data/', 'launchers/', 'nets/', 'configs/', '__main__'
    product = [name for name in files if name.startswith(rooms)
               and os.path.isfile(os.path.join(ROOT, name))]
    found = []
    for name in product:
        with open(os.path.join(ROOT, name), encoding='utf-8', errors='replace') as file:
            found += [name] * bool(re.search('[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]', file.read()))
    assert len(product) > 150 and found == ['core/pages/chinese.tsv']


@pytest.mark.parametrize('given, expected', [
    (('test %s', text.both('accuracy')), ('test accuracy', '测试准确率')),
    (('epoch %s', 3), ('epoch 3', '第 3 轮')),
    (('%',), ('%', '%')),
    (('what nobody has translated %s', 1), ('what nobody has translated 1',) * 2)])
def test_both_languages_take_the_values_each_in_its_own_words(given, expected):
    assert text.both(*given) == expected


def test_a_record_has_english_words_or_as_those_of_earlier_versions_pairs():
    assert text.of_record('device') == text.of_record(['device', '设备']) == ('device', '设备')
    assert text.of_metric('mIoU') == ('mIoU', ' mIoU') and text.of_metric('loss').zh == '损失'
