"""Operator dumps in the form that an NPU writes them, and as the ground truth of a CPU or GPU.

NPU form: PATH/TIME/DEVICE/MODEL/MODEL_ID/STEP/TYPE.NAME.TASK.STREAM.TIMESTAMP, one file for each operator: the
length of a header (uint64, little-endian), the header (toolkit.dumpdata.DumpData), then the raw data of all inputs
and outputs.
Ground truth: NAME.INDEX.TIMESTAMP.npy, one file for each output.
Facts: CANN's accuracy debugging guide and its comparison tool, msaccucmp; names follow its rules.
"""
import functools
import operator
import os
import re
import struct
import zlib
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from google.protobuf.message import DecodeError

from core import files
from core.ascend.diagnostics import formats, npy_files
from core.ascend.diagnostics.dump_proto import DumpData
from core.errors import InputError

DATA_TYPES = {'float32': 1, 'float16': 2, 'int8': 3, 'uint8': 4, 'int16': 5, 'uint16': 6, 'int32': 7, 'int64': 8,
              'uint32': 9, 'uint64': 10, 'bool': 11, 'float64': 12, 'bfloat16': 27}
_NAMES = {number: name for name, number in DATA_TYPES.items()}
INPUT, OUTPUT = 'input', 'output'
_LONGEST_NAME = 255            # bytes of a file's name
_MAPPING = 'mapping.csv'       # beside files with a number for a name that is too long: number,name
_NPU_NAME = re.compile(r'([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.(\d+)\.(\d+)\.(\d{1,255})(?:\.\d+){0,4}')
_GROUND_TRUTH_NAME = re.compile(r'([A-Za-z0-9_-]+)\.(\d+)\.(\d{1,255})\.npy')


class Tensor(NamedTuple):
    """One input or output of a dumped operator."""
    array: np.ndarray              # in the layout of `format`
    format: str = 'ND'             # a key of formats.NUMBERS
    original_shape: Tuple[int, ...] = ()    # in the framework's graph; () where it is the array's own
    original_format: str = 'ND'
    original_name: str = ''        # name of the framework's operator; outputs only
    original_index: int = 0        # of its output
    data_type: str = ''            # a key of DATA_TYPES; '' where it is the array's own; bfloat16 lies in uint16

    def as_in_the_graph(self) -> np.ndarray:
        """The values in the layout and shape that the framework's graph gives them."""
        return formats.restore(self.array, self.format, self.original_shape or self.array.shape, self.original_format)


def in_type(array: np.ndarray, data_type: str) -> np.ndarray:
    """float32 `array` of rounded values as a dump of `data_type` holds them."""
    if data_type == 'bfloat16':    # the upper half of a float32
        return (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16).reshape(array.shape)
    return array.astype(data_type)


def values_of(array: np.ndarray, data_type: str) -> np.ndarray:
    """The numbers of an array that lies in a dump as `data_type`."""
    return (array.astype(np.uint32) << 16).view(np.float32) if data_type == 'bfloat16' else array


class OperatorDump(NamedTuple):
    """All that one dump file holds."""
    op_type: str
    op_name: str                   # with / and . as _, as in file names
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    task_id: int
    stream_id: int
    timestamp: int                 # microseconds since 1970

    @property
    def file_name(self) -> str:
        """TYPE.NAME.TASK.STREAM.TIMESTAMP."""
        return '%s.%s.%d.%d.%d' % (safe_name(self.op_type), safe_name(self.op_name), self.task_id, self.stream_id,
                                   self.timestamp)


@functools.lru_cache(maxsize=None)
def safe_name(name: str) -> str:
    """An operator's name or type as it stands in file names."""
    return re.sub(r'[^A-Za-z0-9_-]', '_', name)


def npu_directory(dump_path: str, time: str, device_id: int, model_name: str, step: int, model_id: int = 1) -> str:
    """The directory of a step's dump files; time: YYYYMMDDHHMMSS, local."""
    return os.path.join(dump_path, time, str(device_id), safe_name(model_name), str(model_id), str(step))


