"""Class folders: both layouts, the part that is held out, and what is refused."""
import os

import numpy as np
import pytest
from pictures import write_class_folders

from core.errors import InputError
from data import folders


def names(split):
    return [os.path.basename(os.path.dirname(file)) for file in split.x]


def test_folders_of_train_and_test_are_taken_as_they_are(tmp_path):
    write_class_folders(tmp_path / 'train', {'owl': 3, 'ant': 2})
    write_class_folders(tmp_path / 'test', {'owl': 1, 'ant': 2})
    data = folders.folders(str(tmp_path), seed=1)
    assert data.class_names == ('ant', 'owl')
    assert data.train.y.tolist() == [0, 0, 1, 1, 1] and names(data.train) == ['ant'] * 2 + ['owl'] * 3
    assert data.test.y.tolist() == [0, 0, 1]


def test_one_level_is_split_by_the_seed_alike_in_every_class(tmp_path):
    write_class_folders(tmp_path, {'a': 10, 'b': 20})
    (tmp_path / 'a' / 'notes.txt').write_text('')
    (tmp_path / '.cache').mkdir()
    first, again, other = (folders.folders(str(tmp_path), seed) for seed in (1, 1, 2))
    assert first.test.y.tolist() == [0] * 2 + [1] * 4
    assert not set(first.train.x) & set(first.test.x) and len(first.train.x) == 24
    assert list(first.test.x) == list(again.test.x) and list(first.test.x) != list(other.test.x)


def test_images_of_any_size_become_small_squares_and_broken_ones_are_named(tmp_path, capfd):
    write_class_folders(tmp_path, {'a': 60, 'b': 60})
    (tmp_path / 'b' / 'broken.jpg').write_bytes(b'no')
    data = folders.small_images(str(tmp_path), seed=1)
    assert data.train.x.shape[1:] == (32, 32, 3) and data.train.x.dtype == np.uint8
    assert len(data.train.y) + len(data.test.y) == 120
    assert data.train.x[0, 16, 16].tolist() == pytest.approx([220, 20, 20], abs=8)
    assert 'broken.jpg: cannot be decoded' in capfd.readouterr().out


def test_more_than_one_percent_of_broken_files_are_refused(tmp_path):
    write_class_folders(tmp_path, {'a': 4, 'b': 4})
    (tmp_path / 'b' / 'broken.png').write_bytes(b'no')
    with pytest.raises(InputError, match='broken.png: one of 1 files that cannot be decoded'):
        folders.small_images(str(tmp_path), seed=1)


def test_what_is_no_set_of_class_folders_is_refused(tmp_path):
    def refusal(path):
        with pytest.raises(InputError) as caught:
            folders.folders(str(path), 1)
        return str(caught.value)
    assert 'no such directory' in refusal(tmp_path / 'none')
    assert 'has 0 class folders; at least 2' in refusal(tmp_path)
    write_class_folders(tmp_path / 'one', {'a': 5})
    assert 'has 1 class folders' in refusal(tmp_path / 'one')
    write_class_folders(tmp_path / 'few', {'a': 5, 'b': 1})
    assert 'the class b has 1 images' in refusal(tmp_path / 'few')
    write_class_folders(tmp_path / 'half' / 'train', {'a': 1, 'b': 1})
    assert 'no such directory; class folders lie in train/ and test/' in refusal(tmp_path / 'half')
    write_class_folders(tmp_path / 'half' / 'test', {'a': 1, 'c': 1})
    assert 'must have the same class folders; b is in one only' in refusal(tmp_path / 'half')
