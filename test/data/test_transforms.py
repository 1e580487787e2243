"""Batch transforms against NumPy, image by image."""
import numpy as np
import pytest
import tensorflow as tf

from data import transforms
from launchers.networks import cifar10

SEED = [5, 6]
IMAGES = np.random.RandomState(1).rand(64, 8, 8, 3).astype(np.float32)


def run(build):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(build())


def shifted(image, down, right, most=2):
    padded = np.pad(image, [(most, most), (most, most), (0, 0)], 'symmetric')
    return padded[most + down:, most + right:][:8, :8]


def shifts_found(images, moved):
    """For each image the one shift of -2..2 that explains it."""
    found = []
    for image, result in zip(images, moved):
        explained = [(down, right) for down in range(-2, 3) for right in range(-2, 3)
                     if np.array_equal(shifted(image, down, right), result)]
        assert len(explained) == 1
        found += explained
    return found


def test_normalized_pixels_are_centred_and_scaled_by_channel():
    pixels = np.array([[[[0, 128, 255]]]], np.uint8)
    expected = [(0 - 125.307) / 62.985, (128 - 122.961) / 62.0925, (255 - 113.8575) / 66.708]
    np.testing.assert_allclose(run(lambda: cifar10.normalize(pixels)).ravel(), expected,
                               rtol=1e-4)


def test_shifts_are_whole_pixels_mirrored_at_the_border_and_cover_the_range():
    moved = run(lambda: transforms.shift(tf.constant(IMAGES), SEED))
    found = shifts_found(IMAGES, moved)
    assert {down for down, _ in found} == {right for _, right in found} == set(range(-2, 3))


def test_shifts_of_at_least_one_never_stay():
    moved = run(lambda: transforms.shift(tf.constant(IMAGES), SEED, least=1))
    assert 0 not in np.ravel(shifts_found(IMAGES, moved))


def test_about_half_of_the_images_are_mirrored_and_the_others_left_alone():
    results = run(lambda: transforms.flip(tf.constant(IMAGES), SEED))
    flipped = [np.array_equal(result, image[:, ::-1]) for image, result in zip(IMAGES, results)]
    left = [np.array_equal(result, image) for image, result in zip(IMAGES, results)]
    assert all(one != other for one, other in zip(flipped, left))
    assert 16 < sum(flipped) < 48


def test_noise_has_the_std_asked_for():
    noise = run(lambda: transforms.add_noise(tf.zeros([50, 32, 32, 3]), SEED))
    assert abs(noise.std() - 0.15) < 0.002 and abs(noise.mean()) < 0.002


def test_six_poses_follow_one_another_with_their_labels():
    poses, labels = run(lambda: transforms.six_poses(tf.constant(IMAGES[:3])))
    np.testing.assert_array_equal(labels, [0, 1, 2, 3, 4, 5] * 3)
    for number, image in enumerate(IMAGES[:3]):
        expected = [np.rot90(image, turns) for turns in range(4)]
        expected += [np.fliplr(image), np.flipud(image)]
        np.testing.assert_array_equal(poses[6 * number:6 * number + 6], expected)


@pytest.mark.parametrize('flips, count', [(True, 8), (False, 4)])
def test_the_copies_of_the_test(flips, count):
    copies = run(lambda: transforms.copies_for_test(tf.constant(IMAGES), SEED, flips))
    assert copies.shape == (count,) + IMAGES.shape
    plain = copies[:count // 2]
    np.testing.assert_array_equal(plain[0], IMAGES)
    assert 0 not in np.ravel(shifts_found(IMAGES, plain[1]))
    if flips:
        np.testing.assert_array_equal(plain[2:], plain[:2, :, :, ::-1])
    noise = copies[count // 2:] - plain
    np.testing.assert_allclose(noise.std(axis=(1, 2, 3, 4)), 0.15, rtol=0.05)
    assert abs(np.corrcoef(noise.reshape(count // 2, -1)) - np.eye(count // 2)).max() < 0.05


def test_the_seed_decides():
    once, again, other = run(lambda: [
        transforms.shift(transforms.flip(tf.constant(IMAGES), seed), seed)
        for seed in (SEED, SEED, [5, 7])])
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
