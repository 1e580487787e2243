"""launchers/shell/python.sh finds a Python, or builds one, on machines made of stubs."""
import glob
import os
import shutil
import subprocess

import pytest
from launching import ROOT


@pytest.mark.parametrize('name', ['python3', 'python3.7'])
def test_a_python_with_tensorflow_is_used_and_nothing_is_installed(machine, name):
    machine.add_failing_shim('python3')
    machine.add_failing_shim('python3.7')
    machine.add_python(machine.bin / name, tensorflow=True)
    assert machine.find_python() == (0, str(machine.bin / name), '')
    assert not machine.calls.exists()


def test_the_given_python_comes_first(machine):
    machine.add_python(machine.bin / 'python3', tensorflow=True)
    given = machine.add_python(machine.home / 'my python', tensorflow=True)
    assert machine.find_python(PYTHON=str(given)) == (0, str(given), '')
    assert machine.find_python(PYTHON='./my python') == (0, str(given), '')


def test_a_given_python_without_tensorflow_is_refused(machine):
    given = machine.add_python(machine.home / 'python')
    for python in (str(given), str(machine.home / 'missing')):
        status, _, stderr = machine.find_python(PYTHON=python)
        assert status == 2 and stderr.count('\n') == 1
        assert 'PYTHON=%s does not import TensorFlow 1.15: ' % python in stderr
        assert ('No module named tensorflow' if python == str(given) else 'No such file or directory') in stderr


@pytest.mark.parametrize('program', ['true', 'echo', 'cat'])
def test_a_given_program_that_is_no_python_is_refused(machine, program):
    status, _, stderr = machine.find_python(PYTHON=shutil.which(program))
    assert status == 2 and stderr.count('\n') == 1 and 'does not import TensorFlow 1.15' in stderr


def test_a_venv_is_built_once_beside_a_failing_shim_of_pyenv(machine):
    machine.add_failing_shim('python3.7')
    machine.add_python(machine.bin / 'python3', is_37=False)
    machine.add_python(machine.home / '.pyenv' / 'versions' / '3.7.9' / 'bin' / 'python')
    status, python, stderr = machine.find_python()
    assert (status, python) == (0, machine.venv_python)
    assert stderr == 'setting up %s/.venv: once, a minute or two\n' % machine.repo
    assert machine.find_python() == (0, machine.venv_python, '') and machine.set_ups() == 1


def test_python_37_is_found_under_any_of_its_names(machine):
    for python in (machine.bin / 'python3', machine.bin / 'python3.7',
                   machine.home / 'root' / 'versions' / '3.7.1' / 'bin' / 'python'):
        machine.add_python(python)
        assert machine.find_python(PYENV_ROOT=str(machine.home / 'root'))[0] == 0
        python.unlink()
        shutil.rmtree(str(machine.repo / '.venv'))
    assert machine.set_ups() == 3


no_python37_of_its_own = pytest.mark.skipif(bool(glob.glob('/usr/local/python3.7*')),
                                            reason='this machine always has a Python 3.7')
DOWNLOADS = 'no Python 3.7 on this machine: %s downloads one\n'
UV = 'uv (uv venv --python 3.7)'
PYPI = 'uv 0.6.17 from PyPI (uv venv --python 3.7)'


@no_python37_of_its_own
def test_without_python_37_and_a_network_the_last_line_says_all_ways_to_get_one(machine):
    machine.add_failing_shim('python3.7')
    machine.add_python(machine.bin / 'python3', is_37=False)
    machine.add_downloader(machine.bin / 'uv', works=False)
    machine.add_downloader(machine.bin / 'micromamba', works=False)
    status, _, stderr = machine.find_python()
    assert status == 1 and not (machine.repo / '.venv' / '.complete').exists()
    assert stderr.startswith('setting up %s/.venv: once, a minute or two\n' % machine.repo)
    assert DOWNLOADS % UV in stderr and DOWNLOADS % PYPI in stderr and 'micromamba says: no network\n' in stderr
    last = stderr.splitlines()[-1]
    assert last.startswith('no Python 3.7 found, and none could be downloaded.')
    for way in ('pyenv install 3.7', 'python3.7-venv', 'conda create', 'uv,', 'micromamba', 'HTTPS_PROXY', 'PYTHON to'):
        assert way in last


