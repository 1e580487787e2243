"""SVHN's MATLAB files, written here byte by byte after the format's description."""
import resource
import struct
import zlib

import numpy as np
import pytest

from core.errors import InputError
from data import svhn


def element(kind, content, order='<'):
    return struct.pack(order + 'II', kind, len(content)) + content + bytes(-len(content) % 8)


def small_element(kind, content, order='<'):
    return struct.pack(order + 'I', len(content) << 16 | kind) + content.ljust(4, b'\0')


def matrix(name, array, compressed=False, order='<'):
    kind, flag = {'u1': (2, 9), 'f8': (9, 6)}[array.dtype.str[1:]]
    content = (element(6, struct.pack(order + 'II', flag, 0), order)
               + element(5, struct.pack(f'{order}{array.ndim}i', *array.shape), order)
               + small_element(1, name.encode(), order)
               + element(kind, array.astype(order + array.dtype.str[1:]).tobytes(order='F'), order))
    whole = element(14, content, order)
    if compressed:
        packed = zlib.compress(whole)
        return struct.pack(order + 'II', 15, len(packed)) + packed
    return whole


def header(order='<', text=b'MATLAB 5.0 MAT-file, Platform: GLNXA64'):
    return text.ljust(124) + (b'\x00\x01IM' if order == '<' else b'\x01\x00MI')


def digits(count, seed=0):
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, [32, 32, 3, count]).astype(np.uint8)
    return images, random.randint(1, 11, [count, 1])


def mat(images, labels, label_type='u1', compressed=False, order='<'):
    return (header(order) + matrix('X', images, compressed, order)
            + matrix('y', labels.astype(label_type), compressed, order))


def write(folder, train, test=None):
    folder.mkdir(exist_ok=True)
    (folder / 'train_32x32.mat').write_bytes(train)
    (folder / 'test_32x32.mat').write_bytes(test or mat(*digits(3, seed=1)))
    return str(folder)


def refusal(path):
    with pytest.raises(InputError) as caught:
        svhn.svhn(path)
    assert '\n' not in str(caught.value) and 'train_32x32.mat: ' in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('form', [
    {}, dict(compressed=True), dict(label_type='f8'), dict(order='>'),
    dict(compressed=True, order='>', label_type='f8')])
def test_images_and_labels_are_read_and_ten_is_zero(tmp_path, form):
    images, labels = digits(11)
    data = svhn.svhn(write(tmp_path, mat(images, labels, **form)))
    np.testing.assert_array_equal(data.train.x, images.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(data.train.y, [label % 10 for label in labels.ravel()])
    assert data.train.x.dtype == np.uint8 and data.train.y.dtype == np.int32
    assert 0 in data.train.y and data.test.x.shape == (3, 32, 32, 3)


def test_text_and_cells_beside_the_arrays_are_passed_over(tmp_path):
    text = (element(6, struct.pack('<II', 4, 0)) + element(5, struct.pack('<2i', 1, 3))
            + small_element(1, b'note') + element(16, b'abc'))
    cells = (element(6, struct.pack('<II', 1, 0)) + element(5, struct.pack('<2i', 1, 1))
             + small_element(1, b'c') + matrix('', np.ones([1, 1])))
    content = header() + element(14, text) + element(14, cells) + mat(*digits(4))[128:]
    assert len(svhn.svhn(write(tmp_path, content)).train.y) == 4


@pytest.mark.parametrize('flags', [b'', bytes(2)])
def test_a_matrix_without_its_flags_is_damaged(tmp_path, flags):
    assert 'damaged' in refusal(write(tmp_path, header() + element(14, element(6, flags))))


def test_the_files_are_found_in_a_directory_of_the_set(tmp_path):
    write(tmp_path / 'SVHN', mat(*digits(2)))
    assert len(svhn.svhn(str(tmp_path)).train.y) == 2


@pytest.mark.parametrize('content', [
    header(text=b'MATLAB 7.3 MAT-file') + bytes(384) + b'\x89HDF\r\n\x1a\n',
    b'\x89HDF\r\n\x1a\n' + bytes(200)])
def test_matlab_7_3_is_refused_by_name(tmp_path, content):
    assert 'MATLAB 7.3' in refusal(write(tmp_path, content))


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('missing', [1, 9, 100, 3000])
def test_a_truncated_file_is_refused_by_name(tmp_path, compressed, missing):
    content = mat(*digits(4), compressed=compressed)
    message = refusal(write(tmp_path, content[:-missing]))
    assert 'truncated' in message or "no array 'y'" in message


@pytest.mark.parametrize('content, fault', [
    (b'', 'not a MATLAB 5 file'), (b'x' * 500, 'not a MATLAB 5 file'),
    (header(), "no array 'X'"), (header() + matrix('X', digits(2)[0]), "no array 'y'"),
    (mat(digits(2)[0], np.array([[1], [11]])), 'label 11 is out of range 0 to 9'),
    (mat(digits(2)[0], np.array([[1], [2.5]]), 'f8'), 'the label 2.5 is no whole number'),
    (mat(digits(2)[0], np.array([[-.1], [2]]), 'f8'), 'the label -0.1 is no whole number'),
    (mat(digits(2)[0], np.array([[1], [np.nan]]), 'f8'), 'the label nan is no whole number'),
    (mat(digits(2)[0], np.array([[1]])), '1 labels for 2 images'),
    (mat(digits(2)[0][:31], np.array([[1], [2]])), '(31, 32, 3, 2)'),
    (mat(*digits(0)), '(32, 32, 3, 0)'),
    (header() + element(14, element(6, bytes(8))), 'damaged'),
])
def test_wrong_contents_are_refused_with_the_fault(tmp_path, content, fault):
    assert fault in refusal(write(tmp_path, content))


def nested(count, content):
    for _ in range(count):
        packed = zlib.compress(content)
        content = struct.pack('<II', 15, len(packed)) + packed
    return content


def compressed_zeros(size, head=b''):
    """A compressed element of `size` zeros, a multiple of a million, behind `head`."""
    packer = zlib.compressobj(1)
    million = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH), packer.compress(bytes(10 ** 6)) + packer.flush(
        zlib.Z_FULL_FLUSH)
    packed = million[0] + size // 10 ** 6 * million[1] + packer.flush()    # each million is compressed alike
    return struct.pack('<II', 15, len(packed)) + packed


@pytest.mark.parametrize('content', [
    element(14, element(6, struct.pack('<II', 9, 0)) + element(7, struct.pack('<4f', 32, 32, 3, 2))
            + small_element(1, b'X') + element(2, digits(2)[0].tobytes(order='F'))),
    nested(3000, matrix('X', digits(2)[0])), nested(3000, b''), compressed_zeros(600 * 10 ** 6),
    compressed_zeros(600 * 10 ** 6, struct.pack('<II', 14, 600 * 10 ** 6))],
    ids=['dimensions that are no whole numbers', 'nested images', 'nested nothing', 'zeros', 'a matrix of zeros'])
@pytest.mark.parametrize('read', [svhn.svhn, svhn.inspect])
def test_a_hostile_file_is_refused_before_it_is_unpacked(tmp_path, content, read):
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match='train_32x32.mat: truncated or damaged MATLAB file'):
        read(write(tmp_path, header() + content))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size < 100 * 1024      # kilobytes


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path, mat(*digits(2)))
    (tmp_path / 'train_32x32.mat').unlink()
    assert 'No such file' in refusal(str(tmp_path))
