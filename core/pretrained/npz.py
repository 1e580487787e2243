"""Weights in an .npz file: an array for each variable, by its path, as numpy.savez(file, **{path: array}) writes it."""
import functools
import operator
import zipfile
from typing import Dict, List

import numpy as np

from core import files
from core.errors import InputError
from core.run import Reader

SUFFIX = '.npz'
_NUMBERS = 'biuf'              # kinds of NumPy types that a weight may have


class NpzReader(Reader):
    """What a file holds; an array is read when it is needed.

    Raises InputError when the file is not there, damaged, or holds something else than arrays of numbers.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._shapes: Dict[str, List[int]] = {}

        def note(archive):
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    shape, dtype = _header(file)
                if functools.reduce(operator.mul, shape, dtype.itemsize) > entry.file_size:
                    raise ValueError('%s declares more bytes than it has' % entry.filename)
                if dtype.kind not in _NUMBERS:
                    raise ValueError('%s holds no numbers' % entry.filename)
                self._shapes[entry.filename[:-len('.npy')]] = list(shape)
        self._read(note)

    def _read(self, act):
        try:
            with files.opened(self._path) as content, zipfile.ZipFile(content) as archive:
                return act(archive)
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, MemoryError,
                zipfile.BadZipFile, zipfile.zlib.error) as error:
            raise InputError('--ckpt_path=%s: cannot be read as .npz: %s; write it by numpy.savez(file, **{path of a '
                             'variable: array})' % (self._path, error))

    def get_variable_to_shape_map(self) -> Dict[str, List[int]]:
        """{path of a variable: its shape}."""
        return dict(self._shapes)

    def has_tensor(self, name: str) -> bool:
        """Whether there is a variable of that path."""
        return name in self._shapes

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable."""
        def array(archive):
            with archive.open(name + '.npy') as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        return self._read(array)


def _header(file):
    """(shape, dtype) of an array in the format .npy; ValueError for another one."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if not read:
        raise ValueError('is no array of NumPy')
    shape, _, dtype = read(file)
    return shape, dtype
