"""Which operators an Ascend chip computes in float16, by precision mode and operator type.

The modes are those of `precision_mode` and `precision_mode_v2`; the lists are the `precision_reduce` flags of CANN's
operator information (docs/vendor-contract.md section 4): white operators take float16 in mixed precision, black ones
keep float32, all others are gray and follow the operator before them.
"""
from typing import Dict, FrozenSet, NamedTuple, Optional

from core.ascend import option_files

PLAIN, CUBE_ONLY, REDUCE, MIXED, FORCE = 'plain', 'cube_only', 'reduce', 'mixed', 'force'
# mode -> (what it does, the narrow type)
MODES = {
    'must_keep_origin_dtype': (PLAIN, None), 'origin': (PLAIN, None),
    'force_fp32': (CUBE_ONLY, 'float16'), 'cube_fp16in_fp32out': (CUBE_ONLY, 'float16'),
    'allow_fp32_to_fp16': (REDUCE, 'float16'), 'allow_fp32_to_bf16': (REDUCE, 'bfloat16'),
    'allow_mix_precision': (MIXED, 'float16'), 'allow_mix_precision_fp16': (MIXED, 'float16'),
    'mixed_float16': (MIXED, 'float16'),
    'allow_mix_precision_bf16': (MIXED, 'bfloat16'), 'mixed_bfloat16': (MIXED, 'bfloat16'),
    'force_fp16': (FORCE, 'float16'), 'fp16': (FORCE, 'float16'),
}

# TensorFlow operator type -> Ascend IR type, where they differ.
IR_TYPES = {
    'MatMul': 'MatMulV2', 'BatchMatMul': 'BatchMatMul', 'BatchMatMulV2': 'BatchMatMulV2', 'AddV2': 'Add',
    'Mean': 'ReduceMeanD', 'Sum': 'ReduceSumD', 'Max': 'ReduceMaxD', 'Prod': 'ReduceProdD', 'Softmax': 'SoftmaxV2',
    'LogSoftmax': 'LogSoftmaxV2', 'ApplyMomentum': 'ApplyMomentumD', 'ApplyAdam': 'ApplyAdamD',
    'DepthwiseConv2dNative': 'DepthwiseConv2D',
    'DepthwiseConv2dNativeBackpropFilter': 'DepthwiseConv2DBackpropFilterD',
    'DepthwiseConv2dNativeBackpropInput': 'DepthwiseConv2DBackpropInputD',
    'Conv2DBackpropInput': 'Conv2DBackpropInputD', 'Conv2DBackpropFilter': 'Conv2DBackpropFilterD',
    'FusedBatchNorm': 'BNTrainingUpdate', 'FusedBatchNormV2': 'BNTrainingUpdate',
    'FusedBatchNormV3': 'BNTrainingUpdate',
    'FusedBatchNormGrad': 'BNTrainingReduceGrad', 'FusedBatchNormGradV2': 'BNTrainingReduceGrad',
    'FusedBatchNormGradV3': 'BNTrainingReduceGrad', 'MaxPoolGrad': 'MaxPoolGrad', 'AvgPoolGrad': 'AvgPoolGradD',
    'LeakyReluGrad': 'LeakyReluGrad', 'SparseSoftmaxCrossEntropyWithLogits': 'SoftmaxCrossEntropyWithLogits',
}
CUBE = frozenset((
    'MatMulV2', 'BatchMatMul', 'BatchMatMulV2', 'Conv2D', 'Conv2DBackpropFilterD', 'Conv2DBackpropInputD',
    'DepthwiseConv2D', 'DepthwiseConv2DBackpropFilterD', 'DepthwiseConv2DBackpropInputD', 'Conv3D',
    'Conv3DBackpropFilterV2', 'Conv3DBackpropInputV2'))
# Gradients of kernels leave the cube unit in float32, whatever the mode.
FLOAT32_OUTPUT = frozenset(('Conv2DBackpropFilterD', 'DepthwiseConv2DBackpropFilterD', 'Conv3DBackpropFilterV2'))
# Operators for which a chip has float16 kernels only.
FLOAT16_ONLY = {'910': frozenset(('MaxPool', 'MaxPoolGrad', 'AvgPool', 'AvgPoolGradD')), '910B': frozenset()}
# Operators without a float32 kernel: in a mode that keeps float32 they stop the run.
NO_FLOAT32 = {'910': FLOAT16_ONLY['910'] | {
    'Conv2D', 'Conv2DBackpropFilterD', 'Conv2DBackpropInputD', 'DepthwiseConv2D', 'DepthwiseConv2DBackpropFilterD',
    'DepthwiseConv2DBackpropInputD'}, '910B': frozenset()}
