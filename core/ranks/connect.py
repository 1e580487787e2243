"""The Communicator of a run."""
from typing import Sequence

from core.device import Device, Options
from core.errors import InputError
from core.ranks.communicator import Communicator
from core.settings.config import Config


def connect(config: Config, device: Device, options: Options, split: Sequence[int]) -> Communicator:
    """The device's own, such as HCCL, or that of the ranks of one server or of several.

    options: of the NpuOptimizer; split: Recipe.split_strategy. Raises InputError when the environment lacks what the
    ranks need, or a rank does not answer.
    """
    own = device.communicator(config, options, split)
    if own is not None:
        return own
    if config.ranks == 1:
        return Communicator()
    if not config.addresses:
        from core.ranks.one_server import OneServer    # here and below, because most runs have one rank
        return OneServer(config.rank, config.ranks, config.ranks_directory, config.connect_timeout,
                         device.shared_exchange())
    if len(config.addresses) != config.ranks:
        raise InputError('RANK_ADDRESSES (environment): has %d addresses for RANK_SIZE=%d; test/train_*_8p.sh set it'
                         % (len(config.addresses), config.ranks))
    from core.ranks.collectives import Collectives
    return Collectives(config.rank, config.addresses, config.connect_timeout)