def write_npu(directory: str, dump: OperatorDump) -> str:
    """Writes one operator's dump file into `directory`, which exists; returns its path."""
    header = DumpData(version='2.0', dump_time=dump.timestamp, op_name=dump.op_name)
    for tensor in dump.inputs:
        _describe(header.input.add(), tensor)
    for tensor in dump.outputs:
        entry = header.output.add()
        _describe(entry, tensor)
        entry.original_op.name, entry.original_op.output_index = tensor.original_name, tensor.original_index
        entry.original_op.data_type = entry.data_type
        entry.original_op.format = formats.NUMBERS[tensor.original_format]
    encoded = header.SerializeToString()
    path = named_file(directory, dump.file_name)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(encoded)) + encoded)
        for tensor in [*dump.inputs, *dump.outputs]:
            file.write(npy_files.content(tensor.array))
    return path


def _describe(entry, tensor: Tensor) -> None:
    entry.data_type = DATA_TYPES[tensor.data_type or str(tensor.array.dtype)]
    entry.format = formats.NUMBERS[tensor.format]
    entry.shape.dim.extend(tensor.array.shape)
    entry.original_shape.dim.extend(tensor.original_shape or tensor.array.shape)
    entry.size = tensor.array.nbytes


def named_file(directory: str, name: str) -> str:
    """The path of a dump file called `name`; a name too long for a file is a number, and in mapping.csv."""
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return os.path.join(directory, name)
    number = str(zlib.crc32(name.encode()))
    with open(os.path.join(directory, _MAPPING), 'a') as mapping:
        mapping.write('%s,%s\n' % (number, name))
    return os.path.join(directory, number)


def file_names(directory: str) -> Dict[str, str]:
    """{file name: name it stands for} of a directory of dump files, mapping.csv applied."""
    mapped = {}
    path = os.path.join(directory, _MAPPING)
    try:
        names = sorted(os.listdir(directory))
        if _MAPPING in names:
            mapped = dict(line.split(',', 1) for line in files.text(path).splitlines() if ',' in line)
    except OSError as error:
        raise InputError('%s: cannot be read: %s' % (directory, error.strerror)) from None
    except ValueError as error:
        raise InputError('%s: not a list of names: %s' % (path, error)) from None
    return {name: mapped.get(name, name) for name in names if name != _MAPPING}


def read_npu(path: str, name: Optional[str] = None) -> OperatorDump:
    """The operator dump in the file `path`; name: of the file in mapping.csv.

    Raises InputError when the file is no dump file, or is cut short.
    """
    matched = _NPU_NAME.fullmatch(name or os.path.basename(path))
    if not matched:
        raise InputError('%s: not named as a dump file, TYPE.NAME.TASK.STREAM.TIMESTAMP' % path)
    op_type, op_name, task_id, stream_id, timestamp = matched.groups()
    try:
        content = files.contents(path)
    except ValueError as error:
        raise InputError('%s: not a dump file of an NPU: %s' % (path, error)) from None
    try:
        length, = struct.unpack_from('<Q', content)
        header = DumpData.FromString(content[8:8 + length])
    except (struct.error, DecodeError, OverflowError):
        raise InputError('%s: not a dump file of an NPU: its header cannot be read' % path) from None
    position = 8 + length
    if position + sum(0 if entry.data else entry.size for entry in [*header.input, *header.output]) > len(content):
        raise InputError('%s: cut short, or not a dump file: it has only %d bytes' % (path, len(content)))
    tensors = []
    for entry in [*header.input, *header.output]:
        data = entry.data or content[position:position + entry.size]
        position += 0 if entry.data else entry.size
        tensors.append(_tensor(path, entry, data))
    inputs = len(header.input)
    return OperatorDump(op_type, op_name, tensors[:inputs], tensors[inputs:], int(task_id), int(stream_id),
                        int(timestamp))


