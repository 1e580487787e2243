"""Whether a run that was to be on an NPU is on it: checked after its first step."""
import os
import stat

import tensorflow as tf

from core.log import say

COMPILED = b'The model has been compiled on the Ascend AI processor'   # the adapter's line about each graph
_OPERATOR = 'GeOp'             # by which the adapter replaces what the NPU runs
_STDERR = '/proc/self/fd/2'


class CheckCompiled(tf.train.SessionRunHook):
    """Prints a line after the first run when no sign is found that the NPU ran it.

    The signs are the adapter's operator in the graphs that TensorFlow ran, and the adapter's line in the log, where
    standard error is a file.
    """

    def __init__(self):
        self._is_checked = False

    def before_run(self, run_context):
        if not self._is_checked:
            return tf.train.SessionRunArgs(None, options=tf.RunOptions(output_partition_graphs=True))

    def after_run(self, run_context, run_values):
        if self._is_checked:
            return
        self._is_checked = True
        operators = {node.op for graph in run_values.run_metadata.partition_graphs for node in graph.node}
        if _OPERATOR not in operators and not _is_said():
            say('The first step was not compiled on the Ascend AI processor: this run trains on the CPU. The messages '
                'of the adapter in the log say why; to train on the CPU on purpose give --device=cpu')


def _is_said():
    """Whether standard error is a file and has the adapter's line."""
    if not stat.S_ISREG(os.fstat(2).st_mode):
        return False
    with open(_STDERR, 'rb') as log:
        return any(COMPILED in line for line in log)
