"""A session on the host: for work beside a run, and where two processes must compute the same bits."""
from typing import Any, Mapping

import tensorflow as tf


def cpu_session(fed: Mapping[tf.Tensor, Any] = {}) -> tf.Session:
    """A session on the CPU for the default graph, whatever device the run has.

    fed: {tensor: value} that every run is fed beside its own feeds.
    """
    return _Session(fed, config=tf.ConfigProto(device_count={'GPU': 0}))


class _Session(tf.Session):
    def __init__(self, fed, **options):
        super().__init__(**options)
        self._fed = fed

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        return super().run(fetches, {**self._fed, **(feed_dict or {})}, options, run_metadata)