@no_python37_of_its_own
def test_without_python_37_uv_gets_one_and_that_is_said(machine):
    machine.add_failing_shim('python3')
    machine.add_failing_shim('python3.7')
    machine.add_downloader(machine.bin / 'uv')
    machine.add_downloader(machine.bin / 'conda')
    status, python, stderr = machine.find_python()
    assert (status, python) == (0, machine.venv_python)
    assert stderr == 'setting up %s/.venv: once, a minute or two\n' % machine.repo + DOWNLOADS % UV
    assert machine.calls.read_text().splitlines()[0] == 'uv venv --seed --python 3.7 %s/.venv.new' % machine.repo
    assert machine.find_python() == (0, machine.venv_python, '')
    assert 'conda' not in machine.calls.read_text()


@no_python37_of_its_own
def test_a_uv_that_has_no_python_37_any_more_gives_way_to_uv_of_pypi(machine):
    machine.add_python(machine.bin / 'python3', is_37=False)
    machine.add_downloader(machine.bin / 'uv', works=False)
    old_uv = machine.add_downloader(machine.home / 'pypi' / 'uv')
    status, python, stderr = machine.find_python(STUB_PYPI=str(old_uv))
    assert (status, python) == (0, machine.venv_python)
    assert DOWNLOADS % UV + DOWNLOADS % PYPI in stderr
    assert 'pip install --no-warn-script-location uv==0.6.17' in machine.calls.read_text()
    assert not (machine.repo / '.venv.uv').exists()


@no_python37_of_its_own
@pytest.mark.parametrize('name', ['conda', 'mamba', 'micromamba'])
def test_without_uv_conda_gets_python_37(machine, name):
    machine.add_downloader(machine.bin / name)
    status, python, stderr = machine.find_python()
    assert (status, python) == (0, machine.venv_python)
    assert DOWNLOADS % ('%s (%s create python=3.7)' % (name, name)) in stderr


def test_an_existing_python_37_comes_before_any_download(machine):
    machine.add_downloader(machine.bin / 'uv')
    machine.add_python(machine.home / '.local/share/uv/python/cpython-3.7.9-linux-x86_64-gnu/bin/python3.7')
    assert machine.find_python()[:2] == (0, machine.venv_python)
    assert machine.set_ups() == 1 and 'uv' not in machine.calls.read_text().replace('.local/share/uv', '')


@no_python37_of_its_own
def test_an_interrupted_download_is_done_again(machine):
    machine.add_downloader(machine.bin / 'uv')
    machine.start_and_kill(STUB_DOWNLOAD_WAITS='1')
    assert machine.find_python()[:2] == (0, machine.venv_python)
    assert machine.calls.read_text().count('uv venv --seed') == 2


def test_no_setting_of_the_user_reaches_our_python_and_pip_but_the_index(machine):
    machine.add_python(machine.bin / 'python3.7')
    hostile = dict(PYTHONHOME='/usr', PYTHONOPTIMIZE='2', PYTHONWARNINGS='error', PYTHONPATH='/mine', PYTHONINSPECT='1',
                   PIP_USER='1', PIP_TARGET='/mine', PIP_INDEX_URL='http://mine/simple', PIP_CONFIG_FILE='/my/pip.conf')
    conf = "global.index-url='http://other'\nglobal.find-links='/a /b'\nglobal.user='true'\ninstall.no-deps='yes'"
    assert machine.find_python(STUB_PIP_CONF=conf, **hostile)[0] == 0
    found = dict(line.split('=', 1) for line in
                 machine.calls.with_name('calls.environment').read_text().splitlines() if '=' in line)
    assert not [name for name in found if name.startswith('PYTHON')]
    settings = {name: value for name, value in found.items() if name.startswith('PIP_')}
    assert (settings['PIP_INDEX_URL'], settings['PIP_FIND_LINKS']) == ('http://mine/simple', '/a /b')
    assert settings['PIP_CONFIG_FILE'] == '/dev/null' and set(settings) == {
        'PIP_INDEX_URL', 'PIP_FIND_LINKS', 'PIP_CONFIG_FILE', 'PIP_DISABLE_PIP_VERSION_CHECK', 'PIP_NO_INPUT',
        'PIP_PROGRESS_BAR'}


