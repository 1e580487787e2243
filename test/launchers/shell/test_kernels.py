"""launchers/shell/kernels.sh compiles the CPU kernels once, and never keeps a run from starting."""
import os
import shutil
import subprocess

import pytest
from launching import ROOT

TOOLS = ('awk', 'basename', 'bash', 'cat', 'dirname', 'flock', 'mkdir', 'readlink', 'rm', 'sha256sum', 'tail')
PYTHON = '''#!/bin/bash
if [[ $1 == -c ]]; then echo "-Iinclude"; echo "-Llib"; else echo "$*" >>"{calls}"; exit {status}; fi
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
                              universal_newlines=True, timeout=60, check=True)
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
    assert machine.build()[0] == calls


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
    assert not (machine.repo / '.kernels' / 'cpu').exists()
    assert machine.build() == (0, '')