def _tensor(path: str, entry, data: bytes) -> Tensor:
    shape = tuple(entry.shape.dim)
    name = _NAMES.get(entry.data_type)
    if name is None:
        raise InputError('%s: its data type %d is not known' % (path, entry.data_type))
    stored = np.dtype('uint16' if name == 'bfloat16' else name)
    if len(data) != stored.itemsize * functools.reduce(operator.mul, shape, 1):  # which does not wrap around
        raise InputError('%s: cut short, or not a dump file: a tensor of shape %s has %d bytes' % (
            path, list(shape), len(data)))
    array = values_of(np.frombuffer(data, stored).reshape(shape), name)
    original = getattr(entry, 'original_op', None)
    return Tensor(array, formats.name(entry.format), tuple(entry.original_shape.dim),
                  formats.name(original.format) if original else 'ND',
                  original.name if original else '', original.output_index if original else 0)


def write_ground_truth(directory: str, op_name: str, index: int, array: np.ndarray, timestamp: int) -> str:
    """Writes output `index` of an operator as NAME.INDEX.TIMESTAMP.npy into `directory`, which exists."""
    path = os.path.join(directory, '%s.%d.%d.npy' % (safe_name(op_name), index, timestamp))
    npy_files.write(path, array)
    return path


class DumpedTensor(NamedTuple):
    """One input or output of one operator in a dump of either form, read when it is needed."""
    name: str                      # of the operator, as in file names
    index: int
    op_type: str                   # '' in the ground truth, which lacks it
    timestamp: int
    path: str
    npu_name: Optional[str]        # of the dump file; None for ground truth
    original_name: str             # of the framework's operator, where the dump has it
    kind: str = OUTPUT             # INPUT or OUTPUT; ground truth has outputs alone

    def read(self) -> np.ndarray:
        """The values, in the layout of the framework's graph. Raises InputError for a damaged file."""
        if self.npu_name is not None:
            dump = read_npu(self.path, self.npu_name)
            return (dump.inputs if self.kind == INPUT else dump.outputs)[self.index].as_in_the_graph()
        try:
            return npy_files.read(self.path)
        except ValueError as error:
            raise InputError('%s: not a NumPy array: %s' % (self.path, error)) from None


def tensors_of(directory: str) -> List[DumpedTensor]:
    """All tensors in a directory of dump files of either form, oldest first, inputs before the operator's outputs.

    A file that is dumped several times counts once, as the newest. Raises InputError when there is none.
    """
    newest: Dict[Tuple[str, str, int], DumpedTensor] = {}
    for tensor in _tensors(directory):
        key = tensor.name, tensor.kind, tensor.index
        if key not in newest or newest[key].timestamp <= tensor.timestamp:
            newest[key] = tensor
    if not newest:
        raise InputError('%s: holds no dump files: neither TYPE.NAME.TASK.STREAM.TIMESTAMP nor '
                         'NAME.INDEX.TIMESTAMP.npy; statistics cannot be compared'
                         % directory)
    return sorted(newest.values(), key=lambda tensor: (tensor.timestamp, tensor.name, tensor.kind, tensor.index))


def _tensors(directory: str) -> Iterator[DumpedTensor]:
    for file, name in file_names(directory).items():
        path = os.path.join(directory, file)
        ground_truth = _GROUND_TRUTH_NAME.fullmatch(name)
        if ground_truth:
            op_name, index, timestamp = ground_truth.groups()
            yield DumpedTensor(op_name, int(index), '', int(timestamp), path, None, op_name)
        elif _NPU_NAME.fullmatch(name) and not name.startswith('Opdebug.'):
            dump = read_npu(path, name)
            for index, tensor in enumerate(dump.inputs):
                yield DumpedTensor(dump.op_name, index, dump.op_type, dump.timestamp, path, name, '', INPUT)
            for index, tensor in enumerate(dump.outputs):
                yield DumpedTensor(dump.op_name, index, dump.op_type, dump.timestamp, path, name,
                                   safe_name(tensor.original_name))
