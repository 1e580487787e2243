"""The ModelArts boot file: python3 launchers/boot_modelarts.py --data_url=URL --train_url=URL --network=cspnet ...

It runs from any working directory and only finds the Python and the import path; the job is
launchers/modelarts/job.py. Where python3 has no TensorFlow 1.15, the launchers' Python runs it.
"""
import importlib.util
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIND_PYTHON = ('set -euo pipefail; source "$1/launchers/shell/python.sh"; find_python; export PYTHON; '
               'exec "$PYTHON" "$1/launchers/boot_modelarts.py" "${@:2}"')


def main() -> int:
    """Runs the job; returns its status."""
    sys.path[0] = ROOT
    from launchers.modelarts import job
    return job.run(sys.argv[1:], os.environ)


if __name__ == '__main__':
    if importlib.util.find_spec('tensorflow_core') is None:  # the package that TensorFlow 1.15 is made of
        os.execvp('bash', ['bash', '-c', FIND_PYTHON, 'bash', ROOT] + sys.argv[1:])
    sys.exit(main())
