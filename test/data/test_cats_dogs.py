"""Cats and dogs: which files, which crops, and what a corrupt file does."""
import functools
import os

import numpy as np
import pytest
import tensorflow as tf

from core.errors import InputError
from data import cats_dogs, pipeline, synthetic
from data.dataset import Split
from data.listing import Listing
from data.loading import Skipped

JPEG = b'\xff\xd8'              # how a file starts; listing decodes none


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A directory of 24 synthetic JPEG files."""
    directory = str(tmp_path_factory.mktemp('jpeg'))
    synthetic.write_cats_dogs(directory, 24)
    return directory


def touch(folder, cats=4, dogs=4):
    os.makedirs(str(folder), exist_ok=True)
    for kind, count in [('cat', cats), ('dog', dogs)]:
        for number in range(count):
            (folder / f'{kind}.{number}.jpg').write_bytes(JPEG)
    return str(folder)


def write_jpeg(path, pixels):
    with tf.Graph().as_default(), tf.Session() as session:
        jpeg = session.run(tf.image.encode_jpeg(pixels, quality=100, chroma_downsampling=False))
    with open(str(path), 'wb') as file:
        file.write(jpeg)
    return str(path)


def decode(path):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.image.decode_jpeg(tf.read_file(path))).astype(np.float32)


@functools.lru_cache(maxsize=None)
def loader(load_one):
    """load_one as a function of a path and a seed; a graph and a session for all calls."""
    with tf.Graph().as_default():
        path, seed = tf.placeholder(tf.string, []), tf.placeholder(tf.int32, [2])
        loaded = load_one(tf.read_file(path), tf.constant(1), seed)
        session = tf.Session()
    return lambda *given: session.run(loaded, {path: given[0], seed: given[1]})


def load(load_one, path, seed=(1, 2)):
    """The image that a loader makes of a file, with its mean put back."""
    image, label = loader(load_one)(path, seed)
    assert label == 1
    return image + np.float32(cats_dogs.MEAN)


def test_names_classes_and_the_held_out_part(tmp_path):
    data = cats_dogs.cats_dogs(touch(tmp_path, cats=50, dogs=100), seed=1)
    assert len(data.train.y) == 144 and len(data.test.y) == 6
    np.testing.assert_array_equal(np.bincount(data.test.y), [2, 4])
    for split in (data.train, data.test):
        for name, label in zip(split.x, split.y):
            assert os.path.basename(name).startswith((b'cat', b'dog')[label])
    everything = {*data.train.x, *data.test.x}
    assert len(everything) == 150 and all(os.path.isfile(name) for name in everything)


def test_the_seed_decides_what_is_held_out(tmp_path):
    path = touch(tmp_path, 100, 100)
    held_out = [sorted(cats_dogs.cats_dogs(path, seed).test.x) for seed in (1, 1, 2)]
    assert held_out[0] == held_out[1] != held_out[2]


def pretend(monkeypatch, numbers):
    """Makes every directory hold cat.N.jpg and dog.N.jpg of these numbers."""
    names = [b'%s.%s.jpg' % (kind, number.encode()) for number in numbers for kind in (b'cat', b'dog')]
    monkeypatch.setattr(cats_dogs, 'listing', lambda folder, suffixes: Listing([], names, {}))
    monkeypatch.setattr(cats_dogs.images, 'check_kind', lambda names: None)


@pytest.mark.slow
def test_of_a_large_set_a_thousand_are_held_out(monkeypatch, tmp_path):
    pretend(monkeypatch, map(str, range(30000)))
    data = cats_dogs.cats_dogs(str(tmp_path), seed=1)
    assert len(data.test.y) == 1000 and len(data.train.y) == 59000


@pytest.mark.slow
def test_a_thousand_photographs_are_held_out_also_when_they_are_crops(monkeypatch, tmp_path):
    pretend(monkeypatch, ['%09d%d' % (photo, crop) for photo in range(12500) for crop in range(10)])
    data = cats_dogs.cats_dogs(str(tmp_path), seed=1, crops=10)
    assert (len(data.test.y), len(data.train.y)) == (10000, 240000)


@pytest.mark.parametrize('inside', ['', 'train', 'data_preprocessed/train',
                                    'data/data_preprocessed/train'])
def test_files_are_found_in_or_under_the_directory(tmp_path, inside):
    touch(tmp_path / inside)
    (tmp_path / inside / 'notes.txt').write_bytes(b'')
    (tmp_path / inside / 'cat.x.jpg').write_bytes(b'')
    assert len(cats_dogs.cats_dogs(str(tmp_path), seed=1).train.y) == 6


@pytest.mark.parametrize('cats, dogs, fault', [
    (0, 0, '0 photographs cat.N.jpg'), (4, 0, '0 photographs dog.N.jpg'), (1, 4, '1 photographs cat.N.jpg')])
def test_a_directory_without_both_classes_is_refused(tmp_path, cats, dogs, fault):
    with pytest.raises(InputError, match=f'--data_path={tmp_path}: holds {fault}'):
        cats_dogs.cats_dogs(touch(tmp_path, cats, dogs), seed=1)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match='no such directory'):
        cats_dogs.cats_dogs(str(tmp_path / 'absent'), seed=1)


def test_the_vendors_crops_are_read_and_those_of_a_photograph_held_out_together(tmp_path):
    for kind in cats_dogs.CLASSES:
        for photo in range(10):
            for crop in range(10):
                (tmp_path / ('%s.%09d%d.jpg' % (kind, photo, crop))).write_bytes(JPEG)
    data = cats_dogs.cats_dogs(str(tmp_path), seed=1)
    photos = [{os.path.basename(name)[:len('cat.000000000')] for name in split.x} for split in (data.train, data.test)]
    assert [len(found) for found in photos] == [18, 2] and not photos[0] & photos[1]
    assert len(data.train.x) == 180 and all(os.path.isfile(name) for name in data.train.x)


@pytest.mark.slow
@pytest.mark.parametrize('load_one', [cats_dogs.load_training, cats_dogs.load_test, cats_dogs.load_ten_crops])
def test_a_file_that_is_cut_off_is_never_decoded_and_one_with_more_at_its_end_is(images, tmp_path, load_one):
    with open(os.path.join(images, 'cat.0.jpg'), 'rb') as file:
        whole = file.read()
    path = tmp_path / 'changed.jpg'
    for seed in range(8):
        path.write_bytes(whole[:len(whole) * 97 // 100])
        with pytest.raises(tf.errors.InvalidArgumentError):
            load(load_one, str(path), (seed, 2))
    path.write_bytes(whole + b'more')
    assert np.isfinite(load(load_one, str(path))).all()


def smooth(height, width):
    down, right = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    return (np.stack([down, right, 1 - down], axis=-1) * 200 + 20).astype(np.uint8)


def test_a_227_image_is_its_own_crop_untouched(tmp_path):
    path = write_jpeg(tmp_path / 'a.jpg', smooth(227, 227))
    pixels = decode(path)
    np.testing.assert_allclose(load(cats_dogs.load_test, path), pixels, atol=1e-3)
    for crop in load(cats_dogs.load_ten_crops, path)[:5]:
        np.testing.assert_allclose(crop, pixels, atol=1e-3)
    drawn = load(cats_dogs.load_training, path)
    flips = [np.ptp(drawn - other, axis=(0, 1)).max() for other in (pixels, pixels[:, ::-1])]
    assert min(flips) < 1e-3  # one colour apart


def test_a_256_image_is_cropped_without_resampling(tmp_path):
    path = write_jpeg(tmp_path / 'a.jpg', smooth(256, 256))
    pixels = decode(path)
    np.testing.assert_allclose(load(cats_dogs.load_test, path), pixels[14:241, 14:241], atol=1e-3)
    crops = load(cats_dogs.load_ten_crops, path)
    np.testing.assert_allclose(crops[0], pixels[:227, :227], atol=1e-3)
    np.testing.assert_allclose(crops[1], pixels[:227, 29:], atol=1e-3)
    np.testing.assert_allclose(crops[2], pixels[29:, :227], atol=1e-3)
    np.testing.assert_allclose(crops[3], pixels[29:, 29:], atol=1e-3)
    np.testing.assert_allclose(crops[4], pixels[14:241, 14:241], atol=1e-3)
    np.testing.assert_array_equal(crops[5:], crops[:5, :, ::-1])


@pytest.mark.parametrize('height, width', [(512, 768), (400, 300), (100, 90), (1, 1)])
def test_any_size_is_scaled_to_a_shortest_side_of_256(tmp_path, height, width):
    path = write_jpeg(tmp_path / 'a.jpg', smooth(height, width))
    with tf.Graph().as_default(), tf.Session() as session:
        scale = 256 / min(height, width)
        scaled = [int(round(height * scale)), int(round(width * scale))]
        whole = session.run(tf.compat.v1.image.resize_bilinear(
            decode(path)[None], scaled, half_pixel_centers=True))[0]
    top, left = (scaled[0] - 227) // 2, (scaled[1] - 227) // 2
    crop = load(cats_dogs.load_test, path)
    assert abs(crop - whole[top:top + 227, left:left + 227]).max() < 6


@pytest.mark.slow
def test_training_crops_move_flip_and_change_colour_by_the_seed(tmp_path):
    path = write_jpeg(tmp_path / 'a.jpg', smooth(300, 400))
    drawn = [load(cats_dogs.load_training, path, seed=(1, number)) for number in range(12)]
    assert all(image.shape == (227, 227, 3) for image in drawn)
    to_the_right = [image[0, -1, 1] > image[0, 0, 1] for image in drawn]
    assert {True, False} == set(to_the_right)
    assert len({image.tobytes() for image in drawn}) == 12
    np.testing.assert_array_equal(drawn[3], load(cats_dogs.load_training, path, seed=(1, 3)))


def test_colour_noise_has_the_published_components():
    with tf.Graph().as_default(), tf.Session() as session:
        noise = cats_dogs._colour_noise(tf.constant([1, 2]))
        seeds = tf.stack([tf.zeros([4000], tf.int64), tf.range(4000, dtype=tf.int64)], axis=1)
        colours = session.run(tf.map_fn(cats_dogs._colour_noise, seeds, tf.float32))
        assert session.run(noise).shape == (3,)
    values, vectors = np.linalg.eigh(np.cov(colours, rowvar=False))
    np.testing.assert_allclose(np.sqrt(values[::-1]), 25.5 * np.array(cats_dogs.VARIANCES),
                               rtol=0.05)
    alike = abs(np.sum(vectors[:, ::-1] * cats_dogs.COMPONENTS, axis=0))
    np.testing.assert_allclose(alike, 1, atol=0.01)


def split_of(directory, damaged=()):
    """All files of `directory` as a Split; damaged: {number of a file: what it holds instead}."""
    names = sorted(os.fsencode(os.path.join(directory, name)) for name in os.listdir(directory))
    names = [write(directory + '-damaged', name, damaged[number]) if number in damaged else name
             for number, name in enumerate(names)]
    return Split(np.array(names, object), np.arange(len(names), dtype=np.int32), tf.read_file)


def write(folder, name, content):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(os.fsencode(folder), os.path.basename(name))
    with open(path, 'wb') as file:
        file.write(content)
    return path


def train_batches(split, steps, skipped, first_step=0):
    with tf.Graph().as_default(), tf.Session() as session:
        source = pipeline.train_input(split, 4, seed=1, load_one=cats_dogs.load_training,
                                      skipped=skipped)
        source.initialize(session, first_step)
        return [session.run(source.batch) for _ in range(steps)]


@pytest.mark.slow
def test_a_corrupt_file_gives_its_place_to_the_next_good_one(images):
    bad = {5: b'not a JPEG'}
    whole = train_batches(split_of(images), 6, Skipped(range(24)))
    skipped = Skipped(range(24))
    patched = train_batches(split_of(images, bad), 6, skipped)
    order = np.concatenate([y for _, y in whole])
    expected = np.where(order == 5, np.roll(order, -1), order)
    np.testing.assert_array_equal(np.concatenate([y for _, y in patched]), expected)
    for (x, y), (other_x, other_y) in zip(whole, patched):
        np.testing.assert_array_equal(x[y == other_y], other_x[y == other_y])
    assert len(skipped.names) == 1 and split_of(images, bad).x[5] in skipped.names
    resumed = train_batches(split_of(images, bad), 2, Skipped(range(24)), first_step=4)
    np.testing.assert_array_equal(resumed[1][0], patched[5][0])


@pytest.mark.slow
def test_in_tests_a_corrupt_file_weighs_nothing(images):
    with open(split_of(images).x[8], 'rb') as file:
        whole = file.read()
    damaged = {5: b'', 6: b'not a JPEG', 7: b'\x89PNG\r\n\x1a\n', 8: whole[:len(whole) // 4]}
    with tf.Graph().as_default(), tf.Session() as session:
        source = pipeline.test_input(split_of(images, damaged), 10, skipped=Skipped(range(24)),
                                     load_one=cats_dogs.load_test)
        source.initialize(session)
        weight = np.concatenate([session.run(source.batch[2]) for _ in range(source.batches)])
    np.testing.assert_array_equal(np.flatnonzero(weight == 0), [5, 6, 7, 8, 24, 25, 26, 27, 28, 29])


def test_a_corrupt_file_is_named_once_and_more_than_a_tenth_stop_the_run(capsys):
    skipped = Skipped(range(21))
    for name in (b'/a/cat.1.jpg', b'/a/cat.1.jpg', b'/a/d\xf6g.2.jpg'):
        skipped.report(np.array([name], object))
    skipped.check()
    shown = capsys.readouterr().out
    assert shown.count('/a/cat.1.jpg') == 1 and shown.count(r'/a/d\xf6g.2.jpg') == 1
    skipped.report(np.array([b'/a/dog.3.jpg'], object))
    with pytest.raises(InputError, match='3 of 21 images cannot be loaded, more than 10 %'):
        skipped.check()


@pytest.mark.slow
def test_without_a_count_of_the_skipped_a_corrupt_file_ends_the_run(images):
    with pytest.raises(tf.errors.InvalidArgumentError):
        train_batches(split_of(images, {5: b'not a JPEG'}), 6, skipped=None)


def test_synthetic_files_have_assorted_sizes_and_both_classes(images):
    data = cats_dogs.cats_dogs(images, seed=1)
    assert len(data.train.y) + len(data.test.y) == 24 and set(data.test.y) == {0, 1}
    assert len({decode(name).shape for name in data.train.x[:6]}) > 1
