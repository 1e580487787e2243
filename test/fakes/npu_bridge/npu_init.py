"""The names of npu_bridge.npu_init that docs/vendor-contract.md section 4 lists."""
import os
from types import SimpleNamespace

import tensorflow as tf
from npu_bridge import calls

VALUE_ON_ROOT = 7  # what every broadcast brings to another rank


class FixedLossScaleManager:
    def __init__(self, loss_scale):
        assert loss_scale >= 1
        calls.append(('FixedLossScaleManager', loss_scale))


class ExponentialUpdateLossScaleManager:
    def __init__(self, init_loss_scale, incr_every_n_steps, decr_every_n_nan_or_inf=2, incr_ratio=2,
                 decr_ratio=0.8):
        calls.append(('ExponentialUpdateLossScaleManager', init_loss_scale, incr_every_n_steps,
                      decr_every_n_nan_or_inf, incr_ratio, decr_ratio))


class _Wrapper(tf.train.Optimizer):
    """Leaves everything to the optimizer inside."""

    def __init__(self, opt):
        super().__init__(use_locking=False, name=type(self).__name__)
        self._opt = opt

    def compute_gradients(self, *args, **kwargs):
        gradients = self._opt.compute_gradients(*args, **kwargs)
        return [(self._reduce(gradient), variable) for gradient, variable in gradients]

    def apply_gradients(self, *args, **kwargs):
        return self._opt.apply_gradients(*args, **kwargs)

    def _reduce(self, gradient):
        if int(os.environ['RANK_SIZE']) == 1:
            return gradient
        assert 'JOB_ID' in os.environ  # the real one fails on this inside npu_bridge
        return hccl_ops.allreduce(gradient, 'sum') / float(os.environ['RANK_SIZE'])


class NPUDistributedOptimizer(_Wrapper):
    def __init__(self, optimizer):
        super().__init__(optimizer)
        calls.append(('NPUDistributedOptimizer', type(optimizer).__name__))


class NPUOptimizer(_Wrapper):
    def __init__(self, opt, loss_scale_manager=None, is_distributed=False, is_loss_scale=False,
                 is_tailing_optimization=False):
        super().__init__(opt)
        assert loss_scale_manager or not is_loss_scale
        self._is_distributed = is_distributed
        calls.append(('NPUOptimizer', type(opt).__name__, is_distributed, is_loss_scale,
                      is_tailing_optimization))

    def _reduce(self, gradient):
        return super()._reduce(gradient) if self._is_distributed else gradient


class _IterationPerLoop:
    def create_iteration_per_loop_var(self, train_op):
        assert isinstance(train_op, tf.Operation)
        calls.append(('create_iteration_per_loop_var', train_op.name))
        self._iterations = tf.get_variable('npu_runconfig/iterations_per_loop', [], tf.int64,
                                           tf.zeros_initializer(), trainable=False,
                                           collections=[tf.GraphKeys.LOCAL_VARIABLES])
        return tf.group(train_op, name='IterationOp')

    def load_iteration_per_loop_var(self, sess, iterations_per_loop=1):
        calls.append(('load_iteration_per_loop_var', iterations_per_loop))
        self._iterations.load(iterations_per_loop - 1, sess)


def _dropout(x, keep_prob):
    calls.append(('dropout', keep_prob))
    return tf.nn.dropout(x, rate=1 - keep_prob)


def _allreduce(tensor, reduction, fusion=1):
    """Every rank has the same tensor here."""
    calls.append(('allreduce', reduction) if fusion else ('allreduce alone', reduction))
    return tensor * float(os.environ['RANK_SIZE'])


def _broadcast(tensor, root_rank):
    assert isinstance(tensor, list)
    calls.append(('broadcast', tensor[0].op.name, root_rank))
    if os.environ.get('RANK_ID') == str(root_rank):
        return tensor
    return [tf.fill(tf.shape(tensor[0]), tf.cast(VALUE_ON_ROOT, tensor[0].dtype.base_dtype))]


util = SimpleNamespace(IterationPerLoop=_IterationPerLoop)
npu_ops = SimpleNamespace(dropout=_dropout)
hccl_ops = SimpleNamespace(allreduce=_allreduce, broadcast=_broadcast)
