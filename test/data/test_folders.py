"""Class folders: every layout, the part that is held out, what is left out and told, and what is refused."""
import os

import numpy as np
import pytest
from pictures import encoded, write_class_folders

from core.errors import InputError
from data import catalogue, folders, images, pipeline
from data.dataset import KEPT_BYTES, DataSet


def names(split):
    return [os.path.basename(os.path.dirname(file)).decode() for file in split.x]


def read(path, seed=1):
    return folders.folders(str(path), seed)


def small_images(path):
    return images.of_size(folders.folders(str(path), 1), (32, 32), 1.)


def refusal(path):
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


def test_folders_of_train_and_test_are_taken_as_they_are(tmp_path):
    write_class_folders(tmp_path / 'train', {'owl': 3, 'ant': 2})
    write_class_folders(tmp_path / 'test', {'owl': 1, 'ant': 2})
    data = read(tmp_path)
    assert data.class_names == ('ant', 'owl')
    assert data.train.y.tolist() == [0, 0, 1, 1, 1] and names(data.train) == ['ant'] * 2 + ['owl'] * 3
    assert data.test.y.tolist() == [0, 0, 1]
    assert data.summary == 'read 5 training and 3 test images of 2 classes'


@pytest.mark.parametrize('train, test', [('Train', 'TEST'), ('train', 'val'), ('training', 'Valid'),
                                         ('train', 'validation'), ('photos/train', 'photos/val')])
def test_the_parts_have_any_of_their_names_in_any_case_and_may_lie_in_one_folder_more(tmp_path, train, test):
    write_class_folders(tmp_path / train, {'a': 3, 'b': 3})
    write_class_folders(tmp_path / test, {'a': 1, 'b': 1})
    data = read(tmp_path)
    assert (data.train.size, data.test.size) == (6, 2) and data.class_names == ('a', 'b')


def test_a_second_folder_for_tests_and_a_class_without_test_images_are_told(tmp_path):
    for part, counts in (('train', {'a': 3, 'b': 3}), ('test', {'a': 2}), ('validation', {'a': 1, 'b': 1})):
        write_class_folders(tmp_path / part, dict(counts, c=2))
    write_class_folders(tmp_path / 'valid', {'a': 1, 'b': 1})
    assert read(tmp_path).summary == ('read 8 training and 4 test images of 3 classes; validation/ not used; '
                                      'no test images of the class b; 2 validation images in valid/')


def test_one_level_is_split_by_the_seed_alike_in_every_class(tmp_path):
    write_class_folders(tmp_path, {'a': 10, 'b': 20})
    first, again, other = (read(tmp_path, seed) for seed in (1, 1, 2))
    assert first.test.y.tolist() == [0] * 2 + [1] * 4
    assert not set(first.train.x) & set(first.test.x) and len(first.train.x) == 24
    assert list(first.test.x) == list(again.test.x) and list(first.test.x) != list(other.test.x)


