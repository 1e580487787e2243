"""How fast a chip can compute a training step at best: operations, bytes and a roofline time of every operator.

An operator takes as long as its operations need at the peak of its unit, or its bytes at the bandwidth of the memory,
whichever is longer (Williams, Waterman and Patterson 2009). On the chip it takes longer, because launches, waits and
tiles that do not fit are left out here. Shapes are the graph's, types the chip's.
"""
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow as tf

from core import operators
from core.ascend.chip_operators import Forms, chip_type
from core.ascend.diagnostics import step_graph

CHANNELS = 16                  # the cube takes channels, rows and columns in blocks of so many
MEMORY = 'memory'              # what bounds an operator, beside the units operators.CUBE and operators.VECTOR


class Peaks(NamedTuple):
    """What a chip does in a second at best."""
    cube: float                    # operations, a multiplication and an addition being two, of float16 operands
    cube_float32: float            # of float32 operands; 0: it has no such kernels
    vector: float                  # values of two bytes that a vector unit computes
    memory: float                  # bytes to or from the memory
    source: str


def _peaks(cores, vector_cores, gigahertz, float32, source):
    """Of 16 x 16 x 16 products a cycle and core, 128 values of two bytes a cycle and vector unit, 32 bytes a cycle and
    core: cube_*_size, vec_calc_size and ddr_rate of CANN's platform_config."""
    cube = cores * 2 * 16 ** 3 * gigahertz * 1e9
    return Peaks(cube, cube * float32, vector_cores * 128 * gigahertz * 1e9, cores * 32 * gigahertz * 1e9, source)


# At which rate a cube takes float32 operands is in none of these files. It is taken for a quarter, because products of
# 4096 x 4096 float32 matrices were measured at 84.5 TFLOP/s on a 910B2, of which a quarter of the float16 peak is 88.5
# (github.com/zzc0721/torch-performance-test-data, issue 109).
PEAKS = {'910': _peaks(32, 32, 1., 0., 'platform_config/Ascend910A.ini of CANN: 32 cores at 1.0 GHz'),
         '910B': _peaks(24, 48, 1.85, .25, 'platform_config/Ascend910B1.ini of CANN: 24 cores at 1.85 GHz; float32 at '
                                           'a quarter of the rate of float16, as measured')}


class Cost(NamedTuple):
    """An operator of a training step."""
    op: tf.Operation
    type: str                      # on the chip
    unit: str                      # operators.CUBE or operators.VECTOR
    operations: float              # that the network needs
    padded: float                  # that the cube computes, its channels padded
    bytes: float                   # in its operands and results, with channels padded
    seconds: Dict[str, float]      # {chip: roofline time}
    bound: Dict[str, str]          # {chip: what it waits for: cube, vector or memory}


def costs(ops: Iterable[tf.Operation], forms: Forms) -> List[Cost]:
    """The Cost of each operator that is a task of the cube or of the vector units; forms: types and layouts."""
    return [_cost(op, forms) for op in ops
            if step_graph.ROUNDING not in op.name and operators.row(op.type).unit in (operators.CUBE, operators.VECTOR)
            and any(tensor.dtype.base_dtype.is_floating or tensor.dtype.is_integer for tensor in op.outputs)]


def _cost(op, forms):
    unit = operators.row(op.type).unit
    types = [*(forms.operand_type(op, tensor) for tensor in op.inputs), *map(forms.data_type, op.outputs)]
    shapes = [_shape(step_graph.before_rounding(tensor)) for tensor in op.inputs] + [_shape(t) for t in op.outputs]
    layouts = [forms.layout(tensor, len(shape)) for tensor, shape in zip([*op.inputs, *op.outputs], shapes)]
    size = sum(_count(_padded(shape, layout)) * _bytes(dtype) for shape, layout, dtype in zip(shapes, layouts, types))
    if unit == operators.CUBE:
        asked, padded = products(*_matrices(op))
    else:
        asked = padded = float(max(map(_count, shapes), default=0))
    seconds, bound = {}, {}
    for name, chip in PEAKS.items():
        seconds[name], bound[name] = _time(chip, unit, padded, size, 'float32' in types[:1])
    return Cost(op, chip_type(op.type), unit, asked, padded, float(size), seconds, bound)


def _time(chip: Peaks, unit: str, operations: float, size: float, is_float32: bool) -> Tuple[float, str]:
    if unit == operators.CUBE:
        computing = operations / (chip.cube_float32 if is_float32 and chip.cube_float32 else chip.cube)
    else:
        computing = operations / (chip.vector / 2 if is_float32 else chip.vector)
    moving = size / chip.memory
    return (computing, unit) if computing > moving else (moving, MEMORY)


