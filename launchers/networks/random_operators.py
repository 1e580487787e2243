"""Random operators of a graph that others built, as functions of seed, step and rank.

A resumed run then draws what the undisturbed one would have drawn.
"""
import zlib
from typing import Sequence

import tensorflow as tf

from core.settings.config import Config

_STATELESS = {'RandomUniform': tf.random.stateless_uniform, 'RandomStandardNormal': tf.random.stateless_normal,
              'TruncatedNormal': tf.random.stateless_truncated_normal}


def make_stateless(ops: Sequence[tf.Operation], config: Config) -> None:
    """Replaces the operators among `ops` that draw anew in each step, such as dropout's; initializers stay."""
    initial = _needed([v.initializer for v in tf.global_variables() + tf.local_variables()])
    step = tf.train.get_global_step()
    draw = tf.cast(step * config.ranks + config.rank, tf.int32)
    for op in ops:
        if op.type in _STATELESS and op not in initial:
            seed = tf.stack([draw, tf.constant(zlib.crc32(op.name.encode()) >> 1 ^ config.seed, tf.int32)])
            users = op.outputs[0].consumers()
            drawn = _STATELESS[op.type](op.inputs[0], seed, dtype=op.outputs[0].dtype)
            drawn.set_shape(op.outputs[0].shape)
            for user in users:
                for index, tensor in enumerate(user.inputs):
                    if tensor is op.outputs[0]:
                        user._update_input(index, drawn)


def _needed(ops):
    """`ops` and what they are computed from."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting.extend([tensor.op for tensor in op.inputs] + list(op.control_inputs))
    return found