# Statistics of a batch norm stay float32: only the first output follows the input.
FIRST_OUTPUT_ONLY = frozenset(('BNTrainingUpdate', 'BNTrainingReduceGrad'))

_WHITE = CUBE | frozenset(('ReluGradV2',))
_BLACK = frozenset((
    'ApplyAdamD', 'ApplyGradientDescent', 'ApplyKerasMomentumD', 'ApplyMomentumD', 'BiasAddGrad', 'Expm1', 'Log',
    'Log1p', 'FusedMulApplyMomentum', 'L2Loss', 'LogSoftmaxV2', 'Pow', 'Power', 'ReduceMeanD', 'ReduceProdD',
    'ReduceSum', 'SigmoidCrossEntropyWithLogits', 'SoftmaxGrad', 'SquareSumAll', 'SquareSumV1', 'SquareSumV2',
    'UnsortedSegmentProdD', 'UnsortedSegmentSumD', 'Xlogy'))
WHITE_LISTS = {'910': _WHITE, '910B': _WHITE - {'DepthwiseConv2D'}}
BLACK_LISTS = {'910': _BLACK, '910B': _BLACK}


HF32 = 'hf32'                  # float32 with 10 bits of the fraction, as the cube of later chips may take its operands
_CONVOLUTIONS = frozenset(ir_type for ir_type in CUBE if 'MatMul' not in ir_type)


class Rules(NamedTuple):
    """Everything that decides the type of an operator."""
    action: str                    # PLAIN, CUBE_ONLY, REDUCE, MIXED or FORCE
    narrow: Optional[str]          # float16 or bfloat16; None in a plain mode
    white: FrozenSet[str]
    black: FrozenSet[str]
    float16_only: FrozenSet[str]
    saturates: bool                # values beyond the range become the largest finite one, not inf
    customized: Dict[str, 'Dtypes']     # operator's name, or OpType::TYPE -> its types
    hf32: FrozenSet[str]           # IR types whose float32 operands are rounded to HF32

    @property
    def changes_nothing(self) -> bool:
        """Whether every operator computes in the types that the graph has."""
        return self.action == PLAIN and not self.hf32

    def colour(self, ir_type: str) -> str:
        """white, black or gray."""
        return 'white' if ir_type in self.white else 'black' if ir_type in self.black else 'gray'

    def custom(self, name: str, ir_type: str) -> Optional['Dtypes']:
        """What customize_dtypes says of an operator; its name wins over its type."""
        return self.customized.get(name, self.customized.get('OpType::' + ir_type))


class Dtypes(NamedTuple):
    """A line of a customize_dtypes file: the types of an operator's inputs and outputs, in order."""
    inputs: tuple
    outputs: tuple


def rules(mode: str, chip: str, saturates: bool, mixlist_file: Optional[str] = None,
          customize_dtypes: Optional[str] = None, enable_hf32: Optional[bool] = None) -> Rules:
    """The Rules of a mode on a chip; the two files have been checked when the flags were read.

    enable_hf32: HF32 for all cube operators (True) or none; None: for convolutions, as CANN does. A 910 has none.
    """
    action, narrow = MODES[mode]
    white, black = set(WHITE_LISTS[chip]), set(BLACK_LISTS[chip])
    if mixlist_file and action == MIXED:
        white, black = _changed(mixlist_file, white, black)
    custom = _customized(customize_dtypes) if customize_dtypes and action != PLAIN else {}
    return Rules(action, narrow, frozenset(white), frozenset(black), FLOAT16_ONLY[chip], saturates, custom,
                 frozenset() if chip == '910' else {None: _CONVOLUTIONS, True: CUBE, False: frozenset()}[enable_hf32])


def _changed(path: str, white: set, black: set):
    """The lists after the changes in a modify_mixlist file; a removed operator becomes gray."""
    changes = option_files.mixlist(path)
    for name, types in (('white-list', white), ('black-list', black)):
        types -= set(changes.get(name, {}).get('to-remove', ()))
    for name, types, other in (('white-list', white, black), ('black-list', black, white)):
        added = set(changes.get(name, {}).get('to-add', ()))
        types |= added
        other -= added
    gray = set(changes.get('gray-list', {}).get('to-add', ()))
    return white - gray, black - gray


def _customized(path: str) -> Dict[str, Dtypes]:
    return {('OpType::' + line.name if line.is_type else line.name): Dtypes(line.inputs, line.outputs)
            for line in option_files.custom_dtypes(path)}
