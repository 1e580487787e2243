"""CutMix against an independent version in NumPy, and Beta variates against NumPy's."""
import numpy as np
import pytest
import tensorflow as tf

from data import cutmix

SIZE, CLASSES, BATCH = 9, 4, 32
IMAGES = np.random.RandomState(0).rand(BATCH, SIZE, SIZE + 2, 3).astype(np.float32)
LABELS = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]


def mix_in_numpy(cut):
    """Pixel by pixel, after the paper's algorithm and its authors' bounding box."""
    height, width = IMAGES.shape[1:3]
    images, labels = IMAGES.copy(), LABELS.copy()
    for i in range(BATCH):
        ratio = np.sqrt(np.float32(1) - cut.kept[i])
        tall, wide = int(height * ratio), int(width * ratio)
        top, bottom = np.clip([cut.row[i] - tall // 2, cut.row[i] + tall // 2], 0, height)
        left, right = np.clip([cut.column[i] - wide // 2, cut.column[i] + wide // 2], 0, width)
        for row in range(top, bottom):
            for column in range(left, right):
                images[i, row, column] = IMAGES[cut.partner[i], row, column]
        share = 1 - (bottom - top) * (right - left) / (height * width)
        labels[i] = share * LABELS[i] + (1 - share) * LABELS[cut.partner[i]]
    return images, labels


@pytest.mark.parametrize('alpha', [0.25, 1.])
@pytest.mark.parametrize('number', range(3))
def test_images_and_labels_are_numpys_pixel_by_pixel(alpha, number):
    with tf.Graph().as_default(), tf.Session() as session:
        seed = [number, 1]
        cut = cutmix.draw(BATCH, SIZE, SIZE + 2, seed, alpha)
        mixed = cutmix.cutmix(tf.constant(IMAGES), tf.constant(LABELS), seed, alpha)
        cut, (images, labels) = session.run([cut, mixed])
    expected_images, expected_labels = mix_in_numpy(cut)
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_allclose(labels, expected_labels, atol=1e-6)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert sorted(cut.partner) == list(range(BATCH))
    assert not np.array_equal(images, IMAGES)


@pytest.mark.parametrize('alpha, kept', [
    (.25, [.9999792575836182, 3.1836960260989144e-05, .8615572452545166, .005263967905193567]),
    (1., [.9049671292304993, .03566822037100792, .6265602707862854, .06314685940742493])])
def test_a_seed_draws_the_same_cuts_in_every_version_so_that_a_resumed_run_goes_on_with_its_batches(alpha, kept):
    with tf.Graph().as_default(), tf.Session() as session:
        cut = session.run(cutmix.draw(4, 9, 11, [5, 6], alpha))
    np.testing.assert_allclose(cut.kept, kept, rtol=1e-5)
    assert [part.tolist() for part in cut[1:]] == [[2, 0, 1, 6], [9, 5, 4, 3], [0, 1, 3, 2]]


def test_the_centre_of_the_box_may_lie_anywhere():
    with tf.Graph().as_default(), tf.Session() as session:
        cut = session.run(cutmix.draw(500, 4, 6, [1, 2], 1.))
    assert set(cut.row) == set(range(4)) and set(cut.column) == set(range(6))


def test_alpha_0_leaves_the_batch_as_it_is():
    images, labels = cutmix.cutmix(IMAGES, LABELS, None, alpha=0)
    assert images is IMAGES and labels is LABELS


@pytest.mark.slow
@pytest.mark.parametrize('alpha', [0.1, 0.25, 1., 4.])
def test_beta_variates_have_numpys_moments_and_quantiles(alpha):
    count = 100000
    with tf.Graph().as_default(), tf.Session() as session:
        drawn = session.run(cutmix.beta([count], [3, 4], alpha))
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(variance / count)
    assert abs(drawn.var() - variance) < 0.01 * variance
    expected = np.random.RandomState(0).beta(alpha, alpha, count)
    levels = np.linspace(0.02, 0.96, 48)
    reached = np.searchsorted(np.sort(drawn), np.quantile(expected, levels)) / count
    np.testing.assert_allclose(reached, levels, atol=0.008)
    assert np.isfinite(drawn).all()
