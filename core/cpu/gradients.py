"""Fast gradients on a CPU: of convolutions, as forward convolutions and matrix products, and of LRN.

TensorFlow 1.15's stock CPU wheel runs Conv2DBackpropInput many times slower than a forward convolution of the same
size; it takes seven tenths of a training step of a network of small convolutions. The results here are those of
TensorFlow's own gradient up to rounding, and the same in every run.

Along each image axis, kernel tap u of output position i reads input position h = stride * i + u - before.
"""
import itertools
from typing import ContextManager, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import nn_grad

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


def fast_cpu_gradients() -> ContextManager:
    """A context in which convolutions and LRNs get the gradients of this module, for graphs that a CPU trains.

    Convolutions with dilation, explicit padding, NCHW or an image size unknown before the run keep TensorFlow's own.
    """
    return tf.get_default_graph().gradient_override_map({'Conv2D': 'FastCpuConv2D', 'LRN': 'FastCpuLRN'})


@tf.RegisterGradient('FastCpuConv2D')
def _conv2d_gradient(op, dy):
    if not _is_covered(op):
        return nn_grad._Conv2DGrad(op, dy)
    rows, columns = _axis(op, 1), _axis(op, 2)
    return _input_gradient(op, dy, rows, columns), _kernel_gradient(op, dy, rows, columns)


def _is_covered(op):
    x, kernel = op.inputs
    _, down, right, _ = op.get_attr('strides')
    return (op.get_attr('data_format') == b'NHWC' and op.get_attr('padding') != b'EXPLICIT'
            and op.get_attr('dilations') == [1, 1, 1, 1] and down == right
            and None not in x.shape[1:].as_list() + kernel.shape.as_list())


def _axis(op, number):
    x, kernel = op.inputs
    size, output = x.shape[number].value, op.outputs[0].shape[number].value
    stride, taps = op.get_attr('strides')[number], kernel.shape[number - 1].value
    padding = max(stride * (output - 1) + taps - size, 0)
    before = padding // 2 if op.get_attr('padding') == b'SAME' else 0
    first = max(before - stride * (output - 1), 0)
    last = min(before + size, taps)
    return Axis(size, output, stride, before - first, first, last - first, taps - last)


def _input_gradient(op, dy, rows, columns):
    """The gradient of the input: every input position is an output position of a stride-1 convolution of dy.

    Input positions within one stride are read by different taps. They are computed as channels of one convolution,
    which depth_to_space turns into positions.
    """
    kernel = _sub_pixel_kernel(op.inputs[1], rows, columns)
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


def _kernel_gradient(op, dy, rows, columns):
    x, kernel = op.inputs
    c, o = kernel.shape[2:].as_list()
    if rows.output == columns.output == 1:
        dk = _product(x[:, :rows.taps, :columns.taps], dy, rows.taps * columns.taps * c)
    elif rows.taps == columns.taps == rows.stride == 1:
        dk = _product(x, dy, c)
    elif _is_swapped(rows.stride, rows.output * columns.output, o):
        dk = _swapped_convolution(x, dy, rows, columns)
    else:
        return tf.nn.conv2d_backprop_filter(x, kernel.shape, dy, op.get_attr('strides'),
                                            op.get_attr('padding'))
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


@tf.RegisterGradient('FastCpuLRN')
def _lrn_gradient(op, dy):
    """The gradient of y = x * s ** -beta with s = bias + alpha * (sum of squares over the channels in the radius)."""
    x, y, dy = (tf.cast(maps, tf.float32) for maps in (op.inputs[0], op.outputs[0], dy))
    radius, bias, alpha, beta = (op.get_attr(name) for name in ('depth_radius', 'bias', 'alpha', 'beta'))
    channels = x.shape[3].value
    near = abs(np.subtract.outer(np.arange(channels), np.arange(channels))) <= radius

    def sum_of_neighbours(maps, factor):
        return tf.reshape(tf.matmul(tf.reshape(maps, [-1, channels]), tf.constant(factor * near, tf.float32)),
                          tf.shape(maps))
    s = bias + sum_of_neighbours(tf.square(x), alpha)
    dx = dy * tf.exp(-beta * tf.log(s)) + x * sum_of_neighbours(dy * y / s, -2 * alpha * beta)
    return tf.cast(dx, op.inputs[0].dtype)
