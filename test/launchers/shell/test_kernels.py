"""launchers/shell/kernels.sh compiles the CPU kernels once, and never keeps a run from starting."""
import os
import shutil
import subprocess

import pytest
from launching import ROOT

TOOLS = ('awk', 'basename', 'bash', 'cat', 'cp', 'dirname', 'flock', 'grep', 'mkdir', 'mv', 'nproc', 'readlink', 'rm',
         'sha256sum', 'tail', 'uname', 'xargs')
PYTHON = '''#!/bin/bash
if [[ $1 == -c ]]; then echo "-Iinclude"; echo "-Llib"; exit; fi
[[ $* != *"config list" ]] || exit 0
echo "$*" >>"{calls}"
while (($#)); do [[ $1 != --prefix ]] || mkdir -p "$2"; shift; done
exit {status}
'''
COMPILER = '''#!/bin/bash
echo "g++ $*" >>"{calls}"
while (($#)); do [[ $1 != -o ]] || echo compiled >"$2"; shift; done
exit {status}
'''


class Machine:
    """A PATH with stubs of Python and g++, and a repository with nothing but the kernels and their launcher."""

    def __init__(self, root):
        self.bin, self.repo, self.calls = root / 'bin', root / 'a repo', root / 'calls'
        self.bin.mkdir()
        shutil.copytree(os.path.join(ROOT, 'core', 'cpu', 'kernels'), str(self.repo / 'core' / 'cpu' / 'kernels'))
        shutil.copytree(os.path.join(ROOT, 'launchers', 'shell'), str(self.repo / 'launchers' / 'shell'))
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.add('python', PYTHON)
        self.library = self.repo / '.kernels' / 'kernels.so'

    def add(self, name, text, status=0):
        (self.bin / name).write_text(text.format(calls=self.calls, status=status))
        (self.bin / name).chmod(0o755)

    def build(self):
        """-> (how many programs were called, stderr)"""
        before = self.count()
        script = 'set -euo pipefail; source "$0"; PYTHON=$1; build_kernels'
        done = subprocess.run([shutil.which('bash'), '-c', script,
                               str(self.repo / 'launchers' / 'shell' / 'python.sh'), str(self.bin / 'python')],
                              env={'PATH': str(self.bin)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, check=True)
        return self.count() - before, done.stderr

    def count(self):
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_the_kernels_are_compiled_once_and_again_when_a_source_changes(machine):
    machine.add('g++', COMPILER)
    calls, _ = machine.build()
    sources = len(list((machine.repo / 'core' / 'cpu' / 'kernels').glob('*.cc')))
    assert calls == 1 + sources + 1 and machine.library.exists()   # pip, each source, the library
    assert machine.build() == (0, '')
    with open(str(machine.repo / 'core' / 'cpu' / 'kernels' / 'matmul.cc'), 'a') as source:
        source.write('// changed\n')
    assert machine.build()[0] == calls - 1, 'oneDNN is the same'


def test_without_a_compiler_one_line_says_what_runs_until_there_is_one(machine):
    assert 'no g++ on this machine' in machine.build()[1]
    assert machine.build() == (0, '')
    machine.add('g++', COMPILER)
    machine.build()
    assert machine.library.exists()


@pytest.mark.parametrize('broken', ['g++', 'python'])
def test_kernels_that_cannot_be_compiled_or_downloaded_leave_none_and_stop_nothing(machine, broken):
    machine.add('g++', COMPILER)
    machine.add(broken, COMPILER if broken == 'g++' else PYTHON, status=1)
    _, stderr = machine.build()
    assert 'could not be compiled' in stderr and 'remove ' in stderr
    assert not (machine.repo / '.kernels').exists()
    assert machine.build() == (0, '')


def test_a_library_stays_when_its_successor_fails_and_serves_again_for_its_own_sources(machine):
    machine.add('g++', COMPILER)
    machine.build()
    source, failed = machine.repo / 'core' / 'cpu' / 'kernels' / 'matmul.cc', machine.repo / '.kernels.failed'
    text = source.read_text()
    source.write_text(text + '// changed\n')
    machine.add('g++', COMPILER, status=1)
    assert 'could not be compiled' in machine.build()[1]
    assert machine.library.exists() and failed.exists()
    source.write_text(text)
    (machine.bin / 'g++').unlink()
    assert machine.build() == (0, '') and machine.library.exists() and not failed.exists()


def test_another_architecture_trains_without_them_and_that_is_said_once(machine):
    machine.add('g++', COMPILER)
    (machine.bin / 'uname').unlink()
    machine.add('uname', '#!/bin/bash\necho aarch64\n')
    _, stderr = machine.build()
    assert stderr.splitlines()[1:] == [
        'no oneDNN for aarch64: a CPU trains on the kernels of TensorFlow, which are slower']
    assert machine.build() == (0, '')
