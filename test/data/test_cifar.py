"""CIFAR pickles in all the forms that are in the wild, and what is refused (docs/vendor-contract.md section 1)."""
import base64
import os
import pickle

import numpy as np
import pytest
from cifar_pickles import (bytes_keys, fortran_order, label_array, numpy2, numpy_scalars,
                           object_labels, python2, python3, record, string_arrays, write)

from core.errors import InputError
from data import cifar, pickles


def refusal(load, path):
    with pytest.raises(InputError) as caught:
        load(path)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('as_pickle', [
    python3, bytes_keys, label_array, numpy_scalars, numpy2, string_arrays, object_labels, fortran_order, python2])
def test_every_form_of_pickle_gives_the_same_images(tmp_path, as_pickle):
    data = cifar.cifar10(write(tmp_path, as_pickle))
    assert data.train.x.shape == (12, 32, 32, 3) and data.train.x.dtype == np.uint8
    assert data.test.x.shape == (5, 32, 32, 3) and data.classes == 10
    expected = record(3)
    np.testing.assert_array_equal(data.train.y[:3], expected['labels'])
    assert data.train.y.dtype == np.int32
    red, row, column = 0, 5, 7
    np.testing.assert_array_equal(data.train.x[:3, row, column, red],
                                  expected['data'][:, red * 1024 + row * 32 + column])
    np.testing.assert_array_equal(data.test.y, record(5, seed=5)['labels'])


@pytest.mark.parametrize('inside', ['', 'cifar-10-batches-py', 'dataset/cifar-10-batches-py'])
def test_the_pickles_are_found_in_or_under_the_directory(tmp_path, inside):
    write(tmp_path / inside)
    assert len(cifar.cifar10(str(tmp_path)).train.y) == 12


def test_cifar100_takes_the_fine_labels(tmp_path):
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    for name, rows in [('train', 4), ('test', 2)]:
        content = record(rows)
        content['coarse_labels'] = content.pop('labels')
        content['fine_labels'] = list(range(96, 96 + rows))
        (folder / name).write_bytes(python3(content))
    data = cifar.cifar100(str(tmp_path))
    np.testing.assert_array_equal(data.train.y, [96, 97, 98, 99])
    assert data.classes == 100 and len(data.test.y) == 2


def test_a_missing_batch_is_named(tmp_path):
    path = write(tmp_path, data_batch_3=None)
    assert 'data_batch_3: cannot be opened: No such file' in refusal(cifar.cifar10, path)


def test_a_directory_without_pickles_and_a_missing_one_are_told_apart(tmp_path):
    assert 'cifar-10-batches-py' in refusal(cifar.cifar10, str(tmp_path))
    assert 'no such directory' in refusal(cifar.cifar10, str(tmp_path / 'absent'))


@pytest.mark.parametrize('keep', [0, 1, 100, 5000, -1])
def test_a_truncated_batch_is_refused_by_name(tmp_path, keep):
    path = write(tmp_path, data_batch_2=python3(record(3))[:keep])
    assert 'data_batch_2: truncated' in refusal(cifar.cifar10, path)


@pytest.mark.parametrize('changes, fault', [
    (dict(labels=[0, 10, 1]), 'label 10 is out of range 0 to 9'),
    (dict(labels=[0, -1, 1]), 'label -1 is out of range'),
    (dict(labels=[1, 2]), '2 labels for 3 images'),
    (dict(labels=[0.5, 1, 2]), 'whole numbers'),
    (dict(labels=['a', 'b', 'c']), 'whole numbers'),
    (dict(labels=[[1], [2, 3], 4]), 'whole numbers'),
    (dict(labels=7), 'whole numbers'),
    (dict(data=np.zeros([3, 3071], np.uint8)), 'uint8 rows of 3072, not uint8 of shape (3, 3071)'),
    (dict(data=np.zeros([3, 3072], np.float32)), 'not float32'),
    (dict(data=np.zeros([0, 3072], np.uint8), labels=[]), 'shape (0, 3072)'),
    (dict(data=[1, 2]), 'not list'),
])
def test_wrong_contents_are_refused_with_the_file_and_the_fault(tmp_path, changes, fault):
    path = write(tmp_path, data_batch_4=python3({**record(3), **changes}, protocol=3))
    message = refusal(cifar.cifar10, path)
    assert os.path.join(path, 'data_batch_4') in message and fault in message


