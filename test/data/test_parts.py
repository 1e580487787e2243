"""The parts of a data set: a validation part that is drawn, or lies in a folder, and samples that are in two parts."""
import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
from pictures import write_class_folders

from core.errors import InputError
from data import cats_dogs, duplicates, synthetic
from data.dataset import DataSet, Split, whole
from data.folders import folders
from data.validation import held_out


def arrays(labels):
    labels = np.array(labels, np.int32)
    return DataSet(Split(np.arange(len(labels))[:, None], labels), Split(np.zeros([1, 1]), labels[:1]), ())


def test_each_class_gives_its_part_and_no_sample_is_in_two_parts():
    data = arrays([0] * 50 + [1] * 20 + [2] * 3 + [3])
    drawn = held_out(data, .1, seed=3)
    assert np.bincount(drawn.validation.y).tolist() == [5, 2, 1] and drawn.test is data.test
    assert sorted(np.append(drawn.train.x, drawn.validation.x)) == list(range(74))
    assert (drawn.train.x.ravel() == np.sort(drawn.train.x.ravel())).all()
    again, other = held_out(data, .1, seed=3), held_out(data, .1, seed=4)
    assert (again.validation.x == drawn.validation.x).all() and (other.validation.x != drawn.validation.x).any()
    assert drawn.summary == '8 of the training samples are held out for validation'


def test_a_part_without_a_sample_is_refused():
    numbers = arrays(range(5))
    numbers = numbers._replace(train=numbers.train._replace(y=np.zeros(5, np.float32)))
    for part in (.01, .99):
        with pytest.raises(InputError, match='--validation=%s: . of 5 training samples' % part):
            held_out(numbers, part, 0)


def test_a_file_that_is_trained_on_several_times_is_in_one_part(tmp_path):
    synthetic.write_cats_dogs(str(tmp_path), 24)
    data = cats_dogs.cats_dogs(str(tmp_path), 1, crops=10, validation=.2)
    plain = cats_dogs.cats_dogs(str(tmp_path), 1, crops=10)
    parts = [set(part.x) for part in (data.train, data.validation, data.test)]
    assert not any(one & other for one, other in itertools.combinations(parts, 2)) and len(parts[1]) == 4
    assert parts[0] | parts[1] == set(plain.train.x) and (data.test.x == plain.test.x).all()
    drawn = held_out(plain, .2, 1)
    assert not set(drawn.train.x) & set(drawn.validation.x) and len(drawn.train.x) == 10 * len(set(drawn.train.x))
    assert whole(data).test.size == 24 == whole(drawn).test.size


def test_a_folder_validation_beside_test_is_the_validation_part_and_alone_the_test_part(tmp_path):
    for folder, count in ('train', 4), ('Test', 2), ('val', 1):
        write_class_folders(tmp_path / folder, {'red': count, 'green': count})
    data = folders(str(tmp_path), 1)
    assert (data.train.size, data.test.size, data.validation.size) == (8, 4, 2)
    assert '; 2 validation images in val/' in data.summary and len(data.skipped.files) == 14
    os.rename(str(tmp_path / 'Test'), str(tmp_path / 'train' / 'Test'))
    data = folders(str(tmp_path), 1)
    assert data.test.size == 2 and data.validation is None


def test_a_part_without_classes_is_named_by_its_folder_and_a_file_is_no_part(tmp_path):
    for folder in 'train', 'test':
        write_class_folders(tmp_path / folder, {'red': 1, 'green': 1})
    (tmp_path / 'validation').write_text('')
    assert folders(str(tmp_path), 1).validation is None
    (tmp_path / 'validation').unlink()
    (tmp_path / 'validation').mkdir()
    with pytest.raises(InputError, match=': validation/ has 0 class folders with images'):
        folders(str(tmp_path), 1)


def test_what_is_in_two_parts_is_told_with_the_first_names(tmp_path):
    contents = dict(a=b'x' * 5000, b=b'x' * 4999 + b'y', c=b'x' * 5000, d=b'z', e=b'x' * 5000)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    def files(*names):
        return Split(np.array([os.fsencode(str(tmp_path / name)) for name in names], object),
                     np.zeros(len(names), np.int32), tf.read_file)
    data = DataSet(files('a', 'b', 'b'), files('c', 'd', 'e', 'missing'), (), validation=files('d'))
    place = tmp_path.name
    assert duplicates.told(data) == '2 test samples are in the training part, too: {0}/c = {0}/a, {0}/e = {0}/a; ' \
        '1 test sample is in the validation part, too: {0}/d = {0}/d'.format(place)
    assert duplicates.told(data._replace(test=files('b'), validation=None)).startswith('1 test sample is in the train')
    assert duplicates.told(DataSet(files('a'), files('b'), ())) == ''


@pytest.mark.parametrize('shape, dtype', [([4, 4, 3], np.uint8), ([3], np.uint8), ([2], np.float32)])
def test_rows_of_arrays_are_the_same_when_all_their_values_are(shape, dtype):
    random = np.random.RandomState(0)
    x, y = (random.randint(0, 256, [count] + shape).astype(dtype) for count in (60, 30))
    assert duplicates.told(DataSet(Split(x, x), Split(y, y), ())) == ''
    y[7], y[9] = x[3], x[3]
    y[9, ..., -1] = 255 - y[9, ..., -1]
    assert duplicates.told(DataSet(Split(x, x), Split(y, y), ())) == (
        '1 test sample is in the training part, too: row 7 = row 3')