def test_a_command_says_in_one_line_which_python_it_runs_in_unless_the_user_chose_it(machine):
    found = machine.add_python(machine.bin / 'python3', tensorflow=True)
    shutil.copy(os.path.join(ROOT, 'launchers', 'shell', 'command.sh'), str(machine.repo / 'launchers' / 'shell'))

    def start(calling, *words, **environment):
        done = subprocess.run(
            ['bash', str(machine.repo / 'launchers' / 'shell' / 'command.sh'), calling, *words],
            env=dict({'PATH': str(machine.bin), 'HOME': str(machine.home)}, **environment),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        return done.returncode, done.stderr
    assert start('/usr/bin/bare', 'score', '--x=a b') == (0, 'the command score uses the Python %s\n' % found)
    assert machine.calls.read_text() == 'score --x=a b\n'
    assert start(str(found), 'score') == start('/usr/bin/bare', 'score', PYTHON=str(found)) == (0, '')


def test_what_a_platform_puts_on_pythonpath_stays(machine):
    machine.add_python(machine.bin / 'python3', tensorflow=True)
    adapter, mine = machine.home / 'adapter', machine.home / 'mine'
    (adapter / 'npu_bridge').mkdir(parents=True)
    mine.mkdir()
    path = '%s:%s:/opt/Ascend/opp/tbe:' % (mine, adapter)
    script = 'source "$0"; find_python; echo "$PYTHONPATH"'
    done = subprocess.run([shutil.which('bash'), '-c', script, str(machine.repo / 'launchers' / 'shell' / 'python.sh')],
                          env={'PATH': str(machine.bin), 'HOME': str(machine.home), 'PYTHONPATH': path},
                          stdout=subprocess.PIPE, universal_newlines=True)
    assert done.stdout == '%s:/opt/Ascend/opp/tbe\n' % adapter


def test_another_architecture_is_told_to_bring_its_tensorflow(machine):
    machine.add_python(machine.bin / 'python3.7')
    (machine.bin / 'uname').unlink()
    (machine.bin / 'uname').write_text('#!/bin/sh\necho aarch64\n')
    (machine.bin / 'uname').chmod(0o755)
    status, _, stderr = machine.find_python()
    assert status == 1 and stderr.splitlines()[1:] == [
        'TensorFlow 1.15 has no package for aarch64: set PYTHON to a Python that has it, as Ascend images do']


def test_a_python_of_the_ascend_environment_is_found(machine):
    toolkit = machine.home / 'Ascend' / 'ascend-toolkit'
    machine.add_python(toolkit / 'python3.7', tensorflow=True)
    (toolkit / 'set_env.sh').write_text('export PATH=$PATH:%s\necho noise\n' % toolkit)
    assert machine.find_python() == (0, str(toolkit / 'python3.7'), 'noise\n')


def test_sh_hands_over_to_bash(tmp_path):
    script = os.path.join(ROOT, 'test', 'train_performance_1p.sh')
    done = subprocess.run(['sh', script], env=dict(os.environ, PYTHON='/bin/true'), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, cwd=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.startswith('PYTHON=/bin/true does not import TensorFlow 1.15: it prints nothing')


def test_a_checkout_of_windows_has_the_line_ends_that_bash_reads(tmp_path):
    for command in (['git', 'init', '-q'], ['git', 'add', '.gitattributes', 'a.sh'],
                    ['git', '-c', 'core.autocrlf=true', 'checkout-index', '-f', '-a', '--prefix=out/']):
        if command[1] == 'add':
            shutil.copy(os.path.join(ROOT, '.gitattributes'), str(tmp_path))
            (tmp_path / 'a.sh').write_bytes(b'echo\n')
        subprocess.run(command, cwd=str(tmp_path), check=True, stderr=subprocess.DEVNULL)
    assert (tmp_path / 'out' / 'a.sh').read_bytes() == b'echo\n'
