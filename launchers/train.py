"""The trainer of one rank: python3 -m launchers.train --network=cspnet --data_path=DIR [--flag=value ...]."""
import os
import signal
import sys

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    # Ctrl-C ends it at once, not somewhere in TensorFlow's import, until core/training/hooks.py saves first.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# The package first: it silences TensorFlow's warnings about names.
from launchers import command  # noqa: E402
from core.errors import InputError  # noqa: E402
from core.recipe import Recipe  # noqa: E402
from core.settings.config import Config  # noqa: E402
from core.training import loop, preflight  # noqa: E402
from launchers.devices import detect  # noqa: E402
from launchers.recorded import recorded  # noqa: E402


def act(recipe: Recipe, config: Config) -> None:
    """Trains, or answers --print_config."""
    if config.max_restarts and 'LAUNCHER_PID' not in os.environ:
        raise InputError('--max_restarts=%d: only the launchers, test/train_*.sh, start ranks again' %
                         config.max_restarts)
    device = detect(config.device)
    if config.print_config:
        print(preflight.describe_session(config, device))
    else:
        loop.train(recipe, config, device, recorded)


if __name__ == '__main__':
    sys.exit(command.run(act, sys.argv[1:], os.environ))
