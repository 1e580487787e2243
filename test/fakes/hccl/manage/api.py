"""hccl.manage.api: who this rank is."""
import os

from hccl import load_library

load_library()


def get_rank_size(group='hccl_world_group'):
    return int(os.environ.get('RANK_SIZE', 1))


def get_rank_id(group='hccl_world_group'):
    return int(os.environ.get('RANK_ID', 0))


def get_local_rank_id(group='hccl_world_group'):
    return get_rank_id() % 8
