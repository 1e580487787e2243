"""The ModelArts boot file: python3 launchers/boot_modelarts.py --data_url=URL --train_url=URL --network=cspnet ...

It runs from any working directory. The job is launchers/modelarts/job.py.
"""
import os
import signal
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'boot_modelarts',
                              *sys.argv[1:]])

from launchers.modelarts import job


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the job; returns its status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)       # Ctrl-C ends a download, too, with a line
    return job.run(argv, environ)
