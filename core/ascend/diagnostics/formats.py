"""Layouts of tensors on an NPU, and the way back to the layout of a TensorFlow graph."""
from typing import Sequence

import numpy as np

NUMBERS = {'NCHW': 0, 'NHWC': 1, 'ND': 2, 'NC1HWC0': 3, 'FRACTAL_Z': 4, 'HWCN': 16, 'FRACTAL_NZ': 29}
_NAMES = {number: name for name, number in NUMBERS.items()}


def name(number: int) -> str:
    """The name of a format; `format N` where NUMBERS lacks it; values are then taken as they lie."""
    return _NAMES.get(number, 'format %d' % number)


def restore(array: np.ndarray, layout: str, shape: Sequence[int], original: str) -> np.ndarray:
    """`array` in `layout` as an array of `shape`, which the graph lays out as `original`.

    Padding of blocked layouts is cut off. An array that cannot be restored comes back as it is.
    """
    try:
        return _restored(array, layout, tuple(shape), original)
    except ValueError:             # the shape is no shape of such an array
        return array


def _restored(array, layout, shape, original):
    if layout == 'NC1HWC0' and array.ndim == 5 and len(shape) == 4:
        n, _, h, w, _ = array.shape
        images = np.moveaxis(array, 4, 2).reshape(n, -1, h, w)  # NCHW with padded channels
        if original == 'NHWC':
            return images[:, :shape[3]].transpose(0, 2, 3, 1)
        return images[:, :shape[1]] if original == 'NCHW' else array
    if layout == 'FRACTAL_NZ' and array.ndim >= 4 and len(shape) >= 2:
        columns, rows, height, width = array.shape[-4:]
        matrix = np.moveaxis(array, -4, -2).reshape(array.shape[:-4] + (rows * height, columns * width))
        return matrix[..., :shape[-2], :shape[-1]]
    if layout == 'FRACTAL_Z' and array.ndim == 4 and original == 'HWCN' and len(shape) == 4:
        h, w, channels, kernels = shape
        blocks = array.reshape(-1, h, w, array.shape[1] * array.shape[2], array.shape[3])  # C1 H W N C0
        kernel = blocks.transpose(1, 2, 0, 4, 3).reshape(h, w, -1, blocks.shape[3])
        return kernel[:, :, :channels, :kernels]
    return array.reshape(shape) if array.size == int(np.prod(shape, dtype=np.int64)) else array
