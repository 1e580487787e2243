"""What an operator of a TensorFlow graph becomes on an Ascend chip: its task, the types and layout of its tensors.

Spellings of data types are the profiler's (msprof's number_mapping.cpp) and GE's (ge_ir.proto).
"""
from typing import AbstractSet, Iterable, Mapping, Optional, Set

import tensorflow as tf

from core import operators
from core.ascend.diagnostics.step_graph import updated

AI_CORE, VECTOR_CORE, AI_CPU, COMMUNICATION = 'AI_CORE', 'AI_VECTOR_CORE', 'AI_CPU', 'COMMUNICATION'
# data type -> its spelling in the profiler's files; any other is as TensorFlow spells it, in upper case
_OF_PROFILER = {'float32': 'FLOAT', 'float64': 'DOUBLE', 'bfloat16': 'DT_BF16'}
_OF_GE = {'float32': 'DT_FLOAT', 'float64': 'DT_DOUBLE', 'bfloat16': 'DT_BF16'}


def chip_type(op_type: str) -> str:
    """The type of a TensorFlow operator type in GE's graph, dumps and profiles."""
    return operators.row(op_type).chip


def is_cube(op_type: str) -> bool:
    """Whether the cube unit computes this TensorFlow operator type: convolutions and matrix products."""
    return operators.row(op_type).unit == operators.CUBE


def task_type(op_type: str, chip: str) -> Optional[str]:
    """Where a chip of table.CHIPS runs this TensorFlow operator type; None for what is no task.

    A 910 has its vector units in the AI Cores; later chips have cores of their own for them.
    """
    unit = operators.row(op_type).unit
    of_vectors = AI_CORE if chip == '910' else VECTOR_CORE
    return {operators.CUBE: AI_CORE, operators.VECTOR: of_vectors, operators.AI_CPU: AI_CPU,
            operators.EXCHANGE: COMMUNICATION}.get(unit)


def profiler_type(dtype: str) -> str:
    """FLOAT, FLOAT16, INT64, DT_BF16, ... for a type such as float32."""
    return _OF_PROFILER.get(dtype, dtype.upper())


def ge_type(dtype: str) -> str:
    """DT_FLOAT, DT_FLOAT16, DT_INT64, DT_BF16, ... for a type such as float32."""
    return _OF_GE.get(dtype, 'DT_' + dtype.upper())


def kernels(ops: Iterable[tf.Operation]) -> Set[tf.Tensor]:
    """The four-dimensional tensors of a graph that are laid out as kernels of convolutions, HWCN.

    They are the kernels of convolutions, their gradients, and whatever is computed value by value from or into these:
    weight decay, an optimizer's slots.
    """
    found: Set[tf.Tensor] = set()
    waiting = [tensors[row.traits[trait]] for op in ops for row in [operators.row(op.type)]
               for trait, tensors in (('kernel_in', op.inputs), ('kernel_out', op.outputs)) if row.has(trait)]
    while waiting:
        kernel = waiting.pop()
        if kernel in found:
            continue
        found.add(kernel)
        waiting += [tensor for op in [kernel.op, *kernel.consumers()]
                    if not _is_convolution(op) and any(_alike(output, kernel) for output in op.outputs)
                    for tensor in [*op.inputs, *op.outputs] if _alike(tensor, kernel)]
    return found


def _is_convolution(op: tf.Operation) -> bool:
    row = operators.row(op.type)
    return row.has('kernel_in') or row.has('kernel_out')


def _alike(one: tf.Tensor, other: tf.Tensor) -> bool:
    return one.shape.ndims == 4 and one.shape.as_list() == other.shape.as_list()


class Forms:
    """How the chip holds the tensors of a graph.

    narrow: {tensor: type} of what the emulation makes narrow; wide: the operators for which the chip casts narrow
    operands to float32.
    """

    def __init__(self, graph: tf.Graph, narrow: Mapping[tf.Tensor, str], wide: AbstractSet[tf.Operation] = frozenset()):
        self._kernels, self._narrow, self._wide = kernels(graph.get_operations()), narrow, wide

    def data_type(self, tensor: tf.Tensor) -> str:
        """float32, float16, bfloat16, int64, ...; what an update leaves has the type of its variable."""
        tensor = operators.of_operator(tensor)
        return self._narrow.get(tensor) or self._narrow.get(updated(tensor.op)) or tensor.dtype.base_dtype.name

    def operand_type(self, op: tf.Operation, tensor: tf.Tensor) -> str:
        """The type in which an operator gets an operand."""
        return 'float32' if op in self._wide and tensor.dtype == tf.float32 else self.data_type(tensor)

    def layout(self, tensor: tf.Tensor, ndims: int) -> str:
        """ND, or the layout of a tensor of four dimensions: HWCN of a kernel, NHWC or NCHW of images."""
        if ndims != 4:
            return 'ND'
        tensor = operators.of_operator(tensor)
        if tensor in self._kernels:
            return 'HWCN'
        attributes = tensor.op.node_def.attr
        return attributes['data_format'].s.decode() if 'data_format' in attributes else 'NHWC'
