"""Outputs of inference tools: what they score, and which of them are named as faulty."""
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from core.errors import InputError
from core.inference import samples, score
from core.settings import config
from launchers.networks.registry import RECIPES

CLASSES = ('a', 'b', 'c')
LABELS = np.array([0, 1, 2, 2, 1], np.int32)
LOGITS = np.array([[3, 1, 0], [0, 2, 1], [0, 1, 5], [0, 4, 1], [1, 6, 0], [9, 9, 9]], np.float32)  # the 4th is wrong

DESCRIPTION = dict(network='n', settings={}, inputs=[['input', 'float32', [2, 4]]], output_key='', output_shape=[2, 3],
                   labels='"int32"', class_names=list(CLASSES), penalty=0.5)


def metrics(manifest, outputs, dtype='float32'):
    """score.metrics() of a network that has three classes."""
    settled = config.resolve(RECIPES['swa'], {}, {})._replace(class_names=CLASSES)
    return score.metrics(RECIPES['swa'], settled, str(manifest), str(outputs), dtype)


@pytest.fixture
def exported(tmp_path):
    """(manifest, directory of outputs) of five samples in batches of 2, the last one filled up."""
    writer = samples.SamplesWriter(str(tmp_path / 's'), None)
    for start in (0, 2, 4):
        writer.add({'input': np.zeros([2, 4], np.float32)}, [LABELS[start:start + 2]])
    writer.finish(**DESCRIPTION, output=samples.LOGITS)
    outputs = tmp_path / 'out' / '2026_01_02-03_04'
    outputs.mkdir(parents=True)
    for number in range(3):
        LOGITS[2 * number:2 * number + 2].tofile(str(outputs / ('%06d_output_0.bin' % number)))
    return str(tmp_path / 's' / 'manifest.json'), outputs


def test_outputs_in_a_directory_named_by_the_time_are_found_and_rows_that_fill_up_do_not_count(exported):
    manifest, outputs = exported
    found = metrics(manifest, outputs.parent)
    probabilities = np.exp(LOGITS[:5]) / np.exp(LOGITS[:5]).sum(1, keepdims=True)
    assert found['accuracy'] == 4 / 5
    assert found['loss'] == pytest.approx(.5 - np.log(probabilities[np.arange(5), LABELS]).mean())
    assert metrics(manifest, outputs) == found


def test_text_and_half_precision_give_the_same(exported):
    manifest, outputs = exported
    expected = metrics(manifest, outputs)
    for number in range(3):
        rows = LOGITS[2 * number:2 * number + 2]
        (outputs / ('%06d_output_0.bin' % number)).unlink()
        (outputs / ('%06d_output_0.txt' % number)).write_text('\n'.join(' '.join(map(str, row)) for row in rows) + '\n')
    assert metrics(manifest, outputs) == pytest.approx(expected)
    for number in range(3):
        LOGITS[2 * number:2 * number + 2].astype(np.float16).tofile(str(outputs / ('%06d_output_0.bin' % number)))
    assert metrics(manifest, outputs, 'float16') == pytest.approx(expected)


@pytest.mark.parametrize('ending', ['.bin', '.txt'])
def test_the_only_output_may_be_named_after_the_model(tmp_path, ending):
    writer = samples.SamplesWriter(str(tmp_path / 's'), None)
    writer.add({'input': np.zeros([5, 4], np.float32)}, [LABELS])
    writer.finish(**dict(DESCRIPTION, inputs=[['input', 'float32', [5, 4]]], output_shape=[5, 3]),
                  output=samples.LOGITS)
    path = tmp_path / ('cspdarknet53_output_0' + ending)
    if ending == '.bin':
        LOGITS[:5].tofile(str(path))
    else:
        path.write_text('\n'.join(' '.join(map(str, row)) for row in LOGITS[:5]))
    assert metrics(tmp_path / 's' / 'manifest.json', tmp_path)['accuracy'] == 4 / 5
    path.rename(tmp_path / ('other_output_0' + ending))
    (tmp_path / ('third_output_0' + ending)).write_text('')
    with pytest.raises(InputError, match='000000: missing'):           # two models have been run
        metrics(tmp_path / 's' / 'manifest.json', tmp_path)


def test_probabilities_score_like_their_logits(exported):
    manifest, outputs = exported
    of_logits = metrics(manifest, outputs)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    for number in range(3):
        probabilities[2 * number:2 * number + 2].tofile(str(outputs / ('%06d_output_0.bin' % number)))
    with open(manifest) as file:
        content = json.load(file)
    with open(manifest, 'w') as file:
        json.dump(dict(content, output=samples.PROBABILITIES), file)
    assert metrics(manifest, outputs) == pytest.approx(of_logits)


