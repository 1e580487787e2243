"""The gradient of a convolution for CPUs, as forward convolutions and matrix products.

TensorFlow 1.15's stock CPU wheel runs Conv2DBackpropInput many times slower than a forward
convolution of the same size; it is two thirds of a CSPNet training step. The results are those of
TensorFlow's own gradient up to rounding.

Along each image axis, input position h meets kernel tap u at output i where
`h = stride * i + u - before`, `before` being the padding at the near edge.
"""
import collections
import itertools

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import nn_grad

# Up to this many output positions Conv2DBackpropFilter is slower than the swapped convolution.
SMALL_MAP = 16

Axis = collections.namedtuple('Axis', [
    'size',    # of the input
    'output',  # size of the output
    'stride',
    'before',  # padding at the near edge, as the taps in use see it
    'first',   # the taps in use are first, ..., first + taps - 1
    'taps',
    'unused',  # taps beyond these, which only ever meet padding
])


def fast_cpu_gradients():
    """Context manager: convolutions built inside it are differentiated by this module.

    To be entered around the building of a network that trains on a CPU, never for an NPU or GPU,
    whose own kernels are better.
    """
    return tf.get_default_graph().gradient_override_map({'Conv2D': 'FastCpuConv2D'})


@tf.RegisterGradient('FastCpuConv2D')
def _conv2d_gradient(op, dy):
    if not _is_covered(op):
        return nn_grad._Conv2DGrad(op, dy)
    x, kernel = op.inputs
    rows, columns = _axis(op, 1), _axis(op, 2)
    return _input_gradient(kernel, dy, rows, columns), _kernel_gradient(op, dy, rows, columns)


def _is_covered(op):
    x, kernel = op.inputs
    sizes = x.shape[1:].as_list() + kernel.shape.as_list()
    return (op.get_attr('data_format') == b'NHWC' and op.get_attr('padding') != b'EXPLICIT'
            and op.get_attr('dilations') == [1, 1, 1, 1] and None not in sizes)


def _axis(op, number):
    x, kernel = op.inputs
    size, output = x.shape[number].value, op.outputs[0].shape[number].value
    stride, taps = op.get_attr('strides')[number], kernel.shape[number - 1].value
    padding = max(stride * (output - 1) + taps - size, 0)
    before = padding // 2 if op.get_attr('padding') == b'SAME' else 0
    first = max(before - stride * (output - 1), 0)
    last = min(before + size, taps)
    return Axis(size, output, stride, before - first, first, last - first, taps - last)


def _input_gradient(kernel, dy, rows, columns):
    """Every input position as an output position of a stride-1 convolution of dy.

    Positions that differ by less than a stride meet different taps: they become channels of one
    convolution and are put in their places by depth_to_space.
    """
    stride = rows.stride
    pads = [[0, 0], _output_pads(rows), _output_pads(columns), [0, 0]]
    dx = tf.nn.conv2d(dy, _sub_pixel_kernel(kernel, rows, columns), 1, pads)
    if stride == 1:
        return dx
    top, left = rows.before % stride, columns.before % stride
    return tf.depth_to_space(dx, stride)[:, top:top + rows.size, left:left + columns.size]


def _sub_pixel_kernel(kernel, rows, columns):
    """The kernel rotated and transposed, [blocks, blocks, o, stride * stride * c]."""
    height, width, c, o = kernel.shape.as_list()
    taps = np.arange(height * width).reshape([height, width])
    taps = taps[rows.first:rows.first + rows.taps, columns.first:columns.first + columns.taps]
    kernel = tf.reshape(kernel, [height * width, c, o])

    def phase(top, left):
        chosen = taps[top::rows.stride, left::rows.stride][::-1, ::-1]
        spare = [[_blocks(axis) - size, 0] for axis, size in zip((rows, columns), chosen.shape)]
        chosen = tf.transpose(tf.gather(kernel, chosen), [0, 1, 3, 2])
        return tf.pad(chosen, spare + [[0, 0], [0, 0]])
    offsets = itertools.product(range(rows.stride), repeat=2)
    return tf.concat([phase(top, left) for top, left in offsets], -1)


def _blocks(axis):
    return -(-axis.taps // axis.stride)


def _output_pads(axis):
    skipped = axis.before // axis.stride
    end = -(-(axis.before + axis.size) // axis.stride)
    return [_blocks(axis) - 1 - skipped, end - axis.output]


def _kernel_gradient(op, dy, rows, columns):
    x, kernel = op.inputs
    c, o = kernel.shape[2:].as_list()
    if rows.taps == columns.taps == rows.stride == 1 or rows.output == columns.output == 1:
        patches = tf.reshape(x[:, :rows.taps, :columns.taps] if rows.output == 1 else x,
                             [-1, rows.taps * columns.taps * c])
        dk = tf.matmul(patches, tf.reshape(dy, [-1, o]), transpose_a=True)
        dk = tf.reshape(dk, [rows.taps, columns.taps, c, o])
    elif rows.stride == 1 or rows.output * columns.output <= SMALL_MAP:
        dk = _swapped_convolution(x, dy, rows, columns)
    else:
        return tf.nn.conv2d_backprop_filter(x, kernel.shape, dy, op.get_attr('strides'),
                                            op.get_attr('padding'))
    return tf.pad(dk, [[rows.first, rows.unused], [columns.first, columns.unused],
                       [0, 0], [0, 0]])


def _swapped_convolution(x, dy, rows, columns):
    """The kernel's gradient as the convolution of x with kernel dy, batch and channels swapped."""
    pads = [[axis.before, max(axis.stride * (axis.output - 1) + axis.taps - axis.size - axis.before, 0)]
            for axis in (rows, columns)]
    dk = tf.nn.conv2d(tf.transpose(x, [3, 1, 2, 0]), tf.transpose(dy, [1, 2, 0, 3]), 1,
                      [[0, 0]] + pads + [[0, 0]], dilations=[1, rows.stride, columns.stride, 1])
    return tf.transpose(dk[:, :rows.taps, :columns.taps], [1, 2, 0, 3])
