"""Runs the launchers' bash library, and the readers of the networks' logs, for tests."""
import subprocess

from launching import ROOT

from launchers.networks.registry import RECIPES


def bash(script, *arguments):
    """Runs a script on top of the launchers' library; returns its standard output."""
    script = 'set -euo pipefail; source "$0/launchers/shell/launch.sh"; ' + script
    return subprocess.run(['bash', '-c', script, ROOT] + list(arguments), check=True,
                          stdout=subprocess.PIPE, universal_newlines=True).stdout


def figures(network, log, batch_size=None):
    """-> (images a second, seconds a step, losses, accuracy) as the network's file reads them."""
    batch_size = batch_size or RECIPES[network].defaults['batch_size']
    script = 'source_log_reader "$1"; "$2" "$3" "$4"'

    def read(function):
        return bash(script, network, 'read_' + function, log, str(batch_size)).split()
    return (float(read('fps')[0]), float(read('step_time')[0]),
            [float(loss) for loss in read('losses')], read('accuracy'))
