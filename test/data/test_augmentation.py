"""Random crops, mirror images and colours of training images: by their definition, and alike in a resumed run."""
import itertools

import numpy as np
import pytest
import tensorflow as tf
from pictures import STORED, encoded, exif

from data import augmentation, crops, pipeline
from data.augmentation import Augmentation
from data.dataset import Split
from data.seeds import split_seed

SEEDS = np.stack([np.zeros(400, np.int64), np.arange(400)], 1)
IMAGES = np.random.RandomState(0).randint(0, 256, [12, 8, 8, 3]).astype(np.uint8)


def run(build):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(build())


def windows(size, least, wanted):
    """(first, size) of a window for each of SEEDS."""
    return run(lambda: tf.map_fn(
        lambda seed: crops.random_window(tf.constant(size), seed, least, wanted), tf.constant(SEEDS),
        (tf.int32, tf.int32)))


@pytest.mark.parametrize('wanted', [(64, 64), (48, 96)])
def test_a_random_window_has_the_area_and_the_proportions_of_torchvisions(wanted):
    first, size = windows((300, 400), .08, wanted)
    assert (first >= 0).all() and (first + size <= (300, 400)).all()
    assert len({tuple(row) for row in first}) > 300
    part, ratio = size.prod(1) / 120000, size[:, 1] / size[:, 0] / (wanted[1] / wanted[0])
    assert .079 < part.min() < .12 and .7 < part.max() <= 1
    assert .74 < ratio.min() < .8 and 1.25 < ratio.max() < 1.35      # to whole pixels


def test_every_window_of_a_picture_that_is_too_long_is_the_largest_in_its_centre():
    first, size = windows((30, 3000), .5, (10, 10))
    assert (first == (0, 1480)).all() and (size == (30, 40)).all()   # 4:3


def test_a_window_of_a_whole_picture_is_the_picture():
    first, size = windows((40, 40), 1., (20, 20))
    assert {tuple(row) for row in first[(size == 40).all(1)]} == {(0, 0)} and (size == 40).all(1).any()


def blocks(height, width):
    """A picture of coloured squares."""
    colours = np.random.RandomState(1).randint(60, 200, [height // 60, width // 60, 3])
    return np.kron(colours, np.ones([60, 60, 1])).astype(np.uint8)


@pytest.mark.parametrize('size', [(24, 24), (200, 300)])
def test_a_window_of_a_jpeg_file_shows_what_that_of_the_upright_picture_shows(size):
    seen = blocks(480, 600)
    with tf.Graph().as_default(), tf.Session() as session:
        content, seed = tf.placeholder(tf.string, []), tf.placeholder(tf.int64, [2])
        of_file, of_pixels = (augmentation.random_resized_crop(picture, size, seed, .3)
                              for picture in (content, tf.constant(seen)))
        for number in (1, 6, 3):
            turned = encoded(np.ascontiguousarray(STORED[number](seen)), 'jpg')
            turned = turned[:2] + exif(number) + turned[2:]
            for position in range(3):
                found, expected = session.run((of_file, of_pixels), {content: turned, seed: [1, position]})
                assert found.shape == size + (3,) and found.dtype == np.uint8
                assert np.abs(found.astype(int) - expected).mean() < 4   # at most 3.1; other windows differ by 5.9
        found, expected = session.run((of_file, of_pixels), {content: encoded(seen, 'png'), seed: [2, 2]})
    np.testing.assert_array_equal(found, expected)


def test_a_decoder_leaves_twice_the_pixels_that_are_wanted():
    content, shapes = encoded(blocks(480, 600), 'jpg'), {}
    with tf.Graph().as_default(), tf.Session() as session:
        file = crops.opened(tf.constant(content))
        for wanted in (None, (200, 240), (100, 120), (50, 61), (50, 60), (9, 9)):
            window = crops.decode(file, tf.constant([24, 40]), tf.constant([400, 480]), wanted)
            shapes[wanted] = tf.shape(window)[:2]
        found = {wanted: tuple(shape) for wanted, shape in session.run(shapes).items()}
    assert found == {None: (400, 480), (200, 240): (400, 480), (100, 120): (200, 240), (50, 61): (200, 240),
                     (50, 60): (100, 120), (9, 9): (50, 60)}


def test_half_of_the_images_are_mirrored_and_the_others_left_alone():
    load = augmentation.load_augmented(Augmentation(mirror=True), (8, 8))
    found = run(lambda: tf.map_fn(lambda seed: load(tf.constant(IMAGES[0]), 0, seed)[0], tf.constant(SEEDS), tf.uint8))
    mirrored = [np.array_equal(image, IMAGES[0][:, ::-1]) for image in found]
    assert all(one != np.array_equal(image, IMAGES[0]) for one, image in zip(mirrored, found))
    assert 150 < sum(mirrored) < 250


def jittered(image, factors, order):
    """torchvision's ColorJitter of an image from 0 to 255, in its words: blends with black, a mean grey, and grey."""
    image = image.astype(np.float64)
    for kind in order:
        grey = image @ [.299, .587, .114]
        other = [0, grey.mean(), grey[..., None]][kind]
        image = np.clip(factors[kind] * image + (1 - factors[kind]) * other, 0, 255)
    return image


def test_brightness_contrast_and_saturation_change_in_random_order():
    orders = set()
    with tf.Graph().as_default(), tf.Session() as session:
        seed = tf.placeholder(tf.int64, [2])
        changed = augmentation.color_jitter(tf.constant(IMAGES[1]), seed, .4)
        drawn = tf.random.stateless_uniform([3], split_seed(seed, 2)[1], .6, 1.4)
        for number in range(10):
            found, factors = session.run((changed, drawn), {seed: [3, number]})
            matching = [order for order in itertools.permutations(range(3))
                        if np.allclose(jittered(IMAGES[1], factors, order), found, atol=1e-2)]
            assert matching
            orders.add(tuple(matching))    # of several, which commute where nothing is clipped
    assert len(orders) > 2


def batches(steps, **options):
    load = augmentation.load_augmented(Augmentation(.3, True, .4), (8, 8))
    with tf.Graph().as_default(), tf.Session() as session:
        first = options.pop('first_step', 0)
        source = pipeline.train_input(Split(IMAGES, np.arange(12, dtype=np.int32)), seed=4, load_one=load, **options)
        source.initialize(session, first)
        return [session.run(source.batch) for _ in range(steps)]


def test_a_resumed_run_and_ranks_that_share_a_batch_see_the_same_images():
    whole = batches(5, batch_size=4)
    assert not np.array_equal(whole[0][0], IMAGES[whole[0][1]])
    for (x, y), (resumed_x, resumed_y) in zip(whole[3:], batches(2, batch_size=4, first_step=3)):
        np.testing.assert_array_equal(x, resumed_x)
        np.testing.assert_array_equal(y, resumed_y)
    ranks = [batches(5, batch_size=2, rank=rank, ranks=2) for rank in range(2)]
    for (x, _), *parts in zip(whole, *ranks):
        np.testing.assert_array_equal(x, np.concatenate([part for part, _ in parts]))
