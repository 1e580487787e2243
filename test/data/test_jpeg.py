"""JPEG files as people see them: turned upright, alike in every reader, and named where a part is missing."""
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from launching import ROOT
from pictures import STORED, encoded, exif

from core.errors import InputError
from data import cats_dogs, images, jpeg

SEEN = np.zeros([240, 320, 3], np.uint8)
SEEN[:120, :160], SEEN[:120, 160:], SEEN[120:, :160] = (250, 20, 20), (20, 250, 20), (20, 20, 250)


def photograph(number, **form):
    content = encoded(np.ascontiguousarray(STORED[number](SEEN)), 'jpg')
    return content[:2] + exif(number, **form) + content[2:]


@pytest.mark.parametrize('number', range(1, 9))
def test_the_orientation_is_read_in_both_byte_orders_and_behind_other_segments(number):
    other = b'\xff\xff\xe2\0\x06abcd'        # with a byte to fill up, as the format allows
    for form in ({}, dict(order='<'), dict(before=other)):
        assert jpeg.orientation_in(photograph(number, **form)) == number


@pytest.mark.parametrize('head', [
    b'', b'\xff\xd8', b'\xff\xd8\xff', b'\xff\xd8' + exif(9), b'\xff\xd8' + exif(6, kind=4), b'\xff\xd8' + exif(6)[:30],
    b'\xff\xd8\xff\xe1\0\x0aExif\0\0MM', b'\xff\xd8\xff\xe1\0\0' * 9, b'\xff\xd8\xff\xda\0\x02' + exif(6),
    b'\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*\xff\xff\xff\xff' + bytes(30)])
def test_a_head_without_an_orientation_or_with_a_broken_one_is_upright(head):
    assert jpeg.orientation_in(head) == 1


@pytest.mark.parametrize('number', range(1, 9))
def test_a_photograph_is_seen_upright_by_every_reader(number, tmp_path):
    name = str(tmp_path / 'photo.jpg')
    with open(name, 'wb') as file:
        file.write(photograph(number))
    assert np.abs(images.ImageReader(lambda x: x)(name).astype(int) - SEEN).mean() < 3
    with tf.Graph().as_default(), tf.Session() as session:
        square, _ = images.load_square(32)(tf.read_file(name), 0, None)
        crop, _ = cats_dogs.load_test(tf.read_file(name), 0, None)
        ten, _ = cats_dogs.load_ten_crops(tf.read_file(name), 0, None)
        square, crop, ten = session.run((square, crop + cats_dogs.MEAN, ten + cats_dogs.MEAN))
    for image in (square, crop, ten[4]):
        corners = image[[3, 3, -4], [3, -4, 3]]
        np.testing.assert_allclose(corners, [(250, 20, 20), (20, 250, 20), (20, 20, 250)], atol=12)


@pytest.mark.parametrize('number', [3, 6, 8])
def test_a_random_crop_for_training_is_a_part_of_the_upright_photograph(number, tmp_path):
    name = str(tmp_path / 'photo.jpg')
    random = np.random.RandomState(0)
    seen = np.kron(random.randint(0, 256, [8, 12, 3]), np.ones([30, 30, 1])).astype(np.uint8)
    crops = []
    for of in (1, number):
        content = encoded(np.ascontiguousarray(STORED[of](seen)), 'jpg')
        with open(name, 'wb') as file:
            file.write(content[:2] + exif(of) + content[2:])
        with tf.Graph().as_default(), tf.Session() as session:
            crops.append([session.run(cats_dogs.load_training(tf.read_file(name), 0, tf.constant([seed, 7]))[0])
                          for seed in range(3)])
    for upright, turned in zip(*crops):
        assert np.abs(upright - turned).mean() < 4


