"""npu_bridge.hccl.hccl_ops: collectives. All ranks are thought to have the same tensors, but for what rank 0 sends."""
import os

import tensorflow as tf
from npu_bridge.estimator.npu import util
from npu_bridge.machine import calls

VALUE_ON_ROOT = 7              # what every broadcast brings to another rank
REDUCTIONS = {'sum': lambda tensor: tensor * tf.cast(int(util.get_rank_size()), tensor.dtype),
              'max': tf.identity, 'min': tf.identity,
              'prod': lambda tensor: tensor ** tf.cast(int(util.get_rank_size()), tensor.dtype)}


def allreduce(tensor, reduction, fusion=1, fusion_id=-1, group='hccl_world_group'):
    if reduction not in REDUCTIONS:
        raise ValueError("Value for attr 'reduction' of %r is not in the list of allowed values" % reduction)
    calls.append(('allreduce', reduction) if fusion else ('allreduce alone', reduction))
    return REDUCTIONS[reduction](tf.convert_to_tensor(tensor))


def allgather(tensor, rank_size, fusion=0, fusion_id=-1, group='hccl_world_group'):
    calls.append(('allgather', rank_size))
    return tf.concat([tensor] * rank_size, 0)


def broadcast(tensor, root_rank, fusion=2, fusion_id=0, group='hccl_world_group'):
    if not isinstance(tensor, (list, tuple)):
        raise TypeError("Expected list for 'input' argument to 'HcomBroadcast' Op, not %s." % tensor)
    calls.append(('broadcast', tensor[0].op.name, root_rank))
    if os.environ.get('RANK_ID') == str(root_rank):
        return [tf.identity(one) for one in tensor]
    return [tf.fill(tf.shape(one), tf.cast(VALUE_ON_ROOT, one.dtype.base_dtype)) for one in tensor]
