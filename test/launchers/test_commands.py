"""What all commands of launchers/ have in common."""
import os
import pathlib
import subprocess
import sys

import pytest
from launching import ROOT

from launchers import command

COMMANDS = sorted(path for path in pathlib.Path(ROOT, 'launchers').glob('*.py') if path.name != '__main__.py'
                  and '__main__' in path.read_text())


@pytest.mark.parametrize('name', ['runs.py', 'doctor.py', 'npu_options.py', pytest.param(
    'evaluate.py', marks=pytest.mark.slow)])
def test_a_command_works_from_any_directory_whatever_packages_are_there(tmp_path, name):
    (tmp_path / 'core').mkdir()
    (tmp_path / 'core' / '__init__.py').write_text('raise ImportError("not ours")')
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    answer = subprocess.run([sys.executable, os.path.join(ROOT, 'launchers', name), '-h'], cwd=str(tmp_path),
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert answer.returncode == 0 and '--' in answer.stdout and 'Traceback' not in answer.stderr


@pytest.mark.parametrize('path', COMMANDS, ids=lambda path: path.name)
def test_a_command_looks_for_our_packages_where_it_lies(path):
    """So that the test above holds for all of them; starting each would take half a minute."""
    text = path.read_text()
    first = text.index('\n    sys.path[0] = ')
    assert text.find('\nfrom core') > first or text.find('\nfrom core') == -1


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
