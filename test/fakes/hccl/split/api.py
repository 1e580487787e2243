"""hccl.split.api: how the all-reduces of the gradients are fused."""
from hccl import load_library
from npu_bridge.machine import calls

load_library()


def set_split_strategy_by_size(dataSizeList, group='hccl_world_group'):
    if not (isinstance(dataSizeList, list) and all(isinstance(size, (int, float)) for size in dataSizeList)):
        raise ValueError('Invalid dataSizeList param')
    if sum(dataSizeList) != 100:
        raise ValueError('sum of dataSizeList must be 100')
    calls.append(('set_split_strategy_by_size', dataSizeList, group))
