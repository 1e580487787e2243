"""The vendors' ModelArts entry file for accuracy: launchers/boot_modelarts.py with --case=full."""
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'modelarts_entry_acc',
                              *sys.argv[1:]])

from launchers import boot_modelarts
from launchers.modelarts import entry


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the job; returns its status."""
    return boot_modelarts.main(entry.arguments(argv, 'full'), environ)
