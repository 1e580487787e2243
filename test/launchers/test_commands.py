"""What all commands of launchers/ have in common."""
import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest
from launching import ROOT

from launchers import command, plan, runs
from launchers.__main__ import COMMANDS, main

WITH_TENSORFLOW = ('evaluate', 'predict', 'export')
STANDARD = {'collections', 'contextlib', 'glob', 'importlib', 'json', 'os', 'platform', 're', 'shutil', 'signal',
            'subprocess', 'sys', 'tempfile', 'time', 'typing'}
OUR_ERROR = 'raise ImportError("not ours")'


def run(arguments, cwd, python=sys.executable, **environment):
    """-> (status, stdout, stderr) of a command that starts in a shell without variables of Python."""
    # KERNEL_ARCHITECTURE, because without it the command would compile kernels for another CPU than the other tests.
    inherited = {name: os.environ[name] for name in ('PATH', 'HOME', 'TMPDIR', 'KERNEL_ARCHITECTURE')
                 if name in os.environ}
    done = subprocess.run([python] + arguments, cwd=str(cwd), env=dict(inherited, **environment),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def elsewhere(tmp_path):
    """A working directory with packages that have the names of ours and of the standard library's."""
    (tmp_path / 'core').mkdir()
    (tmp_path / 'core' / '__init__.py').write_text(OUR_ERROR)
    (tmp_path / 'signal.py').write_text(OUR_ERROR)
    return tmp_path


WAY_IN = '''if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), '%s'%s
'''


@pytest.mark.parametrize('name', COMMANDS)
def test_the_file_of_a_command_hands_over_before_it_imports_anything_of_ours(name):
    with open(os.path.join(ROOT, 'launchers', name + '.py')) as file:
        text = file.read()
    ends = ['] + sys.argv[1:])', ',\n%s*sys.argv[1:]])' % (30 * ' ')]
    before, way_in, _ = next(text.partition(WAY_IN % (name, end)) for end in ends if WAY_IN % (name, end) in text)
    assert set(re.findall(r'^(?:from|import) (\w+)', before, re.M)) <= STANDARD


def test_the_files_with_a_way_in_are_the_commands():
    files = {path.stem for path in pathlib.Path(ROOT, 'launchers').glob('*.py') if '__main__' in path.read_text()}
    assert files - {'__main__'} == set(COMMANDS)


def test_no_file_of_the_product_changes_where_packages_are_found_or_asks_a_checker_to_look_away():
    product = [path for top in ('core', 'data', 'launchers', 'nets') for path in pathlib.Path(ROOT, top).rglob('*.py')]
    assert [str(path) for path in product
            if re.search(r'sys\.path(\[|\.insert|\s*=)|# noqa|argparse|absl', path.read_text())] == []


@pytest.mark.slow
def test_the_file_of_a_command_works_from_any_directory_whatever_packages_are_there(elsewhere):
    status, stdout, stderr = run([os.path.join(ROOT, 'launchers', 'evaluate.py'), '-h'], elsewhere)
    assert status == 0 and stdout.startswith('usage: ') and stderr == ''


@pytest.mark.slow
def test_a_command_is_the_same_by_its_file_as_a_module_and_by_its_name(forking_workdir):
    bad = ['--output_path=/no/such/directory']
    ways = [['-m', 'launchers', 'runs'], ['-m', 'launchers.runs'], [os.path.join('launchers', 'runs.py')]]
    answers = [run(way + bad, ROOT, PYTHON=str(forking_workdir / 'python')) for way in ways]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][:2] == (2, '') and answers[0][2].startswith('--output_path=/no/such/directory: ')


def test_without_a_command_all_are_listed_and_an_unknown_one_is_refused(capsys):
    assert main(['-h'], {}) == 0
    listed = capsys.readouterr().out
    assert all('\n%s ' % name in listed for name in COMMANDS)
    assert main(['trian'], {}) == 2
    assert capsys.readouterr().err.startswith("'trian': no command; it must be one of train, evaluate, ")
    assert main(['locks'], {}) == main(['stalls'], {}) == 2 and main(['stalls', '-h'], {}) == 0
    assert 'python3 -m launchers stalls SECONDS RANK' in capsys.readouterr().out


@pytest.mark.parametrize('name', WITH_TENSORFLOW)
def test_help_is_about_the_command_and_with_a_network_about_that_network_alone(name, capsys):
    module = importlib.import_module('launchers.' + name)
    assert module.main(['-h'], {}) == 0
    text = capsys.readouterr().out
    assert text.startswith('usage: python3 -m launchers %s ' % name) and '--ckpt_path' in text
    assert '--learning_rate' not in text and '--trunk' in text
    assert module.main(['-h', '--network=cspnet'], {}) == 0
    assert '--trunk' not in capsys.readouterr().out


def test_help_of_training_with_a_network_has_its_flags_and_defaults_alone(capsys):
    asked = ['--case=performance', '-h', '--network=cspnet']
    assert plan.main(asked, {'LAUNCHER': 'test/train_performance_1p.sh'}) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[:2] == ['usage: bash test/train_performance_1p.sh [--network=NAME] [--flag=value ...]',
                                     'networks: cspnet']
    assert '--batch_size' in text and '--momentum' in text and 'HYPER-PARAMETERS OF CSPNET' in text
    assert not any(word in text for word in ('--keep_prob', '--trunk', 'OF ALEXNET', 'sesemi 16'))
    assert 'default: performance' in text.split('--case=VALUE')[1].split('--output_path')[0]
    assert plan.main(['-h', '--network=vgg'], {}) == 2
    assert '--network=vgg: must be one of' in capsys.readouterr().err


def test_what_other_launchers_are_given_is_told_and_ignored(capsys):
    settled = []
    given = ['--network=swa', '--case=performance', '--gpu_id=3', '--autotune=False', '--bind_core=1',
             '--server_index=0', '--conf_path=/there', '--train_steps=5', '--train_epochs=2']
    assert command.run(lambda recipe, config: settled.append(config), given, {}) == 0
    assert settled[0].train_steps == 5
    told = capsys.readouterr().out
    for words in ('--gpu_id=3: has no effect here; --device_id', '--bind_core=1: has', '--server_index=0: has',
                  '--conf_path=/there: has', '--train_epochs=2: --train_steps=5 counts'):
        assert words in told
    assert 'autotune' not in told


def test_tuning_that_cann_no_longer_has_is_answered_with_what_it_has(capsys):
    assert command.run(lambda recipe, config: None, ['--autotune=True'], {}) == 2
    assert capsys.readouterr().err.startswith('--autotune=True: CANN has no such tuning any more; --aoe_mode=2')


def test_a_tilde_in_a_path_flag_of_any_command_is_the_home_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert runs.main(['--output_path=~/', '--html=~/page.html'], {}) == 0
    assert (tmp_path / 'page.html').exists()
    (tmp_path / 'mine.py').write_text('RECIPE = 1')
    assert plan.main(['--network=~/mine.py'], {}) == 2
    assert '%s/mine.py: defines no RECIPE' % tmp_path in capsys.readouterr().err
    modules = [importlib.import_module('launchers.' + name) for name in COMMANDS]
    named = ('output', 'outputs', 'graph', 'manifest', 'run_pb', 'html', 'output_path')
    paths = [row for module in modules for row in getattr(module, 'OWN_SWITCHES', ()) if row.name in named]
    (tmp_path / 'x').write_text('')
    assert len(paths) >= 8 and {row.kind.parse('~/x') for row in paths} == {str(tmp_path / 'x')}
