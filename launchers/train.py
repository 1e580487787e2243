"""The trainer of one rank: python3 -m launchers train --network=cspnet --data_path=DIR [--flag=value ...]."""
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'train'] + sys.argv[1:])

from core.errors import InputError
from core.recipe import Recipe
from core.settings.config import Config
from core.training import loop, preflight
from launchers import command, validated
from launchers.devices import detect
from launchers.run_report import reported


def act(recipe: Recipe, config: Config) -> None:
    """Trains, or prints the configuration for --print_config."""
    if config.max_restarts and 'LAUNCHER_PID' not in os.environ:
        raise InputError('--max_restarts=%d: only the launchers, test/train_*.sh, start ranks again' %
                         config.max_restarts)
    device = detect(config.device)
    if config.print_config:
        print(preflight.describe_session(config, device))
    else:
        loop.train(validated.with_parts(recipe), config, device, _initial, reported, validated.Best)


def _initial(config, variables):
    from core.pretrained import initial    # here, because most runs start from nothing
    return initial.values(config, variables)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status of the training."""
    return command.run(act, argv, environ, command.TRAINING._replace(typed='python3 -m launchers train'))
