"""npu_bridge.estimator.npu.util: loops on the device, and how many ranks the environment says there are."""
import os

import tensorflow as tf
from npu_bridge.machine import calls

_NAMES = ('iterations_per_loop', 'loop_cond', 'zero', 'one')


def get_rank_size():
    """RANK_SIZE, or CM_WORKER_SIZE of a start without a rank table; 1 without either."""
    if 'RANK_SIZE' in os.environ and 'CM_WORKER_SIZE' in os.environ:
        raise ValueError('RANK_SIZE and CM_WORKER_SIZE cannot be configured at the same time.')
    return os.environ.get('RANK_SIZE') or os.environ.get('CM_WORKER_SIZE') or '1'


def _variable(name):
    collection = 'npu_runconfig_' + name
    made = tf.get_collection(collection)
    if len(made) > 1:
        raise RuntimeError('Multiple var in collection.')
    with tf.variable_scope('npu_runconfig', reuse=tf.AUTO_REUSE):
        return made[0] if made else tf.get_variable(
            name, [], tf.int64, tf.zeros_initializer(), trainable=False, use_resource=True,
            collections=[collection, tf.GraphKeys.LOCAL_VARIABLES])


class IterationPerLoop:
    """One session.run is several training steps."""

    def create_iteration_per_loop_var(self, train_op):
        if not isinstance(train_op, tf.Operation):
            raise ValueError("The incoming 'train_op' type is '%s', and the need type is 'Operation'"
                             % train_op.dtype.name)
        calls.append(('create_iteration_per_loop_var', train_op.name))
        self._variables = [_variable(name) for name in _NAMES]
        return tf.group(train_op, name='IterationOp')

    def load_iteration_per_loop_var(self, sess, iterations_per_loop=1):
        if not isinstance(iterations_per_loop, int):
            raise TypeError('iterations_per_loop must be int, got %s' % type(iterations_per_loop))
        if iterations_per_loop <= 0:
            raise ValueError('iterations_per_loop must be positive, got %s' % iterations_per_loop)
        calls.append(('load_iteration_per_loop_var', iterations_per_loop))
        for variable, value in zip(self._variables, (iterations_per_loop - 1, 0, 0, 1)):
            variable.load(value, session=sess)