def test_a_pickle_without_labels_or_without_a_dict_is_refused(tmp_path):
    content = record(3)
    del content['labels']
    assert "has no 'labels'" in refusal(
        cifar.cifar10, write(tmp_path / 'a', data_batch_1=python3(content)))
    assert 'a list, not a dict' in refusal(
        cifar.cifar10, write(tmp_path / 'b', data_batch_1=python3([1])))


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def corrupting_dtype():
    """A uint8 array whose dtype's state claims that it holds objects, for NumPy to free."""
    written = python2(record(3))
    harmless, corrupting = b'K\x00tb\x89', b'K\x3ftb\x89'
    assert written.count(harmless) == 1
    return written.replace(harmless, corrupting)


@pytest.mark.parametrize('content, reason', [
    (b'\x80\x02X\x04\x00\x00\x00evilQ.', 'persistent'), (b'Pevil\n.', 'persistent'),
    (b'cbuiltins\neval\n(U\x03123tR.', 'builtins.eval, which is not allowed'),
    (b'cnumpy\nload\n(U\x011tR.', 'numpy.load, which is not allowed'),
    (b'c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.', 'rot13'),
    (b'\x80\x02}U\x04datacnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03X\x02\x00\x00\x00\xc3\xa9tbs.', 'byte order'),
    (b'cnumpy\ndtype\n}(U\x01aK\x01ub.', 'a state of a type'),
    (pickle.dumps({'data': {1, 2}}), 'builtins.set, which is not allowed'),
    (pickle.dumps({'data': {1, 2}}, protocol=4), 'a set'),
    (pickle.dumps({'data': np.zeros(2, 'u1,i4')}), 'neither numbers nor strings'),
    (pickle.dumps({'data': np.array([{}, []]), 'labels': []}), 'not list')],
    ids=lambda value: value if isinstance(value, str) else 'file')
def test_a_hostile_pickle_is_refused(tmp_path, content, reason):
    message = refusal(cifar.cifar10, write(tmp_path, data_batch_1=content))
    assert 'data_batch_1: ' in message and reason in message


def test_the_newest_protocol_is_read(tmp_path):
    """Written by Python 3.11 and NumPy 2.4: zeros of shape [1, 3] (writable), [7], the read-only bytes of `ab`."""
    (tmp_path / 'file').write_bytes(base64.b64decode(
        'gAWVqwAAAAAAAAB9lCiMBGRhdGGUjBNudW1weS5fY29yZS5udW1lcmljlIwLX2Zyb21idWZmZXKUk5QolgMAAAAAAAAAAAAAlIwFbnVtcHmU'
        'jAVkdHlwZZSTlIwCdTGUiYiHlFKUKEsDjAF8lE5OTkr/////Sv////9LAHSUYksBSwOGlIwBQ5R0lFKUjAZsYWJlbHOUXZRLB2GMAnJvlGgE'
        'KEMCYWKUaAtLAoWUaA90lFKUdS4='))
    read = pickles.load(str(tmp_path / 'file'))
    assert read['data'].tolist() == [[0, 0, 0]] and read['data'].dtype == np.uint8
    assert read['labels'] == [7] and read['ro'].tolist() == [97, 98]


def test_a_pickle_that_runs_a_command_is_refused_and_does_not_run_it(tmp_path):
    target = str(tmp_path / 'made')
    hostile = pickle.dumps({'data': Command(target)})
    assert 'mkdir' in refusal(cifar.cifar10, write(tmp_path / 'data', data_batch_5=hostile))
    assert not os.path.exists(target)


def test_a_lying_dtype_cannot_touch_memory(tmp_path):
    data = cifar.cifar10(write(tmp_path, data_batch_1=corrupting_dtype()))
    np.testing.assert_array_equal(data.train.y[:3], record(3)['labels'])
