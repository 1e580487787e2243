"""The Communicator of a run."""
from typing import Sequence

from core.device import Device
from core.run import Communicator, Options
from core.settings.config import Config


def connect(config: Config, device: Device, options: Options, split: Sequence[int]) -> Communicator:
    """The device's own, such as HCCL or TensorFlow's collectives between servers, or that of the ranks of one server.

    options: of the NpuOptimizer; split: Recipe.split_strategy. Raises InputError when a rank does not answer.
    """
    own = device.communicator(config, options, split)
    if own is not None:
        return own
    if config.ranks == 1:
        return Communicator()
    from core.ranks.one_server import OneServer    # here, because most runs have one rank
    return OneServer(config.rank, config.ranks, config.ranks_directory, config.connect_timeout,
                     device.shared_exchange())
