"""What an operator of a TensorFlow graph becomes on an Ascend chip: its type, its task, the layout of its tensors.

Types are those of CANN 8 and later, so the D of 2021, as in ReduceMeanD, is gone. Spellings of data types are the
profiler's (msprof's number_mapping.cpp) and GE's (ge_ir.proto).
"""
import re
from typing import Iterable, Mapping, Optional, Set

import tensorflow as tf

from core.ascend.emulation import precision_rules

AI_CORE, VECTOR_CORE, AI_CPU, COMMUNICATION = 'AI_CORE', 'AI_VECTOR_CORE', 'AI_CPU', 'COMMUNICATION'
# data type -> its spelling in the profiler's files; any other is as TensorFlow spells it, in upper case
_OF_PROFILER = {'float32': 'FLOAT', 'float64': 'DOUBLE', 'bfloat16': 'DT_BF16'}
_OF_GE = {'float32': 'DT_FLOAT', 'float64': 'DT_DOUBLE', 'bfloat16': 'DT_BF16'}
_OLD_ENDING = re.compile(r'(?<=[a-z])D$')
# What GE computes when it compiles, or leaves out because it moves nothing: no task of the chip.
_NO_TASK = frozenset((
    'NoOp', 'Const', 'Placeholder', 'PlaceholderWithDefault', 'VariableV2', 'Variable', 'VarHandleOp', 'Identity',
    'IdentityN', 'Reshape', 'Squeeze', 'ExpandDims', 'StopGradient', 'PreventGradient', 'Snapshot', 'Shape', 'ShapeN',
    'Rank', 'Size', 'BroadcastGradientArgs', 'Switch', 'Merge', 'Enter', 'Exit', 'NextIteration', 'LoopCond',
    'RefSwitch', 'RefMerge', 'RefEnter', 'RefExit', 'RefIdentity', '_Arg', '_Retval', '_Send', '_Recv', '_HostSend',
    '_HostRecv', 'ControlTrigger', 'IteratorV2', 'OneShotIterator', 'MakeIterator'))
# What has no kernel for the AI Core.
_ON_AI_CPU = frozenset((
    'IteratorGetNext', 'RandomUniform', 'RandomUniformInt', 'RandomStandardNormal', 'TruncatedNormal',
    'StatelessRandomUniform', 'StatelessRandomNormal', 'StatelessTruncatedNormal', 'RandomShuffle', 'Multinomial',
    'Where', 'Unique', 'UniqueV2', 'Print', 'PyFunc', 'EagerPyFunc', 'Assert', 'Bincount', 'ListDiff',
    'TensorArrayV3', 'TensorArrayReadV3', 'TensorArrayWriteV3', 'TensorArrayGatherV3', 'TensorArrayScatterV3',
    'TensorArraySizeV3', 'StackV2', 'StackPushV2', 'StackPopV2'))
_COLLECTIVE = re.compile(r'Collective|Hcom')
# Operators between images and kernels -> the positions of the kernels among inputs and outputs.
_KERNEL_INPUTS = {'Conv2D': (1,), 'DepthwiseConv2dNative': (1,), 'Conv2DBackpropInput': (1,),
                  'DepthwiseConv2dNativeBackpropInput': (1,), 'Conv2DBackpropFilter': (),
                  'DepthwiseConv2dNativeBackpropFilter': ()}
_KERNEL_OUTPUTS = {'Conv2DBackpropFilter': (0,), 'DepthwiseConv2dNativeBackpropFilter': (0,)}


def chip_type(op_type: str) -> str:
    """The type of a TensorFlow operator type in GE's graph, dumps and profiles."""
    return _OLD_ENDING.sub('', precision_rules.IR_TYPES.get(op_type, op_type))


def is_cube(op_type: str) -> bool:
    """Whether the cube unit computes this TensorFlow operator type: convolutions and matrix products."""
    return precision_rules.IR_TYPES.get(op_type, op_type) in precision_rules.CUBE


def task_type(op_type: str, chip: str) -> Optional[str]:
    """Where a chip of table.CHIPS runs this TensorFlow operator type; None for what is no task.

    A 910 has its vector units in the AI Cores; later chips have cores of their own for them.
    """
    if op_type in _NO_TASK:
        return None
    if op_type in _ON_AI_CPU:
        return AI_CPU
    if _COLLECTIVE.match(op_type):
        return COMMUNICATION
    return AI_CORE if chip == '910' or is_cube(op_type) else VECTOR_CORE


def profiler_type(dtype: str) -> str:
    """FLOAT, FLOAT16, INT64, DT_BF16, ... for a type such as float32."""
    return _OF_PROFILER.get(dtype, dtype.upper())


def ge_type(dtype: str) -> str:
    """DT_FLOAT, DT_FLOAT16, DT_INT64, DT_BF16, ... for a type such as float32."""
    return _OF_GE.get(dtype, 'DT_' + dtype.upper())


def kernels(ops: Iterable[tf.Operation]) -> Set[tf.Tensor]:
    """The four-dimensional tensors of a graph that are laid out as kernels of convolutions, HWCN.

    Those are what convolutions take and give as kernels, and whatever is computed value by value from these or into
    these: gradients, weight decay, an optimizer's slots.
    """
    found: Set[tf.Tensor] = set()
    waiting = [op.inputs[i] for op in ops for i in _KERNEL_INPUTS.get(op.type, ())]
    waiting += [op.outputs[i] for op in ops for i in _KERNEL_OUTPUTS.get(op.type, ())]
    while waiting:
        kernel = waiting.pop()
        if kernel in found:
            continue
        found.add(kernel)
        waiting += [tensor for op in [kernel.op, *kernel.consumers()]
                    if op.type not in _KERNEL_INPUTS and any(_alike(output, kernel) for output in op.outputs)
                    for tensor in [*op.inputs, *op.outputs] if _alike(tensor, kernel)]
    return found


def _alike(one: tf.Tensor, other: tf.Tensor) -> bool:
    return one.shape.ndims == 4 and one.shape.as_list() == other.shape.as_list()


class Forms:
    """How the chip holds the tensors of a graph.

    narrow: {tensor: type} of what the emulation makes narrow.
    """

    def __init__(self, graph: tf.Graph, narrow: Mapping[tf.Tensor, str]):
        self._kernels, self._narrow = kernels(graph.get_operations()), narrow

    def data_type(self, tensor: tf.Tensor) -> str:
        """float32, float16, bfloat16, int64, ..."""
        return self._narrow.get(tensor, tensor.dtype.base_dtype.name)

    def layout(self, tensor: tf.Tensor, ndims: int) -> str:
        """ND, or the layout of a tensor of four dimensions: HWCN of a kernel, NHWC or NCHW of images."""
        if ndims != 4:
            return 'ND'
        if tensor in self._kernels:
            return 'HWCN'
        attributes = tensor.op.node_def.attr
        return attributes['data_format'].s.decode() if 'data_format' in attributes else 'NHWC'
