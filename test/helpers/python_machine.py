"""Machines made of stubs, on which launchers/shell/python.sh looks for a Python.

A stub Python prints its version, has TensorFlow or not, and makes venvs that hold a copy of itself.
The PATH of each machine has the stubs and the few tools that python.sh needs, nothing of this machine.
"""
import os
import shutil
import signal
import subprocess

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
    [[ -z $STUB_PIP_WAITS ]] || {{ echo waiting >"{calls}.waiting"; sleep 600; }}
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
[[ -z $STUB_DOWNLOAD_WAITS ]] || {{ echo waiting >"{calls}.waiting"; sleep 600; }}
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

    def start_and_kill(self, **environment):
        """Kills a launcher when the stub that `environment` makes wait has begun."""
        process = self.start(**environment)
        until(self.calls.with_name('calls.waiting').exists)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def find_python(self, **environment):
        """-> (status, the Python that was found, stderr)"""
        process = self.start(**environment)
        stdout, stderr = process.communicate()
        return process.returncode, stdout.strip(), stderr

    def set_ups(self):
        """-> how often a venv was made."""
        calls = self.calls.read_text() if self.calls.exists() else ''
        return sum(line.startswith('venv') for line in calls.splitlines())

    @property
    def venv_python(self):
        return str(self.repo / '.venv' / 'bin' / 'python')
