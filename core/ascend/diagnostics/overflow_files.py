"""The file that an NPU writes when an operator overflows: Opdebug.Node_OpDebug.TASK.STREAM.TIMESTAMP.

It is a dump file (dump_files.py) with one output of 2048 bytes: which task overflowed, and how. Task and stream in the
bytes are the operator's; the numbers in the file's name are not. A 910 writes the old form, later chips
write the new one.
"""
import struct
from typing import NamedTuple

import numpy as np

from core.ascend.diagnostics.dump_files import OperatorDump, Tensor, read_npu, write_npu
from core.errors import InputError

SIZE = 2048                    # bytes
FLOATING_POINT, TO_FLOAT16, CUBE_ACCUMULATION = 0x20, 0x100, 0x400    # bits of the AI Core's status
_MAGIC = 0x5a5a5a5a
_NO_ID = 65535
_HEAD = struct.Struct('<6I')   # magic, version, valid, acc_type, rsv, data_len
# Offsets in the old form: DHA Atomic Add, L2 Atomic Add, AI Core; each has its information and its status.
_OLD_BLOCKS = {'DHA Atomic Add': (0, 512), 'L2 Atomic Add': (128, 768), 'AI Core': (256, 1024)}
_OLD_INFORMATION = struct.Struct('<6Q')     # model_id, stream_id, task_id, task_type, pc_start, para_base
_OLD_STATUS = struct.Struct('<3Q')          # kernel_code, block_idx, status
_NEW_FIELDS = ('model_id', 'stream_id', 'task_id', 'task_type', 'context_id', 'thread_id', 'pc_start', 'para_base',
               'core_id', 'block_id', 'status')


class Overflow(NamedTuple):
    """One overflow of an operator on the AI Core."""
    model_id: int
    stream_id: int
    task_id: int
    status: int                    # bits: FLOATING_POINT, TO_FLOAT16, CUBE_ACCUMULATION, ...


def old_form(overflow: Overflow) -> bytes:
    """The 2048 bytes that a 910 writes."""
    content = bytearray(SIZE)
    information, status = _OLD_BLOCKS['AI Core']
    _OLD_INFORMATION.pack_into(content, information, overflow.model_id, overflow.stream_id, overflow.task_id, 0, 0, 0)
    _OLD_STATUS.pack_into(content, status, 0, 0, overflow.status)
    return bytes(content)


def new_form(overflow: Overflow) -> bytes:
    """The 2048 bytes that A2 and later chips write, about their AI Core."""
    fields = dict.fromkeys(_NEW_FIELDS, 0)
    fields.update(context_id=_NO_ID, thread_id=_NO_ID, **overflow._asdict())
    data = struct.pack('<%dQ' % len(_NEW_FIELDS), *(fields[name] for name in _NEW_FIELDS))
    content = _HEAD.pack(_MAGIC, 0, 1, 0, 0, len(data)) + data
    return content.ljust(SIZE, b'\0')


def write(directory: str, overflow: Overflow, timestamp: int, task_id: int, is_old_form: bool) -> str:
    """Writes the Opdebug file into `directory`; task_id: of the file's own name. Returns its path."""
    content = old_form(overflow) if is_old_form else new_form(overflow)
    output = Tensor(np.frombuffer(content, np.uint8))
    return write_npu(directory, OperatorDump('Opdebug', 'Node_OpDebug', [], [output], task_id, 0, timestamp))


def read(path: str) -> Overflow:
    """The Overflow in the Opdebug file `path`, of either form. Raises InputError when the file is none."""
    outputs = read_npu(path).outputs
    content = outputs[0].array.tobytes() if len(outputs) == 1 else b''
    if len(content) != SIZE:
        raise InputError('%s: not an Opdebug file: it has no output of %d bytes' % (path, SIZE))
    if _HEAD.unpack_from(content)[0] == _MAGIC:
        fields = dict(zip(_NEW_FIELDS, struct.unpack_from('<%dQ' % len(_NEW_FIELDS), content, _HEAD.size)))
        return Overflow(*(fields[name] for name in Overflow._fields))
    for information, status in _OLD_BLOCKS.values():
        bits = _OLD_STATUS.unpack_from(content, status)[2]
        if bits:
            model_id, stream_id, task_id, *_ = _OLD_INFORMATION.unpack_from(content, information)
            return Overflow(model_id, stream_id, task_id, bits)
    raise InputError('%s: tells of no overflow' % path)