def test_a_manifest_of_an_earlier_version_scores_as_before(exported):
    manifest, outputs = exported
    expected = metrics(manifest, outputs)
    with open(manifest, 'w') as file:
        json.dump({'network': 'n', 'samples': 5, 'input_name': 'input', 'input_shape': [2, 4],
                   'input_dtype': 'float32', 'output': 'logits', 'class_names': list(CLASSES),
                   'regularization_loss': .5, 'files': ['input/00000%d.bin' % number for number in range(3)],
                   'format': 1}, file)
    assert metrics(manifest, outputs) == expected


@pytest.mark.parametrize('label', [3, -1, 2 ** 31 - 1])
def test_labels_that_are_no_classes_are_refused(exported, label):
    manifest, outputs = exported
    path = os.path.join(os.path.dirname(manifest), 'labels.npy')
    np.save(path, np.array([0, 1, label, 2, 1], np.int32))
    with pytest.raises(InputError, match='sample 2 has the label %d; there are the classes 0 to 2' % label):
        metrics(manifest, outputs)


def test_every_faulty_output_is_named_with_its_fault(exported):
    manifest, outputs = exported
    (outputs / '000000_output_0.bin').unlink()
    (outputs / '000001_output_0.bin').write_bytes(b'1234')
    np.array([[1, np.nan, 3]] * 2, np.float32).tofile(str(outputs / '000002_output_0.bin'))
    with pytest.raises(InputError, match='3 of 3 outputs cannot be used: 000000: missing; '
                                         '000001: 4 bytes, not those of 2 x 3 float32; '
                                         '000002: has numbers that are NaN'):
        metrics(manifest, outputs.parent)


def test_outputs_of_two_runs_in_one_directory_are_refused(exported):
    manifest, outputs = exported
    other = outputs.parent / 'other'
    other.mkdir()
    (other / '000000_output_0.bin').write_bytes(b'')
    with pytest.raises(InputError, match='name one of these directories'):
        metrics(manifest, outputs.parent)


@pytest.mark.parametrize('content', ['', '[]', '{"format": 1}', '{"format": 2}', 'null'])
def test_what_is_no_manifest_is_refused(content, tmp_path):
    path = tmp_path / 'manifest.json'
    path.write_text(content)
    with pytest.raises(InputError, match='not what export writes'):
        metrics(path, tmp_path)


def test_a_limit_of_samples_is_kept_and_one_beyond_the_test_set_is_refused(tmp_path):
    few = samples.SamplesWriter(str(tmp_path / 'few'), 3)
    for _ in range(4):
        few.add({'input': np.ones([2, 4], np.uint8)}, [np.array([0, 1], np.int32)])
    few.finish(**DESCRIPTION, output=samples.LOGITS)
    manifest, (labels,) = samples.read(str(tmp_path / 'few' / 'manifest.json'))
    assert labels.tolist() == [0, 1, 0] and manifest.samples == 3
    assert sorted(os.listdir(str(tmp_path / 'few' / 'input'))) == ['000000.bin', '000001.bin']
    assert (tmp_path / 'few' / 'input' / '000000.bin').read_bytes() == b'\1' * 8
    many = samples.SamplesWriter(str(tmp_path / 'many'), 3)
    many.add({'input': np.ones([2, 4], np.uint8)}, [np.array([0, 1], np.int32)])
    with pytest.raises(InputError, match='--samples=3: the test set has only 2'):
        many.finish(**DESCRIPTION, output=samples.LOGITS)


def frozen(path, name='input', shape=(2, 4), dtype=tf.float32, classes=3):
    """Writes a graph whose output has the first columns of its input."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(dtype, shape, name)
        tf.identity(tf.cast(x, tf.float32)[:, :classes], name='logits')
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return str(path)


def test_a_frozen_graph_runs_on_all_inputs_of_its_manifest(exported, tmp_path):
    outputs = tmp_path / 'computed'
    assert score.run_pb(frozen(tmp_path / 'm.pb'), exported[0], str(outputs)) == 3
    assert sorted(os.listdir(str(outputs))) == ['%06d_output_0.bin' % number for number in range(3)]
    assert np.fromfile(str(outputs / '000002_output_0.bin'), np.float32).tolist() == [0] * 6
    with pytest.raises(InputError, match='--outputs: .*000000_output_0.bin is there, and 2 more; '):
        score.run_pb(frozen(tmp_path / 'm.pb'), exported[0], str(outputs))


@pytest.mark.parametrize('other, words', [
    (dict(name='x'), r'takes x float32 \[2, 4\] and gives \[2, 3\]; the manifest has input float32 \[2, 4\] and '),
    (dict(dtype=tf.uint8), 'takes input uint8 '), (dict(shape=(2, 5)), r'takes input float32 \[2, 5\]'),
    (dict(classes=2), r'gives \[2, 2\]; the manifest has input float32 \[2, 4\] and \[2, 3\]')])
def test_a_frozen_graph_of_another_export_is_refused(exported, tmp_path, other, words):
    with pytest.raises(InputError, match='--run_pb=.*m.pb: .*' + words):
        score.run_pb(frozen(tmp_path / 'm.pb', **other), exported[0], str(tmp_path / 'computed'))
    assert not (tmp_path / 'computed').exists()
