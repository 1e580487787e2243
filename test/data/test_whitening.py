"""Contrast normalization and ZCA whitening against their definitions."""
import glob
import io

import numpy as np
import pytest

from data import whitening

IMAGES = np.random.RandomState(0).randint(0, 256, [40, 4, 4, 3]).astype(np.uint8)
FEATURES = 4 * 4 * 3


def test_contrast_normalization_gives_mean_0_and_norm_55():
    normalized = whitening.normalize_contrast(IMAGES)
    assert normalized.shape == IMAGES.shape and normalized.dtype == np.float32
    flat = normalized.reshape(40, -1)
    np.testing.assert_allclose(flat.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 55, rtol=1e-5)


def test_a_flat_image_becomes_zero():
    assert not whitening.normalize_contrast(np.full([1, 4, 4, 3], 9, np.uint8)).any()


@pytest.mark.parametrize('block', [7, 1000])
def test_whitening_is_the_inverse_root_of_the_covariance_plus_a_tenth(monkeypatch, block):
    monkeypatch.setattr(whitening, 'BLOCK', block)
    fitted = whitening.fit_whitening(IMAGES)
    flat = whitening.normalize_contrast(IMAGES).reshape(40, -1).astype(np.float64)
    regularized = np.cov(flat, rowvar=False) + 0.1 * np.eye(48)
    np.testing.assert_allclose(fitted.matrix @ regularized @ fitted.matrix, np.eye(48), atol=1e-4)
    np.testing.assert_allclose(fitted.matrix, fitted.matrix.T, atol=1e-6)
    whitened = whitening.whiten(IMAGES, fitted)
    expected = (flat - flat.mean(axis=0)) @ fitted.matrix
    np.testing.assert_allclose(whitened.reshape(40, -1), expected, atol=1e-3)
    assert whitened.shape == IMAGES.shape and whitened.dtype == np.float32


def test_the_cache_is_used_for_the_same_images_only(tmp_path, monkeypatch):
    first = whitening.cached_whitening(IMAGES, str(tmp_path / 'new'))
    fits = []
    fit = whitening.fit_whitening
    monkeypatch.setattr(whitening, 'fit_whitening', lambda images: fits.append(1) or fit(images))
    again = whitening.cached_whitening(IMAGES, str(tmp_path / 'new'))
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert not fits
    other = whitening.cached_whitening(IMAGES[::2], str(tmp_path / 'new'))
    assert fits and not np.allclose(other.matrix, first.matrix)


def written(save, *arrays, **named):
    """The bytes of the file that np.save or np.savez makes."""
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


@pytest.mark.parametrize('damage', [
    lambda content: b'', lambda content: content[:len(content) // 2],
    lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
    lambda content: b'junk', lambda content: written(np.save, np.zeros(3)),
    lambda content: written(np.savez, mean=np.zeros(3, np.float32), matrix=np.eye(3, dtype=np.float32)),
    lambda content: written(np.savez, mean=np.zeros(FEATURES, 'f4'), matrix=np.full([FEATURES] * 2, np.nan, 'f4'))],
    ids=['empty', 'truncated', 'bit flipped', 'junk', 'an array', 'of another size', 'not numbers'])
def test_a_damaged_cache_is_computed_again(tmp_path, damage):
    first = whitening.cached_whitening(IMAGES, str(tmp_path))
    path, = glob.glob(str(tmp_path / '*'))
    with open(path, 'rb') as file:
        content = file.read()
    with open(path, 'wb') as file:
        file.write(damage(content))
    again = whitening.cached_whitening(IMAGES, str(tmp_path))
    np.testing.assert_array_equal(first.matrix, again.matrix)
    with open(path, 'rb') as file:
        assert len(file.read()) == len(content)
