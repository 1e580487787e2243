"""The trainer: python3 -m launchers.train --network=cspnet --data_path=DIR [--flag=value ...]."""
import os
import sys

from core import training
from launchers import command
from nets.layers import fast_cpu_gradients


def act(recipe, config):
    """Trains, or answers --plan or --print_config."""
    if config.print_config:
        print(training.describe_session(config))
    elif config.plan:
        print('\n'.join('%s=%s' % item for item in training.plan(config).items()))
    else:
        training.train(recipe, config, fast_cpu_gradients)


if __name__ == '__main__':
    sys.exit(command.run(act, sys.argv[1:], os.environ))
