"""The session configuration with the NpuOptimizer entry of docs/vendor-contract.md section 4, on every device.

TensorFlow skips a custom optimizer that is not registered; off an NPU the entry shows what an NPU would get.
"""
from typing import Any, Dict

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from core.ascend.options import RAW


def session_config(options: Dict[str, Any]) -> tf.ConfigProto:
    """The tf.ConfigProto with these NpuOptimizer options {key: typed value}."""
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    rewrites = config.graph_options.rewrite_options
    rewrites.remapping = RewriterConfig.OFF
    # MANUAL has the number of OFF, 2. The adapter asks for this value, and its own helpers write it too.
    rewrites.memory_optimization = RewriterConfig.MANUAL
    entry = rewrites.custom_optimizers.add(name='NpuOptimizer')
    for key, value in dict({'use_off_line': True}, **options).items():
        parameter = entry.parameter_map[key[len(RAW):] if key.startswith(RAW) else key]
        if isinstance(value, str):
            parameter.s = tf.compat.as_bytes(value)
        else:
            setattr(parameter, 'b' if isinstance(value, bool) else 'i', value)
    return config


def npu_optimizer(config: tf.ConfigProto) -> Any:
    """The entry with the options in what session_config() has made."""
    return config.graph_options.rewrite_options.custom_optimizers[0]
