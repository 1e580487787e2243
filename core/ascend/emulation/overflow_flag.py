"""The overflow flag of a chip that saturates: whether a value of this step left the range of its type.

Saturated gradients are finite, so a loss scale cannot tell from them that a step is to be skipped. On the chip
npu_bridge's optimizer clears the flag (the float status) before a step and reads it when the gradients are there. Here
the flag is computed anew in each step and makes a gradient infinite, before ranks exchange the gradients; what skips
steps with infinite gradients then does the rest, on all ranks alike.
"""
from typing import Callable, Iterable, List, Optional, Set

import numpy as np
import tensorflow as tf

from core.ascend.diagnostics import step_graph
from core.ascend.diagnostics.step_graph import ROUNDING
from core.ascend.emulation.precision_rules import HF32, LARGEST
from core.device import LOSS_SCALE, OWN_GRADIENTS


def _leave_range(tensor: tf.Tensor) -> List[tf.Tensor]:
    """For each narrow type that a saturating emulation rounds `tensor` to, whether a value is beyond it or NaN.

    The kernel that rounds the tensor has looked already. Of the magnitudes that TensorFlow's operators take, the
    largest has the largest bits, and NaN has larger ones than infinity.
    """
    roundings = [op for op in tensor.consumers() if ROUNDING in op.name and ROUNDING + HF32 not in op.name]
    return [op.outputs[1] for op in roundings if op.type == 'RoundTo'] + [
        tf.reduce_max(tf.bitcast(op.outputs[0], tf.int32)) > np.float32(_largest(op)).view(np.int32)
        for op in roundings if op.type == 'Abs']


def _largest(op: tf.Operation) -> float:
    """The largest value of the type that `op` is a part of the rounding to."""
    return next(largest for dtype, largest in LARGEST.items() if ROUNDING + dtype in op.name)


def add(train_op: tf.Operation, rounded: Iterable[tf.Tensor]) -> Optional[tf.Tensor]:
    """Adds the flag to a graph; returns it, a bool scalar, or None where the graph has no loss scale.

    rounded: the tensors that are rounded. The flag is about those that a training step computes without waiting for its
    gradients, because the chip's flag is read before the weights are updated. A tensor inside a loop or a branch is not
    among them: it cannot be read from outside.
    """
    graph = train_op.graph
    gradients = graph.get_collection(OWN_GRADIENTS)
    if not gradients or not graph.get_collection(LOSS_SCALE):
        return None
    smallest = min(gradients, key=lambda tensor: tensor.shape.num_elements() or np.inf)
    before = _reached(tensor.op for tensor in gradients)
    forms = _rounded_forms(smallest)
    users = [op for tensor in forms for op in tensor.consumers() if op not in before and ROUNDING not in op.name]
    step = _reached([train_op]) - _reached(users, _users)
    seen = [tensor for tensor in rounded if tensor.op in step and tensor in step_graph.results(tensor.op)
            and tensor.op._get_control_flow_context() is None]
    with graph.as_default(), tf.control_dependencies(None), tf.name_scope(ROUNDING + 'overflow_flag'):
        flag = tf.reduce_any([leaves for tensor in seen for leaves in _leave_range(tensor)])
        flagged = {tensor: tensor + tf.where(flag, np.float32(np.inf), np.float32(0)) for tensor in forms}
    for op in users:
        for index, tensor in enumerate(op.inputs):
            if tensor in flagged:
                op._update_input(index, flagged[tensor])
    return flag


def _rounded_forms(tensor: tf.Tensor) -> List[tf.Tensor]:
    """`tensor` and what the emulation has made of it, which saturates."""
    forms = [tensor]
    for form in forms:
        forms += [output for op in form.consumers() if ROUNDING in op.name for output in op.outputs]
    return [form for form in forms if form.dtype == tf.float32]


def _sources(op: tf.Operation) -> Iterable[tf.Operation]:
    return [tensor.op for tensor in op.inputs] + list(op.control_inputs)


def _users(op: tf.Operation) -> Iterable[tf.Operation]:
    return [user for tensor in op.outputs for user in tensor.consumers()] + list(op._control_outputs)


def _reached(ops: Iterable[tf.Operation], following: Callable[[tf.Operation], Iterable[tf.Operation]] = _sources
             ) -> Set[tf.Operation]:
    """`ops` and all that `following` leads to from there; by default what they are computed from."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += following(op)
    return found