def half(content):
    """The file cut in half, closed as a whole one is."""
    return content[:len(content) // 2] + jpeg.END


NOISE = encoded(np.random.RandomState(0).randint(0, 256, [120, 150, 3]).astype(np.uint8), 'jpg')
GREY = encoded(np.full([60, 60, 3], 128, np.uint8), 'jpg')


def test_what_libjpeg_says_of_a_file_is_heard_and_what_else_is_written_meanwhile_goes_on(capfd):
    assert jpeg.damage(NOISE) is None and jpeg.damage(GREY) is None
    assert jpeg.damage(half(NOISE)) == 'premature end of data segment'
    assert jpeg.damage(NOISE[:-2] + bytes(5) + jpeg.END) is None      # extraneous bytes, as many cameras leave them
    assert 'JPEG' not in capfd.readouterr().err
    assert jpeg.heard(lambda: os.write(2, b'a line of another\n')) == (18, None)
    assert capfd.readouterr().err == 'a line of another\n'


def test_a_progressive_jpeg_that_is_cut_off_is_left_out_in_training_though_no_part_of_it_is_grey():
    with tf.Session() as session:
        smooth = tf.image.resize_bilinear(np.random.RandomState(0).randint(0, 256, [1, 9, 12, 3]), [180, 240])[0]
        whole = session.run(tf.image.encode_jpeg(tf.cast(smooth, tf.uint8), progressive=True))
    assert jpeg.is_progressive(whole) and not jpeg.is_progressive(NOISE)
    for content in (whole[:len(whole) * 9 // 10], whole[:len(whole) * 9 // 10] + jpeg.END, whole):
        with tf.Graph().as_default(), tf.Session() as session:
            for image in (images.load_square(32)(tf.constant(content), 0, None)[0],
                          cats_dogs.load_training(tf.constant(content), 0, tf.constant([1, 2]))[0]):
                if content is whole:
                    session.run(image)
                else:
                    with pytest.raises(tf.errors.InvalidArgumentError, match='ends too early|Invalid JPEG data'):
                        session.run(image)


def test_half_a_jpeg_is_named_by_the_reader_and_left_out_by_every_network(tmp_path):
    name = str(tmp_path / 'half.jpg')
    for content, is_whole in ((half(NOISE), False), (GREY, True)):
        with open(name, 'wb') as file:
            file.write(content)
        with tf.Graph().as_default(), tf.Session() as session:
            content = tf.read_file(name)
            loaded = [images.load_square(32)(content, 0, None)[0], cats_dogs.load_test(content, 0, None)[0]]
            for image in loaded:
                if is_whole:
                    session.run(image)
                else:
                    with pytest.raises(tf.errors.InvalidArgumentError, match='ends too early'):
                        session.run(image)
        if not is_whole:
            with pytest.raises(InputError, match='half.jpg: a damaged JPEG image: premature end'):
                images.ImageReader(lambda x: x)(name)


@pytest.mark.parametrize('form', ['bmp', 'png'])
def test_an_image_of_another_format_is_read_by_alexnet_whatever_its_name(form, tmp_path):
    name = str(tmp_path / 'cat.1.jpg')
    with open(name, 'wb') as file:
        file.write(encoded(SEEN, form))
    with tf.Graph().as_default(), tf.Session() as session:
        crop = session.run(cats_dogs.load_test(tf.read_file(name), 0, None)[0]) + cats_dogs.MEAN
    np.testing.assert_allclose(crop, images.ImageReader(cats_dogs.central_crop)(name), atol=1e-3)


def test_a_process_of_one_core_finds_a_jpeg_that_is_cut_off():
    """The Python function that looks for what is corrupt runs a session of its own, where there is one thread alone."""
    script = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import tensorflow as tf
from data import jpeg
content = tf.constant(sys.stdin.buffer.read())
with tf.Session() as session:
    session.run(jpeg.checked(tf.image.decode_jpeg(content), content, tf.constant(False)))
"""
    done = subprocess.run([sys.executable, '-c', script], input=half(NOISE), cwd=ROOT, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b'the data of the JPEG image ends too early' in done.stderr
