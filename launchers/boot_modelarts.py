"""The ModelArts boot file: python3 launchers/boot_modelarts.py --data_url=URL --train_url=URL --network=cspnet ...

It runs from any working directory and only prepares: the Python, the import path, an output without secrets.
The job itself is launchers/modelarts/job.py. A python3 without TensorFlow 1.15 gives way to the launchers' Python.
"""
import importlib.util
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIND_PYTHON = ('set -euo pipefail; source "$1/launchers/shell/python.sh"; find_python; export PYTHON; '
               'exec "$PYTHON" "$1/launchers/boot_modelarts.py" "${@:2}"')


def main():
    """Runs the job; returns its status."""
    sys.path[0] = ROOT
    from launchers.modelarts import redaction
    with redaction.scrubbed_output(os.environ):
        from launchers.modelarts import job as modelarts
        return modelarts.run(sys.argv[1:], os.environ)


if __name__ == '__main__':
    if importlib.util.find_spec('tensorflow_core') is None:  # the package that TensorFlow 1.15 is made of
        os.execvp('bash', ['bash', '-c', FIND_PYTHON, 'bash', ROOT] + sys.argv[1:])
    sys.exit(main())
