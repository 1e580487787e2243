"""Pictures in files: every format decodes to the same colours, and what is none is named."""
import numpy as np
import pytest
import tensorflow as tf
from pictures import GIF, encoded

from core.errors import InputError
from data import cats_dogs, images
from data.dataset import DataSet

IMAGE = np.random.RandomState(0).randint(0, 256, [6, 5, 3]).astype(np.uint8)


@pytest.fixture(scope='module')
def read(tmp_path_factory):
    """read(bytes) -> the decoded image."""
    reader, path = images.ImageReader(lambda image: image), tmp_path_factory.mktemp('images') / 'file'

    def act(content):
        path.write_bytes(content)
        return reader(str(path))
    return act


def test_png_and_bmp_give_the_pixels_with_and_without_transparency(read):
    clear = np.concatenate([IMAGE, np.full([6, 5, 1], 7, np.uint8)], 2)
    for content in (encoded(IMAGE, 'png'), encoded(IMAGE, 'bmp'), encoded(clear, 'png'), encoded(clear, 'bmp')):
        assert (read(content) == IMAGE).all()


def test_grey_images_have_three_channels(read):
    assert (read(encoded(IMAGE[..., :1], 'png')) == IMAGE[..., :1]).all()
    assert read(encoded(IMAGE[..., :1], 'jpg')).shape == (6, 5, 3)


def test_an_animated_gif_shows_its_first_image(read):
    assert read(GIF).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize('content', [
    b'', b'x', b'BM', b'BM' + b'\xf6' * 20, b'BM' + b'\0' * 60, b'GIF89a', encoded(IMAGE, 'png')[:40],
    encoded(IMAGE, 'jpg')[:100], encoded(IMAGE, 'bmp')[:60]])
def test_what_is_no_image_or_cut_off_is_refused_by_name(content, read):
    with pytest.raises(InputError, match='file: cannot be decoded as a PNG, JPEG, BMP or GIF image'):
        read(content)


def test_a_square_is_the_middle_of_a_picture_and_a_small_picture_is_its_own_square(tmp_path):
    wide = np.zeros([32, 96, 3], np.uint8)
    wide[:, 32:64] = np.random.RandomState(1).randint(0, 256, [32, 32, 3])
    path = tmp_path / 'wide.png'
    path.write_bytes(encoded(wide, 'png'))
    assert (images.ImageReader(lambda image: images.square(image, 32))(str(path)) == wide[:, 32:64]).all()


def test_png_files_of_the_size_that_is_wanted_are_decoded_together_and_others_one_by_one(tmp_path):
    reader, contents = images.ImageReader(lambda image: image, (6, 5)), {}
    for number in range(35):
        contents[str(tmp_path / str(number))] = encoded(np.roll(IMAGE, number), 'png')
    others = [str(tmp_path / name) for name in ('turned', 'jpeg', 'empty')]
    contents.update(zip(others, [encoded(IMAGE.transpose(1, 0, 2), 'png'), encoded(IMAGE, 'jpg'), b'']))
    for path, content in contents.items():
        with open(path, 'wb') as file:
            file.write(content)
    found = reader.together([*contents, str(tmp_path), str(tmp_path / 'nowhere')])
    assert list(found) == list(contents)[:35]
    assert all((image == np.roll(IMAGE, number)).all() for number, image in enumerate(found.values()))
    (tmp_path / 'cut').write_bytes(encoded(IMAGE, 'png')[:40])
    assert not reader.together([str(tmp_path / '0'), str(tmp_path / 'cut')])
    assert not images.ImageReader(lambda image: image).together(list(contents))


@pytest.mark.parametrize('of_no_kind, is_refused', [((0, 1, 2, 3, 4), True), ((0, 2, 4), True), ((1, 3), False),
                                                    ((0, 2), False), ((2, 4), False), ((0, 4), False)])
def test_a_set_is_refused_at_its_first_middle_and_last_file_if_none_is_an_image(tmp_path, of_no_kind, is_refused):
    names = [tmp_path / ('%d.jpg' % number) for number in range(5)]
    for number, name in enumerate(names):
        name.write_bytes(b'<!DOCTYPE html>' if number in of_no_kind else encoded(IMAGE, 'jpg'))
    paths = [str(name).encode() for name in names]
    if is_refused:
        with pytest.raises(InputError, match='0.jpg: is an HTML page'):
            images.check_kind(paths)
    else:
        images.check_kind(paths)


def test_images_of_a_size_are_loaded_with_three_channels():
    data = images.of_size(DataSet(None, None, ('one', 'two')), (20, 30), 1.)
    with tf.Graph().as_default(), tf.Session() as session:
        image, label = session.run(data.load_one(tf.constant(encoded(IMAGE, 'png')), tf.constant(1), None))
    assert image.shape == data.shape == (20, 30, 3) and label == 1


@pytest.mark.slow
def test_the_central_crop_of_a_decoded_picture_is_the_one_of_alexnets_tests(tmp_path):
    path = str(tmp_path / 'photo.jpg')
    with open(path, 'wb') as file:
        file.write(encoded(np.random.RandomState(2).randint(0, 256, [300, 400, 3]).astype(np.uint8), 'jpg'))
    with tf.Graph().as_default(), tf.Session() as session:
        expected = session.run(cats_dogs.load_test(tf.read_file(path), 0, None)[0])
        found = session.run(cats_dogs.centred(images.ImageReader(cats_dogs.central_crop)(path)))
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('seen, size, part, expected', [
    ((32, 40), (28, 28), 28 / 32, np.s_[2:30, 6:34]),          # as 224 of a shorter side of 256
    ((40, 80), (40, 60), 1, np.s_[:, 10:70]), ((33, 20), (20, 20), 1, np.s_[6:26, :])])
def test_the_centre_has_the_proportions_and_the_part_that_are_asked_for(seen, size, part, expected):
    pixels = np.random.RandomState(0).randint(0, 256, seen + (3,)).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(images.centre(tf.constant(pixels), size, part))
    np.testing.assert_array_equal(found, pixels[expected])
