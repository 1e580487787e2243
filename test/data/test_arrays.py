"""Examples in train.npz and test.npz: what is no data is refused by the name of its file."""
import zipfile

import numpy as np
import pytest

from core.errors import InputError
from data.arrays import arrays

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.arange(6) % 3


def written(directory, **test):
    """The directory with six good examples for training, of which `test` replaces arrays in the other file."""
    np.savez(str(directory / 'train.npz'), x=X, y=Y)
    np.savez(str(directory / 'test.npz'), **dict(dict(x=X, y=Y), **test))
    return str(directory)


def test_arrays_of_one_name_and_of_several_are_read_as_they_are(tmp_path):
    data = arrays(written(tmp_path), ('a', 'b', 'c'))
    assert (data.train.x == X).all() and data.train.x.dtype == np.float32 and (data.test.y == Y).all()
    for part in 'train', 'test':
        np.savez(str(tmp_path / (part + '.npz')), x_ids=Y, x_numbers=X, y=X)
    data = arrays(str(tmp_path))
    assert sorted(data.test.x) == ['ids', 'numbers'] and data.test.size == 6 and data.class_names == ()


@pytest.mark.parametrize('test, words', [
    (dict(y=Y[:4]), '4 and 6 rows'), (dict(x=X[:0], y=Y[:0]), 'has no rows'), (dict(y=np.int32(1)), 'has no rows'),
    (dict(x=X.astype('M8[s]')), 'has an array of datetime64.s., a type'),
    (dict(x=X.astype(np.longdouble)), 'has an array of float128, a type'),
    (dict(y=Y + 1), 'y has the label 3; 3 classes have the labels 0 to 2'), (dict(y=Y - 1), 'y has the label -1'),
    (dict(y=Y.astype(np.float32)), 'y is float32; labels must be whole numbers')])
def test_what_is_no_data_is_refused_by_the_name_of_its_file(test, words, tmp_path):
    with pytest.raises(InputError, match='test.npz: .*' + words):
        arrays(written(tmp_path, **test), classes=3)


def test_a_member_that_is_no_array_is_no_array_x(tmp_path):
    directory = written(tmp_path)
    with zipfile.ZipFile(str(tmp_path / 'test.npz'), 'w') as file:
        file.writestr('x', b'bytes')
        file.writestr('y.npy', b'not of NumPy')
    with pytest.raises(InputError, match='test.npz: has no array x'):
        arrays(directory)
