"""Outputs of inference tools: what they score, and which of them are named as faulty."""
import os

import numpy as np
import pytest

from core.errors import InputError
from core.inference import samples, score

CLASSES = ('a', 'b', 'c')
LABELS = np.array([0, 1, 2, 2, 1], np.int32)
LOGITS = np.array([[3, 1, 0], [0, 2, 1], [0, 1, 5], [0, 4, 1], [1, 6, 0], [9, 9, 9]], np.float32)  # the 4th is wrong


@pytest.fixture
def place(tmp_path):
    """(manifest, directory of outputs) of five samples in batches of 2, the last one filled up."""
    writer = samples.Writer(str(tmp_path / 's'), None)
    for start in (0, 2, 4):
        writer.add(np.zeros([2, 4], np.float32), LABELS[start:start + 2])
    writer.finish(network='n', input_name='input', input_shape=[2, 4], input_dtype='float32', output=samples.LOGITS,
                  class_names=list(CLASSES), regularization_loss=0.5)
    outputs = tmp_path / 'out' / '2026_01_02-03_04'
    outputs.mkdir(parents=True)
    for number in range(3):
        LOGITS[2 * number:2 * number + 2].tofile(str(outputs / ('%06d_output_0.bin' % number)))
    return str(tmp_path / 's' / 'manifest.json'), outputs


def test_outputs_in_a_directory_named_by_the_time_are_found_and_rows_that_fill_up_do_not_count(place):
    manifest, outputs = place
    found = score.metrics(manifest, str(outputs.parent), 'float32')
    probabilities = np.exp(LOGITS[:5]) / np.exp(LOGITS[:5]).sum(1, keepdims=True)
    assert found['accuracy'] == 4 / 5
    assert found['loss'] == pytest.approx(.5 - np.log(probabilities[np.arange(5), LABELS]).mean())
    assert score.metrics(manifest, str(outputs), 'float32') == found


def test_text_and_half_precision_give_the_same(place):
    manifest, outputs = place
    expected = score.metrics(manifest, str(outputs), 'float32')
    for number in range(3):
        rows = LOGITS[2 * number:2 * number + 2]
        (outputs / ('%06d_output_0.bin' % number)).unlink()
        (outputs / ('%06d_output_0.txt' % number)).write_text('\n'.join(' '.join(map(str, row)) for row in rows) + '\n')
    assert score.metrics(manifest, str(outputs), 'float32') == pytest.approx(expected)
    for number in range(3):
        LOGITS[2 * number:2 * number + 2].astype(np.float16).tofile(str(outputs / ('%06d_output_0.bin' % number)))
    assert score.metrics(manifest, str(outputs), 'float16') == pytest.approx(expected)


def test_probabilities_score_like_their_logits(place):
    probabilities = np.exp(LOGITS[:5]) / np.exp(LOGITS[:5]).sum(1, keepdims=True)
    of_logits, of_probabilities = (score.of_outputs(rows, LABELS, kind, 0.) for rows, kind in (
        (LOGITS[:5], samples.LOGITS), (probabilities, samples.PROBABILITIES)))
    assert of_logits == pytest.approx(of_probabilities)


@pytest.mark.parametrize('label', [3, -1, 2 ** 31 - 1])
def test_labels_that_are_no_classes_are_refused(place, label):
    manifest, outputs = place
    path = os.path.join(os.path.dirname(manifest), samples.LABELS)
    np.save(path, np.array([0, 1, label, 2, 1], np.int32))
    with pytest.raises(InputError, match='sample 2 has the label %d; there are the classes 0 to 2' % label):
        score.metrics(manifest, str(outputs), 'float32')


def test_every_faulty_output_is_named_with_its_fault(place):
    manifest, outputs = place
    (outputs / '000000_output_0.bin').unlink()
    (outputs / '000001_output_0.bin').write_bytes(b'1234')
    np.array([[1, np.nan, 3]] * 2, np.float32).tofile(str(outputs / '000002_output_0.bin'))
    with pytest.raises(InputError, match='3 of 3 outputs cannot be used: 000000: missing; '
                                         '000001: 4 bytes, not those of 2 x 3 float32; '
                                         '000002: has numbers that are NaN'):
        score.metrics(manifest, str(outputs.parent), 'float32')


def test_outputs_of_two_runs_in_one_directory_are_refused(place):
    manifest, outputs = place
    other = outputs.parent / 'other'
    other.mkdir()
    (other / '000000_output_0.bin').write_bytes(b'')
    with pytest.raises(InputError, match='name one of these directories'):
        score.metrics(manifest, str(outputs.parent), 'float32')


@pytest.mark.parametrize('content', ['', '[]', '{"format": 1}', '{"format": 2}', 'null'])
def test_what_is_no_manifest_is_refused(content, tmp_path):
    path = tmp_path / 'manifest.json'
    path.write_text(content)
    with pytest.raises(InputError, match='not what launchers.export writes'):
        score.metrics(str(path), str(tmp_path), 'float32')


def test_a_limit_of_samples_is_kept_and_one_beyond_the_test_set_is_refused(tmp_path):
    description = dict(network='n', input_name='input', input_shape=[2, 4], input_dtype='uint8', class_names=['a', 'b'],
                       output=samples.LOGITS, regularization_loss=0.)
    few = samples.Writer(str(tmp_path / 'few'), 3)
    for _ in range(4):
        few.add(np.ones([2, 4], np.uint8), np.array([0, 1], np.int32))
    few.finish(**description)
    manifest, labels = samples.read(str(tmp_path / 'few' / 'manifest.json'))
    assert labels.tolist() == [0, 1, 0] and manifest.samples == 3
    assert sorted(os.listdir(str(tmp_path / 'few' / 'input'))) == ['000000.bin', '000001.bin']
    assert (tmp_path / 'few' / 'input' / '000000.bin').read_bytes() == b'\1' * 8
    many = samples.Writer(str(tmp_path / 'many'), 3)
    many.add(np.ones([2, 4], np.uint8), np.array([0, 1], np.int32))
    with pytest.raises(InputError, match='--samples=3: the test set has only 2'):
        many.finish(**description)
