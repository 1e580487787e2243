"""Dump files: what is written by the tools' rules is read back, damage is named."""
import struct

import dump_reading
import numpy as np
import pytest

from core.ascend.diagnostics import dump_files, formats, overflow_files
from core.ascend.diagnostics.dump_files import OperatorDump, Tensor
from core.errors import InputError

KERNEL = np.arange(6, dtype=np.float16).reshape(2, 3)


def dump(name='tower/conv1.a', inputs=(), outputs=(Tensor(KERNEL),), task_id=5, timestamp=1619492699305998):
    return OperatorDump('Conv2D', name, inputs, outputs, task_id, 7, timestamp)


def test_a_dump_file_has_a_header_with_its_length_and_then_the_raw_data(tmp_path):
    path = dump_files.write_npu(str(tmp_path), dump(inputs=[Tensor(np.float32([1, 2]))]))
    assert path.endswith('/Conv2D.tower_conv1_a.5.7.1619492699305998')
    content = open(path, 'rb').read()
    length, = struct.unpack('<Q', content[:8])
    assert content[8 + length:] == np.float32([1, 2]).tobytes() + KERNEL.tobytes()
    assert content[8:8 + 5] == b'\x0a\x032.0'  # field 1, the version


def varint(number):
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def field(number, value):
    """A field of protobuf's wire format: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape(*lengths):
    return field(1, b''.join(map(varint, lengths)))        # packed


# As the tools define toolkit.dumpdata.DumpData: an output of float16 [2, 3] in NHWC, an input of bfloat16 [2] in ND.
ORIGINAL_OP = field(1, b'tower/conv1') + field(2, 1) + field(3, 2) + field(4, 1)
OUTPUT = (field(1, 2) + field(2, 1) + field(3, shape(2, 3)) + field(4, ORIGINAL_OP) + field(6, 12)
          + field(7, shape(2, 3)))
INPUT = field(1, 27) + field(2, 2) + field(3, shape(2)) + field(5, 4) + field(6, shape(2))
HEADER = (field(1, b'2.0') + field(2, 1619492699305998) + field(3, OUTPUT) + field(4, INPUT)
          + field(6, b'tower/conv1.a'))


def test_a_dump_file_of_hand_made_bytes_is_read(tmp_path):
    path = tmp_path / 'Conv2D.tower_conv1_a.5.7.1619492699305998'
    path.write_bytes(struct.pack('<Q', len(HEADER)) + HEADER + bytes.fromhex('803f20c0') + KERNEL.tobytes())
    read = dump_files.read_npu(str(path))
    assert read.inputs[0].array.tolist() == [1., -2.5] and read.outputs[0].array.tolist() == KERNEL.tolist()
    assert (read.outputs[0].format, read.outputs[0].original_shape) == ('NHWC', (2, 3))
    assert (read.outputs[0].original_name, read.outputs[0].original_index) == ('tower/conv1', 1)


@pytest.mark.parametrize('dtype, number', [
    ('float32', 1), ('float16', 2), ('int8', 3), ('uint8', 4), ('int16', 5), ('uint16', 6), ('int32', 7), ('int64', 8),
    ('uint32', 9), ('uint64', 10), ('bool', 11), ('float64', 12)])
def test_a_written_header_has_the_numbers_of_the_tools(tmp_path, dtype, number):
    array = np.ones([2, 3], dtype)
    path = dump_files.write_npu(str(tmp_path), dump(outputs=[Tensor(array, 'NCHW', (3, 2), 'NHWC', 'a', 4)]))
    content = open(path, 'rb').read()
    original = field(1, b'a') + field(2, 4) + field(3, number) + field(4, 1)
    output = (field(1, number) + field(3, shape(2, 3)) + field(4, original) + field(6, array.nbytes)
              + field(7, shape(3, 2)))                     # protobuf leaves NCHW, which is 0, out
    header = (field(1, b'2.0') + field(2, 1619492699305998) + field(3, output) + field(6, b'tower/conv1.a'))
    assert content == struct.pack('<Q', len(header)) + header + array.tobytes()


def test_a_dump_file_is_read_back(tmp_path):
    output = Tensor(KERNEL, 'ND', (2, 3), 'NHWC', 'tower/conv1', 1)
    path = dump_files.write_npu(str(tmp_path), dump(inputs=[Tensor(np.int64([3]))], outputs=[output]))
    read = dump_files.read_npu(path)
    assert (read.op_type, read.op_name, read.task_id, read.stream_id) == ('Conv2D', 'tower_conv1_a', 5, 7)
    assert read.inputs[0].array.tolist() == [3]
    assert read.outputs[0].array.dtype == np.float16 and (read.outputs[0].array == KERNEL).all()
    assert (read.outputs[0].original_name, read.outputs[0].original_index) == ('tower/conv1', 1)


def test_a_name_too_long_for_a_file_is_a_number_in_the_mapping(tmp_path):
    name = 'x' * 300
    path = dump_files.write_npu(str(tmp_path), dump(name))
    number, stands_for = (tmp_path / 'mapping.csv').read_text().strip().split(',')
    assert path.endswith('/' + number) and stands_for.startswith('Conv2D.' + name)
    output, = dump_reading.outputs_of(str(tmp_path))
    assert output.name == name and (output.read() == KERNEL).all()


@pytest.mark.parametrize('keep', [0, 5, 20, -1])
def test_a_dump_file_that_is_cut_short_is_named(tmp_path, keep):
    path = dump_files.write_npu(str(tmp_path), dump())
    content = open(path, 'rb').read()
    open(path, 'wb').write(content[:keep])
    with pytest.raises(InputError, match='Conv2D.tower_conv1_a.*(cut short|header)'):
        dump_files.read_npu(path)


def test_ground_truth_is_a_numpy_file_for_each_output(tmp_path):
    path = dump_files.write_ground_truth(str(tmp_path), 'model/conv1.b/Conv2D', 0, KERNEL, 1619492699305998)
    assert path.endswith('/model_conv1_b_Conv2D.0.1619492699305998.npy')
    output, = dump_reading.outputs_of(str(tmp_path))
    assert (output.name, output.index) == ('model_conv1_b_Conv2D', 0) and (output.read() == KERNEL).all()


def test_of_an_operator_that_was_dumped_twice_the_newest_counts(tmp_path):
    for timestamp in (30, 10, 20):
        dump_files.write_ground_truth(str(tmp_path), 'a', 0, np.float32(timestamp), timestamp)
    output, = dump_reading.outputs_of(str(tmp_path))
    assert output.read() == 30


def test_a_directory_without_dumps_is_refused(tmp_path):
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(InputError, match='holds no dump files'):
        dump_reading.outputs_of(str(tmp_path))


def test_a_pickle_in_place_of_an_array_is_refused_and_not_unpickled(tmp_path):
    np.save(str(tmp_path / 'a.0.1.npy'), np.array([{}], dtype=object), allow_pickle=True)
    output, = dump_reading.outputs_of(str(tmp_path))
    with pytest.raises(InputError, match='not a NumPy array'):
        output.read()


def test_bfloat16_is_read_as_float32(tmp_path):
    path = dump_files.write_npu(str(tmp_path), dump(outputs=[Tensor(np.uint16([0x3f80, 0xc000]))]))
    content = bytearray(open(path, 'rb').read())
    length, = struct.unpack('<Q', content[:8])
    header = dump_files.DumpData.FromString(bytes(content[8:8 + length]))
    header.output[0].data_type = dump_files.DATA_TYPES['bfloat16']
    encoded = header.SerializeToString()
    open(path, 'wb').write(struct.pack('<Q', len(encoded)) + encoded + bytes(content[8 + length:]))
    assert dump_files.read_npu(path).outputs[0].array.tolist() == [1., -2.]


def test_bfloat16_is_the_upper_half_of_a_float32():
    held = dump_files.in_type(np.float32([[1., -2.5]]), 'bfloat16')
    assert held.dtype == np.uint16 and held.tolist() == [[0x3f80, 0xc020]]
    assert dump_files.values_of(held, 'bfloat16').tolist() == [[1., -2.5]]


def test_blocked_layouts_come_back_in_the_layout_of_the_graph():
    images = np.random.RandomState(0).normal(size=[2, 5, 6, 20]).astype(np.float32)  # NHWC
    padded = np.zeros([2, 5, 6, 32], np.float32)
    padded[..., :20] = images
    blocked = padded.reshape(2, 5, 6, 2, 16).transpose(0, 3, 1, 2, 4)
    assert (formats.restore(blocked, 'NC1HWC0', (2, 5, 6, 20), 'NHWC') == images).all()
    assert (formats.restore(blocked, 'NC1HWC0', (2, 20, 5, 6), 'NCHW') == images.transpose(0, 3, 1, 2)).all()

    matrix = images[0, 0, :, :]  # [6, 20]
    padded = np.zeros([16, 32], np.float32)
    padded[:6, :20] = matrix
    fractal = padded.reshape(1, 16, 2, 16).transpose(2, 0, 1, 3)
    assert (formats.restore(fractal, 'FRACTAL_NZ', (6, 20), 'ND') == matrix).all()

    kernel = images[:, :3, :, :].transpose(1, 0, 3, 2)  # [3, 2, 20, 6], HWCN
    padded = np.zeros([3, 2, 32, 16], np.float32)
    padded[:, :, :20, :6] = kernel
    fractal = padded.reshape(3, 2, 2, 16, 16).transpose(2, 0, 1, 4, 3).reshape(-1, 1, 16, 16)
    assert (formats.restore(fractal, 'FRACTAL_Z', (3, 2, 20, 6), 'HWCN') == kernel).all()


@pytest.mark.parametrize('is_old_form', [True, False])
def test_an_overflow_file_names_the_task_that_overflowed(tmp_path, is_old_form):
    overflow = overflow_files.Overflow(1, 7, 5, overflow_files.TO_FLOAT16)
    path = overflow_files.write(str(tmp_path), overflow, 1619492699305998, 99, is_old_form)
    assert path.endswith('/Opdebug.Node_OpDebug.99.0.1619492699305998')
    assert overflow_files.read(path) == overflow
    content = dump_files.read_npu(path).outputs[0].array.tobytes()
    assert len(content) == 2048
    assert content.startswith(struct.pack('<I', 0x5a5a5a5a)) != is_old_form
    dump_files.write_npu(str(tmp_path), dump())
    assert [output.name for output in dump_reading.outputs_of(str(tmp_path))] == ['tower_conv1_a']
