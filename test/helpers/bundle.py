"""Checkpoints of one variable, written byte by byte: the index may declare what TensorFlow would never write.

The index is a table of tensorflow/core/lib/io/format.cc and table_builder.cc.
"""
import struct

from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

from data.records import masked_crc

MAGIC = struct.pack('<Q', 0xdb4775248b80fb57)
FOOTER = 40                    # bytes before the magic number
DATA = bytes(24)


def varint(number):
    encoded = b''
    while number > 127:
        encoded, number = encoded + bytes([number & 127 | 128]), number >> 7
    return encoded + bytes([number])


def block(entries):
    """Entries in full, each a restart point; no compression."""
    body, restarts = b'', []
    for key, value in entries:
        restarts.append(len(body))
        body += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    return body + struct.pack('<%dI' % (len(restarts) + 1), *restarts, len(restarts))


def table(entries):
    """The bytes of a table of one block of entries."""
    content = b''

    def added(body):
        nonlocal content
        handle = varint(len(content)) + varint(len(body))
        content += body + b'\0' + struct.pack('<I', masked_crc(body + b'\0'))
        return handle
    block_of_data = added(block(entries))
    handles = added(block([])) + added(block([(b'~', block_of_data)]))
    return content + handles.ljust(FOOTER, b'\0') + MAGIC


def write(prefix, shape, **fields):
    """A checkpoint of the variable v: 24 bytes as float32, or as the fields of BundleEntryProto say."""
    entry = BundleEntryProto(**dict(dict(dtype=1, size=len(DATA), crc32c=masked_crc(DATA)), **fields))
    for length in shape:
        entry.shape.dim.add().size = length
    header = BundleHeaderProto(num_shards=1)
    header.version.producer = 1
    with open(prefix + '.index', 'wb') as index, open(prefix + '.data-00000-of-00001', 'wb') as data:
        index.write(table([(b'', header.SerializeToString()), (b'v', entry.SerializeToString())]))
        data.write(DATA)
