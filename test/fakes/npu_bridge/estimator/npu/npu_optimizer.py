"""npu_bridge.estimator.npu.npu_optimizer: gradients reduced over the ranks, a loss scale that asks the status."""
import tensorflow as tf
from npu_bridge import machine
from npu_bridge.estimator.npu import util
from npu_bridge.estimator.npu.npu_common import NPUBasics
from npu_bridge.hccl import hccl_ops


def allreduce(tensor, average=True):
    """The sum or mean over the ranks; of IndexedSlices by gathering them."""
    size = NPUBasics('').size()
    if isinstance(tensor, tf.IndexedSlices):
        values, indices = (hccl_ops.allgather(part, size) for part in (tensor.values, tensor.indices))
        return tf.IndexedSlices(values / tf.cast(size, values.dtype) if average else values, indices,
                                tensor.dense_shape)
    total = hccl_ops.allreduce(tensor, 'sum')
    return total / tf.cast(size, total.dtype) if average else total


class _Around(tf.train.Optimizer):
    """Around another optimizer, whose slots and variables are its own."""

    def __init__(self, opt, name):
        super().__init__(use_locking=False, name=name)
        self._opt = opt

    def get_slot(self, *args, **kwargs):
        return self._opt.get_slot(*args, **kwargs)

    def get_slot_names(self, *args, **kwargs):
        return self._opt.get_slot_names(*args, **kwargs)

    def variables(self, *args, **kwargs):
        return self._opt.variables(*args, **kwargs)


class NPUDistributedOptimizer(_Around):
    def __init__(self, optimizer, is_weight_update_sharding=False, name=None):
        super().__init__(optimizer, name or 'Distributed' + type(optimizer).__name__)
        machine.calls.append(('NPUDistributedOptimizer', type(optimizer).__name__))

    def compute_gradients(self, *args, **kwargs):
        gradients = self._opt.compute_gradients(*args, **kwargs)
        if int(util.get_rank_size()) <= 1:
            return gradients
        with tf.name_scope(self._name + '_Allreduce'):
            return [(allreduce(grad) if grad is not None else None, var) for grad, var in gradients]

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        return self._opt.apply_gradients(grads_and_vars, global_step, name)


class NPUOptimizer(_Around):
    """Asks the status register and never for the overflow mode, as the real one."""

    def __init__(self, opt, loss_scale_manager=None, is_distributed=False, is_loss_scale=False,
                 is_tailing_optimization=False, name=None):
        if is_loss_scale and loss_scale_manager is None:
            raise ValueError('is_loss_scale is True, loss_scale_manager can not be None')
        super().__init__(opt, name or 'NPUOptimizer' + type(opt).__name__)
        self._manager, self._is_distributed = loss_scale_manager, is_distributed
        self._is_loss_scale, self._is_tailing_optimization = is_loss_scale, is_tailing_optimization
        self._is_overall_finite = None
        machine.calls.append(('NPUOptimizer', type(opt).__name__, is_distributed, is_loss_scale,
                              is_tailing_optimization))

    def compute_gradients(self, loss, var_list=None, gate_gradients=tf.train.Optimizer.GATE_OP,
                          aggregation_method=None, colocate_gradients_with_ops=False, grad_loss=None):
        scale = self._manager.get_loss_scale() if self._is_loss_scale else None
        if self._is_loss_scale:
            loss = loss * tf.cast(scale, loss.dtype.base_dtype)
        gradients = self._opt.compute_gradients(loss, var_list, gate_gradients, aggregation_method,
                                                colocate_gradients_with_ops, grad_loss)
        if self._is_distributed:
            gradients = self._averaged(gradients)
        if not self._is_loss_scale:
            return gradients
        return [(grad / tf.cast(scale, grad.dtype) if grad is not None else None, var) for grad, var in gradients]

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        if not self._is_loss_scale:
            return self._opt.apply_gradients(grads_and_vars, global_step, name)
        if not self._is_tailing_optimization:
            self._reduce_all([grad for grad, _ in grads_and_vars])
        update = tf.cond(self._is_overall_finite,
                         lambda: self._opt.apply_gradients(grads_and_vars, global_step, name), tf.no_op)
        return tf.group(update, self._manager.update_loss_scale(self._is_overall_finite))

    def _averaged(self, gradients):
        """With tailing the last all-reduce waits for the status of all gradients."""
        averaged = []
        with tf.name_scope(self._name + '_Allreduce'):
            for grad, var in gradients:
                waits_for = []
                if self._is_loss_scale and self._is_tailing_optimization and len(averaged) + 1 == len(gradients):
                    self._reduce_all([grad for grad, _ in gradients])
                    waits_for = [self._is_overall_finite]
                with tf.control_dependencies(waits_for):
                    averaged.append((allreduce(grad) if grad is not None else None, var))
        return averaged

    def _reduce_all(self, grads):
        status = machine.float_status(grads)
        if self._is_distributed:
            status = hccl_ops.allreduce([status], 'sum', fusion=0)
        self._is_overall_finite = tf.reduce_all(tf.equal(status, 0))
