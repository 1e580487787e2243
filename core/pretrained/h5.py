"""HDF5 files of weights: a data set for each variable, by its path, and what is known of the run as attributes.

Keras writes them in groups, one for each layer, whose attribute weight_names has the paths of the variables.
"""
import functools
import operator
import os
import re
from typing import Any, Dict, List, Mapping

import numpy as np

from core import files
from core.errors import InputError
from core.run import Reader

SUFFIX = '.h5'
_OF_KERAS = 'weight_names'      # attribute of a group
_NUMBERS = 'biuf'              # kinds of NumPy types that a weight may have
_BEST_COMPRESSION = 1032       # of HDF5's deflate: so many bytes of data from one of the file


class H5Reader(Reader):
    """What a file holds. All of it is read at once.

    A variable of Keras has its path in weight_names, without the `:0` at its end.
    Raises InputError when the file is not there, damaged, or holds something else than arrays of numbers.
    """

    def __init__(self, path: str) -> None:
        h5py = _h5py(path)
        self._tensors, self.attributes = {}, {}
        left = 0                   # bytes that the data sets may still have
        names = {}                 # path of a data set of Keras: that of its variable

        def read(name, item):
            nonlocal left
            if isinstance(item, h5py.Dataset):
                if item.dtype.kind not in _NUMBERS:
                    raise ValueError('%s holds no numbers' % name)
                if item.id.get_create_plist().get_external_count():
                    raise ValueError('%s lies in another file' % name)
                size = functools.reduce(operator.mul, item.shape, item.dtype.itemsize)
                if size > left:
                    raise ValueError('%s declares %d bytes, more than the file can hold' % (name, size))
                left -= size
                self._tensors[names.pop(name, name)] = item[()]
            else:
                names.update(_of_keras(name, item.attrs.get(_OF_KERAS, ())))
        try:
            with files.opened(path) as content:
                left = os.fstat(content.fileno()).st_size * _BEST_COMPRESSION
                with h5py.File(content, 'r') as file:
                    file.visititems(read)
                    self.attributes.update(file.attrs)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
            raise InputError('--ckpt_path=%s: cannot be read as HDF5: %s' % (path, str(error) or 'too large'))

    def get_variable_to_shape_map(self) -> Dict[str, List[int]]:
        return {name: list(tensor.shape) for name, tensor in self._tensors.items()}

    def has_tensor(self, name: str) -> bool:
        return name in self._tensors

    def get_tensor(self, name: str) -> np.ndarray:
        return self._tensors[name]


def _of_keras(group, weight_names):
    """{path of the data set: path of the variable} of a group of Keras."""
    texts = [name.decode() if isinstance(name, bytes) else str(name) for name in weight_names]
    return {'%s/%s' % (group, text): re.sub(':0$', '', text) for text in texts}


def write(path: str, tensors: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Writes a file of `tensors` by path; attributes are texts, numbers, booleans or lists; None is left out."""
    h5py = _h5py(path)
    with h5py.File(path, 'w') as file:
        for name, tensor in tensors.items():
            file.create_dataset(name, data=tensor)
        for name, value in attributes.items():
            if isinstance(value, (tuple, list)):
                file.attrs.create(name, list(map(str, value)), dtype=h5py.special_dtype(vlen=str))
            elif value is not None:
                file.attrs[name] = value


def _h5py(path: str) -> Any:
    """The package, which only these files need."""
    try:
        import h5py
    except ImportError as error:
        raise InputError('%s: needs the Python package h5py, which cannot be imported: %s' % (path, error))
    return h5py
