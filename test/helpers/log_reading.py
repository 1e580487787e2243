"""Runs the launchers' bash library for tests."""
import subprocess

from launching import ROOT


def bash(script, *arguments):
    """Runs a script on top of the launchers' library; returns its standard output."""
    script = 'set -euo pipefail; source "$0/launchers/shell/launch.sh"; ' + script
    return subprocess.run(['bash', '-c', script, ROOT] + list(arguments), check=True,
                          stdout=subprocess.PIPE, universal_newlines=True).stdout
