"""The session configuration with the NpuOptimizer entry of docs/vendor-contract.md section 4, on every device.

TensorFlow skips a custom optimizer that is not registered; off an NPU the entry shows what an NPU would get.
"""
from typing import Any, Dict

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from core.npu.options import OPTIONS


def session_config(options: Dict[str, Any]) -> tf.ConfigProto:
    """The tf.ConfigProto with these NpuOptimizer options {key: typed value}."""
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    rewrites = config.graph_options.rewrite_options
    rewrites.remapping = RewriterConfig.OFF
    # MANUAL has the number of OFF, 2. The adapter asks for this value, and its own helpers write it too.
    rewrites.memory_optimization = RewriterConfig.MANUAL
    npu_optimizer = rewrites.custom_optimizers.add(name='NpuOptimizer')
    for key, value in dict(_written_defaults(options), **options).items():
        field = OPTIONS[key].field
        typed = tf.compat.as_bytes(value) if field == 's' else value
        setattr(npu_optimizer.parameter_map[key], field, typed)
    return config


def _written_defaults(options):
    """The defaults that are written even when nobody set them, so that a config shows them."""
    defaults = {'use_off_line': OPTIONS['use_off_line'].default}
    if 'precision_mode_v2' not in options:
        training = options.get('graph_run_mode', OPTIONS['graph_run_mode'].default)
        defaults['precision_mode'] = (OPTIONS['precision_mode'].default if training
                                      else 'force_fp16')
    return defaults
