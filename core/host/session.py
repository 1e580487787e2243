"""A session on the host: for work beside a run, and where two processes must compute the same bits."""
import tensorflow as tf


def cpu_session() -> tf.Session:
    """A session on the CPU for the default graph, whatever device the run has."""
    return tf.Session(config=tf.ConfigProto(device_count={'GPU': 0}))
