"""ONNX files by tf2onnx and onnxruntime, which need a later Python: in an environment of their own, .onnx.

launchers/shell/onnx.sh sets it up; onnx_worker.py beside this file is what runs there.
"""
import os
import subprocess
from typing import List

from core.errors import InputError
from core.settings.table import ROOT

_DIRECTORY = os.path.dirname(os.path.abspath(__file__))
_WORKER = os.path.join(_DIRECTORY, 'onnx_worker.py')
_SET_UP = os.path.join(ROOT, 'launchers', 'shell', 'onnx.sh')
REQUIREMENTS = os.path.join(_DIRECTORY, 'onnx.txt')
ENVIRONMENT = os.path.join(ROOT, '.onnx')


def set_up() -> None:
    """Makes the environment where it is not there. Raises InputError when that fails; nothing is left of it then."""
    done = subprocess.run(['bash', '-c', 'source "$1" && set_up_onnx "$2" "$3"', 'onnx', _SET_UP, ENVIRONMENT,
                           REQUIREMENTS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if done.returncode:
        raise InputError('--format=onnx: cannot set up tf2onnx and onnxruntime in %s: %s; they need Python 3.10 to 3.13'
                         ' and a network, or PIP_INDEX_URL; --format=pb needs neither' % (
                             ENVIRONMENT, done.stdout.decode(errors='replace').strip()))


def convert(graph: str, target: str) -> None:
    """Makes the ONNX file `target` of a frozen graph. Raises InputError when it has operators that ONNX lacks."""
    done = subprocess.run(_worker('convert', graph, target), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise InputError('--format=onnx: tf2onnx cannot convert the graph: %s' % (
            done.stdout.decode(errors='replace').strip().splitlines() or ['no message'])[-1])


def serving() -> List[str]:
    """The command that computes batches as core/inference/runner.py does; its further argument is the file."""
    return _worker('serve')


def _worker(*arguments):
    return [os.path.join(ENVIRONMENT, 'bin', 'python'), '-I', _WORKER, *arguments]
