"""Reads a pickled dict of NumPy arrays, lists, strings and numbers without trusting it.

Nothing a pickle names is ever imported or called: the few NumPy names that pickled arrays
mention are answered by stand-ins of our own, so not even NumPy's C code for unpickling sees a
hostile state. Pickles of Python 2, Python 3 and NumPy 1 and 2 (contract section 1) read alike.
"""
import io
import pickle
import re

import numpy as np

from core.errors import InputError

LEVELS = 5  # of tuples within each other; arrays have 2


def load(path):
    """The dict pickled in the file at `path`, its keys as str, its strings of Python 2 as bytes.

    Raises InputError naming the file when it is missing, truncated or holds anything else.
    """
    try:
        with open(path, 'rb') as file:
            content = io.BytesIO(file.read())
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror))
    try:
        record = _Unpickler(content, encoding='bytes').load()
        if isinstance(record, dict):
            return {_text(key): getattr(value, 'array', value) for key, value in record.items()}
    except Exception as error:  # garbage can end in any exception of the interpreter's
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError('%s: truncated, or not a pickle of arrays (%.200s)' % (path, reason))
    raise InputError('%s: holds a %s, not a dict of arrays' % (path, type(record).__name__))


class _Unpickler(pickle._Unpickler):
    """An unpickler that knows the names below and no others; the one in C would reserve any memory a file asks for."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module, name):
        try:
            return _STAND_INS[module.replace('numpy._core', 'numpy.core'), name]
        except KeyError:
            raise pickle.UnpicklingError('it asks for %s.%s, which is not allowed' % (module, name))


def _shallow(load_tuple):
    """load_tuple() that refuses deep tuples: to hash one, as the key of a dict, would overflow the stack of C."""
    def load(unpickler):
        load_tuple(unpickler)
        if _is_nested(unpickler.stack[-1], LEVELS):
            raise pickle.UnpicklingError('it has tuples nested more than %d deep' % LEVELS)
    return load


def _is_nested(value, levels):
    return isinstance(value, tuple) and (not levels or any(_is_nested(part, levels - 1) for part in value))


for _opcode in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    _Unpickler.dispatch[_opcode[0]] = _shallow(_Unpickler.dispatch[_opcode[0]])


class _Array:
    """Stands for numpy.ndarray."""

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, data = state
        flat = np.frombuffer(data, dtype.value)
        self.array = flat.reshape(shape, order='F' if is_fortran else 'C')


class _DType:
    """Stands for numpy.dtype; plain numbers only."""

    def __init__(self, name, _align=False, _copy=False):
        if not re.fullmatch('[biuf][1248]', _text(name)):
            raise pickle.UnpicklingError('an array of type %s, which is not a number' % _text(name))
        self.value = np.dtype(_text(name))

    def __setstate__(self, state):
        self.value = self.value.newbyteorder(_text(state[1]))


def _reconstruct(_subtype, _shape, _typecode):
    return _Array()


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.value)[0]


def _encode(text, encoding):
    """_codecs.encode as Python 3 writes bytes in the protocols of Python 2."""
    if encoding not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError('bytes encoded as %s' % encoding)
    return text.encode('latin1')


def _text(string):
    return string.decode('latin1') if isinstance(string, bytes) else str(string)


_STAND_INS = {
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _DType,
    ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('_codecs', 'encode'): _encode,
}
