"""A session on the host: for work beside a run, and where two processes must compute the same bits."""
from typing import Any, Mapping

import tensorflow as tf


def cpu_session(fed: Mapping[tf.Tensor, Any] = {}) -> tf.Session:
    """A session on the CPU for the default graph, whatever device the run has.

    fed: {tensor: value} that every run is fed beside its own feeds.
    """
    proto = tf.ConfigProto(device_count={'GPU': 0})
    # npu_bridge puts every session without an entry of this name on the NPU, and CANN takes the options of the whole
    # process from the first of them. Where there is no NPU, TensorFlow skips the entry.
    entry = proto.graph_options.rewrite_options.custom_optimizers.add(name='NpuOptimizer')
    entry.parameter_map['use_off_line'].b = False
    return _Session(fed, config=proto)


class _Session(tf.Session):
    def __init__(self, fed, **options):
        super().__init__(**options)
        self._fed = fed

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        return super().run(fetches, {**self._fed, **(feed_dict or {})}, options, run_metadata)
