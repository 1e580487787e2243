"""The part of hccl.split.api that docs/vendor-contract.md section 4 lists."""
from npu_bridge import calls


def set_split_strategy_by_size(dataSizeList, group='hccl_world_group'):
    assert isinstance(dataSizeList, list) and sum(dataSizeList) == 100 and len(dataSizeList) <= 8
    calls.append(('set_split_strategy_by_size', dataSizeList, group))
