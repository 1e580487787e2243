"""Fast gradients on a CPU: of convolutions, as forward convolutions and matrix products, and of LRN.

TensorFlow 1.15's stock CPU wheel runs Conv2DBackpropInput many times slower than a forward convolution of the same
size; it takes seven tenths of a training step of a network of small convolutions. The results here are those of
TensorFlow's own operators up to rounding, and the same in every run. They take the place of those operators when the
graph is complete, so what an emulation has put around an operator stays there.

Along each image axis, kernel tap u of output position i reads input position h = stride * i + u - before.
"""
import contextlib
import itertools
from typing import Iterable, Iterator, NamedTuple

import numpy as np
import tensorflow as tf

from core.cpu.kernels import replace
from core.operators import stand_for

# Where the swapped convolution is faster than Conv2DBackpropFilter, measured on the stock wheel:
# with a stride, on maps of at most SMALL_MAP output positions (batch 64);
# without, unless a map has LARGE_MAP output positions and MANY_CHANNELS output channels, or more (batch 96, 192).
SMALL_MAP = 16
LARGE_MAP, MANY_CHANNELS = 1024, 64


class Axis(NamedTuple):
    """One image axis of a convolution, without the kernel taps that never read anything but padding."""
    size: int    # of the input
    output: int  # size of the output
    stride: int
    before: int  # padding at the near edge
    first: int   # index of the first tap in use; the taps in use are first, ..., first + taps - 1
    taps: int    # number of taps in use
    unused: int  # number of taps after those in use


@contextlib.contextmanager
def fast_cpu_gradients() -> Iterator[None]:
    """A context in which a graph is built that then has this module's gradients of convolutions and LRNs.

    Convolutions with dilation, explicit padding, NCHW or an image size unknown before the run, and what is in a loop,
    keep TensorFlow's own.
    """
    graph = tf.get_default_graph()
    others = set(graph.get_operations())
    yield
    replace_gradients(op for op in graph.get_operations() if op not in others)


def replace_gradients(ops: Iterable[tf.Operation]) -> None:
    """Gives those that take the results of `ops`, of a graph that is complete, this module's gradients instead."""
    replaced = {}
    for op in ops:
        if op.type in _MADE and op._get_control_flow_context() is None:
            with op.graph.as_default(), tf.name_scope(op.name + '/'):
                gradient = _MADE[op.type](op)
            if gradient is not None:
                replace(op.outputs[0], gradient)
                stand_for(gradient, op.outputs[0])
                replaced[op] = gradient.op
    for user in {user for op in replaced for user in op._control_outputs}:
        controls = [replaced.get(control, control) for control in user.control_inputs]
        user._remove_all_control_inputs()
        user._add_control_inputs(controls)


def _axes(op, x, kernel, output):
    """The two image axes of the convolution that `op` is a gradient of, by the shapes of its tensors; None where this
    module does not cover it.
    """
    _, down, right, _ = op.get_attr('strides')
    if (op.get_attr('data_format') != b'NHWC' or op.get_attr('padding') == b'EXPLICIT'
            or op.get_attr('dilations') != [1, 1, 1, 1] or down != right
            or None in x.as_list()[1:] + kernel.as_list() + output.as_list()[1:]):
        return None
    return [_axis(op, number, *(shape.dims[axis].value for shape, axis in (
        (x, number), (kernel, number - 1), (output, number)))) for number in (1, 2)]


def _axis(op, number, size, taps, output):
    stride = op.get_attr('strides')[number]
    padding = max(stride * (output - 1) + taps - size, 0)
    before = padding // 2 if op.get_attr('padding') == b'SAME' else 0
    first = max(before - stride * (output - 1), 0)
    last = min(before + size, taps)
    return Axis(size, output, stride, before - first, first, last - first, taps - last)


def _input_gradient(op):
    """The gradient of the input: every input position is an output position of a stride-1 convolution of dy.

    Input positions within one stride are read by different taps. They are computed as channels of one convolution,
    which depth_to_space turns into positions.
    """
    _, kernel, dy = op.inputs
    axes = _axes(op, op.outputs[0].shape, kernel.shape, dy.shape)
    if axes is None:
        return None
    rows, columns = axes
    kernel = _sub_pixel_kernel(kernel, rows, columns)
    pads = [[0, 0], _output_pads(rows), _output_pads(columns), [0, 0]]
    dx = tf.nn.conv2d(dy, kernel, 1, pads)
    if rows.stride == 1:
        return dx
    top, left = rows.before % rows.stride, columns.before % columns.stride
    dx = tf.depth_to_space(dx, rows.stride)
    return dx[:, top:top + rows.size, left:left + columns.size]


