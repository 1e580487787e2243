"""Reads a pickled dict of NumPy arrays, lists, strings and numbers without trusting it.

Nothing a pickle names is ever imported or called: the few names that pickled arrays mention are answered by
stand-ins of our own, so not even NumPy's C code for unpickling sees a hostile state. Pickles of Python 2, Python 3 and
NumPy 1 and 2, of every protocol to 5, read alike (docs/vendor-contract.md section 1).
"""
import io
import os
import pickle
import re
import struct
from typing import Any, Dict

import numpy as np

from core import files
from core.errors import InputError
from data.listing import HEAD, what_is

PROTOCOL = 5                   # Python 3.7 knows 4; what 5 adds is below
BYTEARRAY8, READONLY_BUFFER = 0x96, 0x98
MOST_DIGITS = 400              # of a number as text, because Python takes seconds for millions
_ENDS = (pickle.SETITEM + pickle.STOP, pickle.SETITEMS + pickle.STOP)   # of a dict that is not empty


def load(path: str) -> Dict[str, Any]:
    """The dict pickled in the file at `path`, its keys as str, its strings of Python 2 as bytes.

    Arrays of numbers and of strings are NumPy's, an array of objects is the list of them.
    Raises InputError naming the file when it is missing, truncated or holds anything else.
    """
    content = _told(path, lambda: files.contents(path))
    _check_kind(path, content[:HEAD])
    try:
        record = _Unpickler(io.BytesIO(content), encoding='bytes').load()
        if isinstance(record, dict):
            return {_text(key): getattr(value, 'array', value) for key, value in record.items()}
    except Exception as error:  # garbage can end in any exception of the interpreter's
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError('%s: truncated, or not a pickle of arrays (%.200s)' % (path, reason))
    raise InputError('%s: holds a %s, not a dict of arrays' % (path, type(record).__name__))


def check(path: str) -> None:
    """Raises InputError when a file is no pickle by its first bytes, or lacks the end of a pickled dict.

    It is not unpickled. Of files that were cut within their random bytes one in 30,000 passes.
    """
    with _told(path, lambda: files.opened(path)) as file:
        head = file.read(HEAD)
        file.seek(max(file.seek(0, os.SEEK_END) - 2, 0))
        end = file.read()
    _check_kind(path, head)
    if end not in _ENDS:
        raise InputError('%s: truncated, or not a pickle of arrays (it does not end as a pickled dict does)' % path)


def _told(path, read):
    try:
        return read()
    except ValueError as error:
        raise InputError('%s: %s' % (path, error))


def _check_kind(path, head):
    kind = what_is(head)
    if kind:
        raise InputError('%s: is %s' % (path, kind))


class _Array:
    """Stands for numpy.ndarray."""

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, data = state
        self.array = data if dtype.value == object else _frombuffer(data, dtype, shape, 'F' if is_fortran else 'C')


class _DType:
    """Stands for numpy.dtype: numbers, strings and objects."""

    def __init__(self, name, _align=False, _copy=False):
        if not re.fullmatch('[biuf][1248]|[SU][0-9]{1,9}|O8?', _text(name)):
            raise pickle.UnpicklingError('an array of type %.20s, which is neither numbers nor strings' % _text(name))
        self.value = np.dtype(_text(name))

    def __setstate__(self, state):
        order = _text(state[1])
        if order not in ('<', '>', '|', '='):  # NumPy 1.18 crashes on others
            raise pickle.UnpicklingError('an array of byte order %.20r' % order)
        self.value = self.value.newbyteorder(order)


class _Unpickler(pickle._Unpickler):
    """Knows the names in _STAND_INS and no others; in Python, because the unpickler in C cannot be extended."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module, name):
        try:
            return _STAND_INS[module.replace('numpy._core', 'numpy.core'), name]
        except KeyError:
            raise pickle.UnpicklingError('it asks for %.50s.%.50s, which is not allowed' % (module, name))

    def load_proto(self):
        protocol = self.read(1)[0]
        if protocol > PROTOCOL:
            raise pickle.UnpicklingError('protocol %d' % protocol)
        self.proto = protocol
    dispatch[pickle.PROTO[0]] = load_proto

    def load_digits(self):
        digits = self.readline().rstrip(b'\nL')
        if len(digits) > MOST_DIGITS:
            raise pickle.UnpicklingError('a number of %d digits' % len(digits))
        self.append(digits == b'01' if digits in (b'00', b'01') else int(digits, 0))
    dispatch[pickle.INT[0]] = dispatch[pickle.LONG[0]] = load_digits

    def load_bytearray8(self):
        size, = struct.unpack('<Q', self.read(8))
        self.append(bytearray(self.read(size)))
    dispatch[BYTEARRAY8] = load_bytearray8

    def load_readonly_buffer(self):
        """Makes the bytearray on top read-only, which matters to nobody here."""
    dispatch[READONLY_BUFFER] = load_readonly_buffer

    def load_build(self):
        if not isinstance(self.stack[-2], (_Array, _DType)):
            raise pickle.UnpicklingError('a state of a %s' % type(self.stack[-2]).__name__)
        super().load_build()
    dispatch[pickle.BUILD[0]] = load_build

    def refuse_set(self):
        raise pickle.UnpicklingError('a set')
    dispatch[pickle.EMPTY_SET[0]] = dispatch[pickle.ADDITEMS[0]] = dispatch[pickle.FROZENSET[0]] = refuse_set


def _frombuffer(data, dtype, shape, order, _axes=None):
    return np.frombuffer(data, dtype.value).reshape(shape, order=order)


def _reconstruct(_subtype, _shape, _typecode):
    return _Array()


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.value)[0]


def _encode(text, encoding):
    """_codecs.encode as Python 3 writes bytes in the protocols of Python 2."""
    if encoding not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError('bytes encoded as %.20s' % _text(encoding))
    return text.encode('latin1')


def _no_bytes():
    """As Python 3 writes b'' in the protocols of Python 2."""
    return b''


def _text(string):
    """Of a str, of the bytes of a str of Python 2, or of a number."""
    if not isinstance(string, (str, bytes, int)):
        raise pickle.UnpicklingError('a %s instead of a string' % type(string).__name__)
    return string.decode('latin1') if isinstance(string, bytes) else str(string)


_STAND_INS = {
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _DType,
    ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('numpy.core.numeric', '_frombuffer'): _frombuffer,
    ('_codecs', 'encode'): _encode,
    ('__builtin__', 'bytes'): _no_bytes,
    ('builtins', 'bytes'): _no_bytes,
}
