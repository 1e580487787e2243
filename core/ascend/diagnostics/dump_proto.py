"""The protocol buffer messages in the header of an NPU dump file: toolkit.dumpdata.DumpData.

They are described here and not generated, because protoc is no dependency of this project. Field numbers are as
in CANN's dump_data.proto.
"""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {'string': _FIELD.TYPE_STRING, 'bytes': _FIELD.TYPE_BYTES, 'uint64': _FIELD.TYPE_UINT64,
            'uint32': _FIELD.TYPE_UINT32, 'int32': _FIELD.TYPE_INT32}

# message -> field -> (number, type, repeated). CANN's enums travel as int32, which has the same encoding.
_MESSAGES = {
    'Shape': {'dim': (1, 'uint64', True)},
    'OriginalOp': {'name': (1, 'string', False), 'output_index': (2, 'uint32', False),
                   'data_type': (3, 'int32', False), 'format': (4, 'int32', False)},
    'OpOutput': {'data_type': (1, 'int32', False), 'format': (2, 'int32', False), 'shape': (3, 'Shape', False),
                 'original_op': (4, 'OriginalOp', False), 'data': (5, 'bytes', False), 'size': (6, 'uint64', False),
                 'original_shape': (7, 'Shape', False), 'sub_format': (8, 'int32', False)},
    'OpInput': {'data_type': (1, 'int32', False), 'format': (2, 'int32', False), 'shape': (3, 'Shape', False),
                'data': (4, 'bytes', False), 'size': (5, 'uint64', False), 'original_shape': (6, 'Shape', False)},
    'DumpData': {'version': (1, 'string', False), 'dump_time': (2, 'uint64', False), 'output': (3, 'OpOutput', True),
                 'input': (4, 'OpInput', True), 'op_name': (6, 'string', False)},
}


def _file():
    file = descriptor_pb2.FileDescriptorProto(name='dump_data.proto', package='toolkit.dumpdata', syntax='proto3')
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            field = described.field.add(
                name=name, number=number, label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL)
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, '.toolkit.dumpdata.' + kind
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())
DumpData = message_factory.MessageFactory(_pool).GetPrototype(
    _pool.FindMessageTypeByName('toolkit.dumpdata.DumpData'))