def _sub_pixel_kernel(kernel, rows, columns):
    """The kernel of that convolution: the taps in use, rotated and transposed, [blocks, blocks, o, stride^2 * c]."""
    height, width, c, o = kernel.shape.as_list()
    numbers = np.arange(height * width).reshape([height, width])
    numbers = numbers[rows.first:rows.first + rows.taps,
                      columns.first:columns.first + columns.taps]
    kernel = tf.reshape(kernel, [height * width, c, o])

    def phase(top, left):
        met = numbers[top::rows.stride, left::columns.stride][::-1, ::-1]
        missing = [[_blocks(axis) - taps, 0] for axis, taps in zip((rows, columns), met.shape)]
        taps = tf.transpose(tf.gather(kernel, met), [0, 1, 3, 2])
        return tf.pad(taps, missing + [[0, 0], [0, 0]])

    offsets = itertools.product(range(rows.stride), range(columns.stride))
    return tf.concat([phase(top, left) for top, left in offsets], -1)


def _blocks(axis):
    return -(-axis.taps // axis.stride)


def _output_pads(axis):
    last = -(-(axis.before + axis.size) // axis.stride)
    return [_blocks(axis) - 1 - axis.before // axis.stride, last - axis.output]


def _is_swapped(stride, positions, channels):
    if stride == 1:
        return positions < LARGE_MAP or channels < MANY_CHANNELS
    return positions <= SMALL_MAP


def _kernel_gradient(op):
    x, _, dy = op.inputs
    axes = _axes(op, x.shape, op.outputs[0].shape, dy.shape)
    if axes is None:
        return None
    rows, columns = axes
    c, o = op.outputs[0].shape[2:].as_list()
    if rows.output == columns.output == 1:
        dk = _product(x[:, :rows.taps, :columns.taps], dy, rows.taps * columns.taps * c)
    elif rows.taps == columns.taps == rows.stride == 1:
        dk = _product(x, dy, c)
    elif _is_swapped(rows.stride, rows.output * columns.output, o):
        dk = _swapped_convolution(x, dy, rows, columns)
    else:
        return None
    dk = tf.reshape(dk, [rows.taps, columns.taps, c, o])
    return tf.pad(dk, [[rows.first, rows.unused], [columns.first, columns.unused],
                       [0, 0], [0, 0]])


def _product(x, dy, size):
    """The gradient of the kernel as one matrix product, where each output position reads `size` inputs of its own."""
    return tf.matmul(tf.reshape(x, [-1, size]), tf.reshape(dy, [-1, dy.shape[3]]),
                     transpose_a=True)


def _swapped_convolution(x, dy, rows, columns):
    """The gradient of the kernel: x convolved with dy as the kernel, with batch and channels swapped in both."""
    pads = [[axis.before, max(0, axis.stride * (axis.output - 1) + axis.taps - axis.size
                              - axis.before)] for axis in (rows, columns)]
    dk = tf.nn.conv2d(tf.transpose(x, [3, 1, 2, 0]), tf.transpose(dy, [1, 2, 0, 3]), 1,
                      [[0, 0]] + pads + [[0, 0]], dilations=[1, rows.stride, columns.stride, 1])
    return tf.transpose(dk[:, :rows.taps, :columns.taps], [1, 2, 0, 3])


def _lrn_gradient(op):
    """The gradient of y = x * s ** -beta with s = bias + alpha * (sum of squares over the channels in the radius)."""
    dy, x, y = (tf.cast(maps, tf.float32) for maps in op.inputs)
    radius, bias, alpha, beta = (op.get_attr(name) for name in ('depth_radius', 'bias', 'alpha', 'beta'))
    channels = x.shape[3].value
    near = abs(np.subtract.outer(np.arange(channels), np.arange(channels))) <= radius

    def sum_of_neighbours(maps, factor):
        return tf.reshape(tf.matmul(tf.reshape(maps, [-1, channels]), tf.constant(factor * near, tf.float32)),
                          tf.shape(maps))
    s = bias + sum_of_neighbours(tf.square(x), alpha)
    dx = dy * tf.exp(-beta * tf.log(s)) + x * sum_of_neighbours(dy * y / s, -2 * alpha * beta)
    return tf.cast(dx, op.inputs[0].dtype)


_MADE = {'Conv2DBackpropInput': _input_gradient, 'Conv2DBackpropFilter': _kernel_gradient, 'LRNGrad': _lrn_gradient}
