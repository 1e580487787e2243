"""launchers/shell/python.sh finds a Python, or builds one, on machines made of stubs.

A stub Python tells its version, has TensorFlow or not, and makes venvs that hold a copy of itself.
The PATH of each machine has the stubs and the few tools that python.sh needs, nothing of this machine.
"""
import glob
import os
import re
import shutil
import signal
import subprocess

import pytest
from launching import ROOT, until

TOOLS = ('awk', 'bash', 'sh', 'cat', 'chmod', 'cp', 'dirname', 'env', 'flock', 'grep', 'mkdir', 'mv', 'readlink',
         'realpath', 'rm', 'sha256sum', 'sleep', 'tail', 'uname')
STUB = '''#!/bin/bash
# has_tensorflow, the venv check and `python -c ""` differ in their code
if [[ $1 == -c ]]; then
    case $2 in
        *tensorflow*)
            [[ {no_tensorflow} == 0 || -e ${{0%/*}}/installed ]] && echo "TensorFlow 1.15.0" && exit
            echo "No module named tensorflow"
            exit 1 ;;
        *version_info*) exit {not_37} ;;
        *) exit 0 ;;
    esac
fi
if [[ $* == "-m pip config list" ]]; then
    echo "$STUB_PIP_CONF"
    exit
fi
echo "${{*:2}}" >>"{calls}"
if [[ $2 == venv ]]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
elif [[ $* == *requirements.lock* ]]; then
    echo "pip says: line 1"
    env >"{calls}.environment"
    [[ ${{STUB_PIP_STATUS:-0}} != 0 || -n $STUB_BROKEN ]] || echo >"${{0%/*}}/installed"
    [[ -z $STUB_PIP_WAITS ]] || {{ echo waiting >"{calls}.waiting"; sleep 60; }}
    exit ${{STUB_PIP_STATUS:-0}}
elif [[ $* == *uv==* ]]; then
    [[ -n $STUB_PYPI ]] || exit 1
    cp "$STUB_PYPI" "${{0%/*}}/uv"
fi
'''
# uv and conda: the directory that they make is the last word, or the one behind --prefix
DOWNLOADER = '''#!/bin/bash
echo "{name} $*" >>"{calls}"
[[ {works} == 1 ]] || {{ echo "{name} says: no network"; exit 1; }}
words=$* dir=${{!#}}
[[ $words != *--prefix* ]] || {{ dir=${{words#*--prefix }}; dir=${{dir% --channel*}}; }}
mkdir -p "$dir/bin"
cp "{python37}" "$dir/bin/python"
[[ -z $STUB_DOWNLOAD_WAITS ]] || {{ echo waiting >"{calls}.waiting"; sleep 60; }}
'''