def test_what_systems_leave_beside_images_is_no_data_and_what_is_left_out_is_told(tmp_path):
    write_class_folders(tmp_path, {'a': 10, 'b': 10})
    for name in ('__MACOSX/a/._1.jpg', '.cache/x.jpg', 'a/.DS_Store', 'a/._1.jpg', 'a/Thumbs.db', 'b/desktop.ini',
                 '@eaDir/x.jpg'):
        os.makedirs(os.path.dirname(str(tmp_path / name)), exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    assert read(tmp_path).summary == 'read 16 training and 4 test images of 2 classes'
    for name in ('1.webp', '2.WEBP', '3.tif', 'LICENSE'):
        (tmp_path / 'a' / name).write_bytes(b'x')
    (tmp_path / 'labels.csv').write_bytes(b'x')
    (tmp_path / 'b' / 'more').mkdir()
    (tmp_path / 'empty').mkdir()
    assert read(tmp_path).summary == ('read 16 training and 4 test images of 2 classes; left out 5 files: .webp, '
                                      'without a suffix, .csv, .tif; 1 folder in class folders not read')


def test_suffixes_count_in_any_case_and_names_need_not_be_utf8(tmp_path):
    write_class_folders(tmp_path, {'a': 4, 'b': 4})
    os.rename(str(tmp_path / 'a' / '01.jpg'), str(tmp_path / 'a' / '01.JPG'))
    os.rename(os.fsencode(str(tmp_path / 'a' / '02.jpg')), os.fsencode(str(tmp_path / 'a')) + b'/\xe9.Jpeg')
    os.rename(os.fsencode(str(tmp_path / 'b')), os.fsencode(str(tmp_path)) + b'/caf\xe9')
    data = small_images(tmp_path)
    assert data.class_names == ('a', r'caf\xe9') and data.train.size + data.test.size == 8
    images, is_good = pipeline.samples(data.train, **data.loading)
    assert is_good.all() and images.shape == (6, 32, 32, 3)


def test_a_class_with_one_image_trains_on_it(tmp_path):
    write_class_folders(tmp_path, {'a': 5, 'b': 1})
    data = read(tmp_path)
    assert data.train.y.tolist() == [0] * 4 + [1] and data.test.y.tolist() == [0]
    assert data.summary.endswith('; no test images of the class b')
    write_class_folders(tmp_path / 'ones', {'a': 1, 'b': 1})
    assert 'every class has one image' in refusal(tmp_path / 'ones')


@pytest.mark.parametrize('kept', [True, False])
def test_images_of_any_size_become_small_squares_when_a_batch_needs_them(tmp_path, capfd, kept):
    write_class_folders(tmp_path, {'a': 30, 'b': 30})
    (tmp_path / 'b' / 'broken.jpg').write_bytes(b'no')
    data = small_images(tmp_path)
    assert data.loading['kept'] == (32, 32, 3)
    loading = dict(data.loading, kept=data.shape if kept else ())
    for split in (data.train, data.test):
        images, is_good = pipeline.samples(split, **loading)
        assert images.dtype == np.uint8 and images.shape == (split.size, 32, 32, 3)
        for x, y in zip(images[is_good], split.y[is_good]):
            assert x[16, 16].tolist() == pytest.approx([20 + 200 * (y == 0), 20 + 200 * (y == 1), 20], abs=8)
    assert data.train.size + data.test.size == 61 and len(data.skipped.names) == 1
    assert capfd.readouterr().out.count('broken.jpg: cannot be decoded: skipped') == 1
    data.skipped.check()


def test_decoded_images_are_kept_where_all_of_them_fit_the_budget():
    def data(rows):
        split = folders._split({b'a': [b'x'] * rows}, [b'a'])
        return DataSet(split, split, ('a',), load_one=len, shape=(32, 32, 3))
    fitting = KEPT_BYTES // (2 * 32 * 32 * 3)
    assert data(fitting).loading['kept'] == (32, 32, 3) and data(fitting + 1).loading['kept'] == ()


def test_kept_images_are_not_decoded_again(tmp_path):
    import tensorflow as tf
    write_class_folders(tmp_path, {'a': 6, 'b': 6})
    data = small_images(tmp_path)
    loaded = []

    def fetch(name):
        noted = tf.py_func(lambda name: loaded.append(name) or name, [name], tf.string)
        return tf.read_file(tf.reshape(noted, []))
    with tf.Graph().as_default(), tf.Session() as session:
        batches = pipeline.train_input(data.train._replace(fetch=fetch), 5, 1, **data.loading)
        batches.initialize(session)
        got = [session.run(batches.batch) for _ in range(100)]    # more than are prepared beforehand
        assert len(set(loaded)) == data.train.size
        before = len(loaded)
        got += [session.run(batches.batch) for _ in range(20)]
    assert len(loaded) == before
    for x, y in got:
        assert (x[:, 16, 16].argmax(1) == y).all()


def test_broken_files_are_left_out_until_they_are_a_tenth(tmp_path):
    write_class_folders(tmp_path, {'a': 10, 'b': 10})
    for number in range(3):
        (tmp_path / 'b' / ('broken%d.png' % number)).write_bytes(b'no')
        data = small_images(tmp_path)
        for split in (data.train, data.test):
            pipeline.samples(split, **data.loading)
        if number < 2:
            data.skipped.check()
    with pytest.raises(InputError, match='broken0.png: cannot be decoded; 3 of 23 images cannot be loaded, more'):
        data.skipped.check()


@pytest.mark.parametrize('content, kind', [
    (b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'), (b'RIFF\0\0\0\0WEBPVP8 ', 'a WebP image'),
    (b'<!doctype html>', 'an HTML page')])
def test_files_that_are_all_something_else_are_called_what_they_are(tmp_path, content, kind):
    write_class_folders(tmp_path, {'a': 3, 'b': 3})
    for file in (tmp_path / 'b').iterdir():
        file.write_bytes(content)
    assert 'b/00.jpg: is ' + kind in refusal(tmp_path)
    for name in ('00.jpg', '01.jpg'):
        (tmp_path / 'b' / name).write_bytes(encoded(np.zeros([9, 9, 3], np.uint8), 'jpg'))
    read(tmp_path)                     # one file of another kind is left to Skipped


def test_what_is_no_set_of_class_folders_is_refused(tmp_path):
    assert 'no such directory' in refusal(tmp_path / 'none')
    assert 'has 0 class folders with images' in refusal(tmp_path)
    (tmp_path / 'photos.tar').write_bytes(b'x')
    assert refusal(tmp_path).endswith('; photos.tar there is an archive: unpack it')
    write_class_folders(tmp_path / 'one', {'a': 5})
    assert 'has 1 class folders' in refusal(tmp_path / 'one')
    write_class_folders(tmp_path / 'half' / 'train', {'a': 1, 'b': 1})
    assert 'has train/ but no folder for the test part' in refusal(tmp_path / 'half')
    write_class_folders(tmp_path / 'half' / 'test', {'a': 1, 'c': 1})
    assert 'test/ has the class c, which train/ has not' in refusal(tmp_path / 'half')
    write_class_folders(tmp_path / 'webp', {'a': 5, 'b': 5})
    (tmp_path / 'webp' / 'c').mkdir()
    (tmp_path / 'webp' / 'c' / '1.webp').write_bytes(b'x')
    assert 'the class c has no images (.jpg .jpeg .png .bmp .gif); left out 1 file: .webp' in refusal(tmp_path / 'webp')


def test_images_one_level_deeper_are_named(tmp_path):
    for kind in ('animals', 'plants'):
        write_class_folders(tmp_path / kind, {'a': 2, 'b': 2})
    message = refusal(tmp_path)
    assert 'the images lie one level deeper, as in animals/a/' in message and message.endswith('%s/animals' % tmp_path)


def looked_up(monkeypatch):
    """The names of the directories that are listed from now on."""
    found, original = [], catalogue.listing

    def listing(path, suffixes):
        found.append(os.path.basename(path).decode())
        return original(path, suffixes)
    monkeypatch.setattr(catalogue, 'listing', listing)
    return found


def settled(directory):
    """Makes the directories as old as those of a data set are."""
    for folder, _, _ in os.walk(str(directory)):
        os.utime(folder, (1e9, 1e9))


def same_names(one, other):
    return one.summary == other.summary and all(a.x.tolist() == b.x.tolist() and a.y.tolist() == b.y.tolist()
                                                for a, b in zip(one[:2], other[:2]))


def test_what_one_look_has_found_is_not_listed_again_by_the_ranks(tmp_path, monkeypatch):
    write_class_folders(tmp_path / 'data', {'a': 6, 'b': 6, b'\xff'.decode(errors='surrogateescape'): 6})
    settled(tmp_path / 'data')
    first, plain = folders.folders(str(tmp_path / 'data'), 1, str(tmp_path / 'cache')), read(tmp_path / 'data')
    looked = looked_up(monkeypatch)
    monkeypatch.setattr(images, 'check_kind', None)
    again = folders.folders(str(tmp_path / 'data'), 1, str(tmp_path / 'cache'))
    assert same_names(first, again) and same_names(first, plain) and looked == []


def test_a_directory_that_has_changed_is_listed_again_and_one_that_may_still_change_is(tmp_path, monkeypatch):
    write_class_folders(tmp_path / 'data', {'a': 6, 'b': 6})
    cache = str(tmp_path / 'cache')
    folders.folders(str(tmp_path / 'data'), 1, cache)          # just written
    looked = looked_up(monkeypatch)
    folders.folders(str(tmp_path / 'data'), 1, cache)
    assert {'a', 'b'} <= set(looked)
    settled(tmp_path / 'data')
    folders.folders(str(tmp_path / 'data'), 1, cache)
    os.rename(str(tmp_path / 'data' / 'a' / '00.jpg'), str(tmp_path / 'data' / 'a' / 'new.jpg'))
    looked.clear()
    changed = folders.folders(str(tmp_path / 'data'), 1, cache)
    assert looked == ['a'] and same_names(changed, read(tmp_path / 'data'))


@pytest.mark.parametrize('damage', [lambda text: text[:-1], lambda text: b'', lambda text: text.replace(b'00', b'01'),
                                    lambda text: b'{}'])
def test_a_damaged_catalogue_is_made_anew(tmp_path, damage):
    write_class_folders(tmp_path / 'data', {'a': 6, 'b': 6})
    settled(tmp_path / 'data')
    first = folders.folders(str(tmp_path / 'data'), 1, str(tmp_path / 'cache'))
    file, = (tmp_path / 'cache').glob('*')
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert same_names(folders.folders(str(tmp_path / 'data'), 1, str(tmp_path / 'cache')), first)
    assert file.read_bytes() == whole
