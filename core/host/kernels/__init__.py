"""Kernels for the CPU that are compiled for this machine: convolutions and matrix products of oneDNN, and layers in one
pass over their tensors.

launchers/shell/kernels.sh compiles the C++ files of this directory when the project is set up. A kernel has the label
"fast" and the name and semantics of one of TensorFlow's own operators, so the graph is that of every other device and
TensorFlow's gradients apply. Where the library is missing, because there is no compiler or the machine is another one
than it was compiled for, the graph keeps TensorFlow's kernels.
"""
import contextlib
import functools
import os
from typing import Any, Iterator, Optional

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue

from core.operators import replaced

DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, '.kernels')
_LABEL = AttrValue(s=b'fast')
_TYPES = frozenset([
    'BiasAdd', 'BiasAddGrad', 'Conv2D', 'Conv2DBackpropFilter', 'Conv2DBackpropInput', 'FusedBatchNormGradV3',
    'FusedBatchNormV3', 'LRN', 'LRNGrad', 'LeakyRelu', 'LeakyReluGrad', 'MatMul', 'MaxPoolGrad', 'Relu', 'ReluGrad'])
# How long a thread of OpenMP waits for the next operator before it sleeps. The default is to wait for a very long time,
# which takes the cores from all other processes and from TensorFlow's own threads.
_SPIN_COUNT = '1000'


@functools.lru_cache(maxsize=None)
def library() -> Optional[Any]:
    """The module of the library's operators, which this call loads; None without a library for this machine."""
    try:
        with open(os.path.join(DIRECTORY, 'cpu')) as file:
            if file.read().strip() != cpu_flags():
                return None
    except OSError:
        return None
    os.environ.setdefault('GOMP_SPINCOUNT', _SPIN_COUNT)
    return tf.load_op_library(os.path.join(DIRECTORY, 'kernels.so'))


def cpu_flags() -> str:
    """The instruction sets of this machine's CPU, as /proc/cpuinfo names them."""
    with open('/proc/cpuinfo') as lines:
        return next((line.strip() for line in lines if line.startswith('flags')), '')


@contextlib.contextmanager
def used(own_operators: bool) -> Iterator[None]:
    """The context in which a graph is built that then has the library's kernels; there must be a library().

    own_operators: whether the graph may have operators that TensorFlow itself does not have.
    """
    with replaced({'mish': library().mish} if own_operators else {}):
        yield
    for op in tf.get_default_graph().get_operations():
        if op.type in _TYPES and op.get_attr('T') == tf.float32 and _data_format(op) == b'NHWC':
            op._set_attr('_kernel', _LABEL)


def _data_format(op):
    return op.get_attr('data_format') if 'data_format' in op.node_def.attr else b'NHWC'


@tf.RegisterGradient('Mish')
def _mish_gradient(op, dy):
    return library().mish_grad(dy, op.inputs[0])
