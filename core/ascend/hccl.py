"""HCCL: how the ranks of NPUs exchange tensors, through npu_bridge."""
from typing import List, Sequence

import tensorflow as tf

from core.ascend import bridge
from core.ranks.buckets import packed
from core.run import Communicator, Options
from core.settings.config import Config


class Hccl(Communicator):
    """HCCL between NPUs. The all-reduce of the gradients is in npu_bridge's optimizer: see optimizer().

    split: the percents of all gradient bytes that each fused all-reduce has; () leaves the fusion to HCCL.
    """

    def __init__(self, rank: int, ranks: int, split: Sequence[int] = ()):
        self.rank, self.ranks = rank, ranks
        if ranks > 1 and split:
            bridge.split_gradients(list(split))

    def sum(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return packed(tensors, bridge.all_reduce) if self.ranks > 1 else list(tensors)

    def mean(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return [total / self.ranks for total in self.sum(tensors)] if self.ranks > 1 else list(tensors)

    def broadcast(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return list(map(bridge.broadcast, tensors)) if self.ranks > 1 else list(tensors)


def communicator(config: Config, options: Options, split: Sequence[int]) -> Communicator:
    """Device.communicator of NPUs."""
    del options
    return Hccl(config.rank, config.ranks, split)


def optimizer(of_recipe: tf.train.Optimizer, config: Config, options: Options) -> tf.train.Optimizer:
    """Device.optimizer of NPUs: npu_bridge's, with its all-reduce of the gradients and its loss scale."""
    return bridge.distributed_optimizer(of_recipe, config.loss_scale, config.ranks,
                                        options.get('is_tailing_optimization', False))
