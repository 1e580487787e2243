"""The trainer: python3 -m launchers.train --network=cspnet --data_path=DIR [--flag=value ...]."""
import os
import signal
import sys

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    # Ctrl-C ends it at once, not somewhere in TensorFlow's import, until core/training/hooks.py saves first.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# The package first: it silences TensorFlow's warnings about names.
from launchers import command  # noqa: E402
from core.host.devices import detect  # noqa: E402
from core.ranks import placement  # noqa: E402
from core.training import checkpoints, loop, preflight  # noqa: E402


def act(recipe, config):
    """Trains, or answers --plan or --print_config."""
    if config.print_config:
        print(preflight.describe_session(config))
    elif config.plan:
        print('\n'.join('%s=%s' % item for item in plan_lines(config).items()))
    else:
        loop.train(recipe, config)


def plan_lines(config):
    """What the launcher reads, {key: value}: the run as this server's first rank sees it, the ranks."""
    device = detect(config.device)
    ours = placement.plan(config, device.has_hccl)
    first = config._replace(ranks=ours.rank_size, rank=ours.ranks[0], device_id=ours.devices[0])
    # Of several servers only one has the checkpoints: there the trainers find out together.
    finished = checkpoints.finished(first) if config.resume and len(ours.ranks) == ours.rank_size else ''
    return dict(preflight.lines(first, device, ours.devices), finished=finished, npu=device.is_exclusive,
                **ours.lines())


if __name__ == '__main__':
    sys.exit(command.run(act, sys.argv[1:], os.environ))