class Machine:
    """A home directory, a PATH and a repository with nothing but what sets up Python."""

    def __init__(self, root):
        self.bin, self.home, self.repo = root / 'bin', root / 'home', root / 'a repo'
        self.calls = root / 'calls'
        for directory in (self.bin, self.home, self.repo / 'launchers' / 'shell'):
            directory.mkdir(parents=True)
        for library in ('python.sh', 'ascend.sh', 'environment.sh', 'kernels.sh', 'set_up.sh'):
            shutil.copy(os.path.join(ROOT, 'launchers', 'shell', library), str(self.repo / 'launchers' / 'shell'))
        (self.repo / 'requirements.lock').write_text('pip==24.0\ntensorflow==1.15.0\n')
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def add_python(self, path, tensorflow=False, is_37=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB.format(no_tensorflow=int(not tensorflow), not_37=int(not is_37),
                                    calls=self.calls))
        path.chmod(0o755)
        return path

    def add_downloader(self, path, works=True):
        """A stand-in for uv, conda, ...: makes a directory with a stub of Python 3.7."""
        python37 = self.add_python(self.home / 'python3.7 of a downloader')
        path.parent.mkdir(exist_ok=True)
        path.write_text(DOWNLOADER.format(name=path.name, calls=self.calls, works=int(works), python37=python37))
        path.chmod(0o755)
        return path

    def add_failing_shim(self, name):
        (self.bin / name).write_text('#!/bin/sh\necho "%s: command not found"; exit 127' % name)
        (self.bin / name).chmod(0o755)

    def start(self, **environment):
        environment = dict({'PATH': str(self.bin), 'HOME': str(self.home)}, **environment)
        script = 'set -euo pipefail; source "$0"; find_python; echo "$PYTHON"'
        return subprocess.Popen(
            [shutil.which('bash'), '-c', script, str(self.repo / 'launchers' / 'shell' / 'python.sh')],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            universal_newlines=True, cwd=str(self.home), preexec_fn=os.setsid)

    def find_python(self, **environment):
        """-> (status, the Python that was found, stderr)"""
        process = self.start(**environment)
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout.strip(), stderr

    def set_ups(self):
        """-> how often a venv was made."""
        calls = self.calls.read_text() if self.calls.exists() else ''
        return sum(line.startswith('venv') for line in calls.splitlines())

    @property
    def venv_python(self):
        return str(self.repo / '.venv' / 'bin' / 'python')


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


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
    process = machine.start(STUB_DOWNLOAD_WAITS='1')
    until(machine.calls.with_name('calls.waiting').exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert machine.find_python()[:2] == (0, machine.venv_python)
    assert machine.calls.read_text().count('uv venv --seed') == 2


def test_new_requirements_rebuild_the_venv(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    (machine.repo / 'requirements.lock').write_text('tensorflow==1.15.5\n')
    assert machine.find_python()[0] == 0 and machine.set_ups() == 2


def test_a_venv_whose_python_is_gone_is_rebuilt(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    os.remove(machine.venv_python)
    assert machine.find_python()[0] == 0 and machine.set_ups() == 2


def test_a_failed_set_up_shows_pips_last_words_and_is_done_again(machine):
    machine.add_python(machine.bin / 'python3.7')
    status, python, stderr = machine.find_python(STUB_PIP_STATUS='1')
    assert (status, python) == (1, '') and 'pip says: line 1\n' in stderr
    assert stderr.splitlines()[-1].startswith('setting up %s/.venv failed' % machine.repo)
    (machine.repo / '.venv.new' / 'half-built').write_text('')
    assert machine.find_python()[0] == 0 and machine.set_ups() == 2
    assert not (machine.repo / '.venv' / 'half-built').exists()


@pytest.mark.parametrize('fault', ['STUB_PIP_STATUS', 'STUB_BROKEN'])
def test_a_set_up_that_fails_leaves_the_venv_that_was_there(machine, fault):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    (machine.repo / '.venv' / 'precious').write_text('')
    (machine.repo / 'requirements.lock').write_text('tensorflow==1.15.5\n')
    status, _, stderr = machine.find_python(**{fault: '1'})
    assert status == 1 and 'what was there is as before' in stderr
    assert (machine.repo / '.venv' / 'precious').exists()
    (machine.repo / 'requirements.lock').write_text('pip==24.0\ntensorflow==1.15.0\n')
    assert machine.find_python() == (0, machine.venv_python, '') and (machine.repo / '.venv' / 'precious').exists()


def test_a_set_up_that_was_killed_between_its_last_steps_has_lost_nothing(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    (machine.repo / '.venv').rename(machine.repo / '.venv.old')
    assert machine.find_python() == (0, machine.venv_python, ''.join(
        'setting up %s/.venv: once, a minute or two\n' % machine.repo)) and machine.set_ups() == 1


@pytest.mark.parametrize('kind', ['link', 'link to nothing', 'fifo'])
def test_a_set_up_does_not_lock_what_another_has_put_in_the_place_of_the_lock(machine, kind):
    machine.add_python(machine.bin / 'python3.7')
    lock, victim = machine.repo / '.venv.lock', machine.home / 'victim'
    if kind == 'link':
        victim.write_text('precious')
    if kind == 'fifo':
        os.mkfifo(str(lock))
    else:
        lock.symlink_to(victim)
    assert machine.find_python() == (1, '', '%s: is no plain file, so it cannot be locked; remove it\n' % lock)
    assert machine.set_ups() == 0 and victim.exists() == (kind == 'link')
    assert kind != 'link' or victim.read_text() == 'precious'


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
    assert start('/usr/bin/bare', 'score', '--x=a b') == (0, 'score runs in %s\n' % found)
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


def test_requirements_and_lock_file_name_the_same_versions_and_every_package_has_checksums():
    for directory in (ROOT, os.path.join(ROOT, 'core', 'cpu', 'kernels')):
        with open(os.path.join(directory, 'requirements.txt')) as short, \
                open(os.path.join(directory, 'requirements.lock')) as whole:
            wanted = set(re.findall(r'^[\w.-]+==\S+', short.read().lower(), re.M))
            packages = re.findall(r'^([\w.-]+==\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$', whole.read(), re.M)
            whole.seek(0)
            assert len(packages) == len(re.findall('^[a-z]', whole.read(), re.M)) >= len(wanted) > 0
        assert wanted <= {name for name, _ in packages}


def test_an_interrupted_set_up_is_done_again(machine):
    machine.add_python(machine.bin / 'python3.7')
    process = machine.start(STUB_PIP_WAITS='1')
    until(machine.calls.with_name('calls.waiting').exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert machine.find_python()[:2] == (0, machine.venv_python) and machine.set_ups() == 2


def test_launchers_at_once_build_one_venv(machine):
    machine.add_python(machine.bin / 'python3.7')
    processes = [machine.start() for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [
        machine.venv_python] * 3
    assert machine.set_ups() == 1


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