def products(rows: Sequence[int], inner: Sequence[int], columns: Sequence[int],
             batches: int = 1) -> Tuple[float, float]:
    """(operations, operations with each size padded) of a matrix product of `rows` x `inner` by `inner` x `columns`.

    Each is a tuple of factors, of which the last one is padded: a kernel's height, width and channels.
    """
    asked = padded = 2. * batches
    for factors in rows, inner, columns:
        asked *= _count(factors)
        padded *= _count(factors[:-1]) * _up(factors[-1])
    return asked, padded


def _matrices(op: tf.Operation) -> Tuple[Tuple[int, ...], Tuple[int, ...], Tuple[int, ...], int]:
    """The (rows, inner, columns, batches) of a cube operator as a matrix product."""
    shapes = [_shape(step_graph.before_rounding(tensor)) for tensor in op.inputs]
    result = _shape(op.outputs[0])
    if op.type in ('MatMul', 'BatchMatMul', 'BatchMatMulV2'):
        transposed = op.get_attr('transpose_a' if op.type == 'MatMul' else 'adj_x')
        inner = shapes[0][-2 if transposed else -1]
        return (result[-2],), (inner,), (result[-1],), _count(result[:-2])
    kinds = operators.row(op.type).traits
    kernel = shapes[kinds['kernel_in']] if 'kernel_in' in kinds else result if 'kernel_out' in kinds else (
        shapes[1] if len(shapes) > 1 and len(shapes[1]) == len(result) else result)
    # Both backward operators get the gradient of the convolution's result, which has its positions and channels.
    images = result if op.type in ('Conv2D', 'Conv3D', 'DepthwiseConv2dNative') else shapes[-1]
    if op.type.startswith('Depthwise'):
        return (_count(images[:-1]),), tuple(kernel[:-2]) + (1,), (images[-1],), 1
    return (_count(images[:-1]),), tuple(kernel[:-1]), (kernel[-1],), 1


def _shape(tensor: tf.Tensor) -> Tuple[int, ...]:
    """The static shape; what is not known counts as 1."""
    return tuple(size or 1 for size in tensor.shape.as_list()) if tensor.shape.ndims else ()


def _padded(shape: Sequence[int], layout: str) -> Tuple[int, ...]:
    """The shape as it lies in the memory of the chip: NC1HWC0 for images, FRACTAL_Z for kernels."""
    if layout == 'NHWC':
        return (*shape[:3], _up(shape[3]))
    if layout == 'HWCN':
        return (*shape[:2], _up(shape[2]), _up(shape[3]))
    return tuple(shape)


def _up(size: int) -> int:
    return -(-size // CHANNELS) * CHANNELS


def _count(shape: Sequence[int]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


def _bytes(dtype: str) -> int:
    return {'float16': 2, 'bfloat16': 2}.get(dtype) or (tf.as_dtype(dtype).size if dtype not in (
        'string', 'resource', 'variant') else 0)


class TotalCost(NamedTuple):
    """A training step on a chip."""
    seconds: float
    parts: Dict[str, float]        # {cube, vector, memory: seconds of operators that this bounds}
    units: Dict[str, float]        # {cube, vector: seconds of the operators of this unit}
    padding: float                 # operations of the cube with padded channels / operations that the network needs
    tasks: int


def total(found: Sequence[Cost], chip: str) -> TotalCost:
    """The sum of the operators, one after the other."""
    parts = {bound: sum(one.seconds[chip] for one in found if one.bound[chip] == bound)
             for bound in (operators.CUBE, operators.VECTOR, MEMORY)}
    units = {unit: sum(one.seconds[chip] for one in found if one.unit == unit)
             for unit in (operators.CUBE, operators.VECTOR)}
    cube = [one for one in found if one.unit == operators.CUBE]
    asked = sum(one.operations for one in cube)
    padding = sum(one.padded for one in cube) / asked if asked else 1.
    return TotalCost(sum(parts.values()), parts, units, padding, len(found))


def by_type(found: Sequence[Cost], chip: str) -> List[Tuple[str, List[Cost]]]:
    """The operators of each type; the type that takes longest comes first."""
    groups: Dict[str, List[Cost]] = {}
    for one in found:
        groups.setdefault(one.type, []).append(one)
    return sorted(groups.items(), key=lambda item: -sum(one.seconds[chip] for one in item[1]))


def most_padded(found: Sequence[Cost], chip: str) -> Optional[Cost]:
    """The cube operator that padding costs most time; None where it costs none."""
    padded = [one for one in found if one.unit == operators.CUBE and one.padded > one.operations]
    return max(padded, key=lambda one: one.seconds[chip] * (1 - one.operations / one.padded), default=None)
