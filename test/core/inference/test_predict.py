"""The classes of image files: formats, sizes, batches of CIFAR, and files that are no images."""
import json
import os
import pickle

import numpy as np
import pytest
import tiny
from pictures import GIF, encoded

from launchers import predict

COLOURS = ('blue', 'green', 'red')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A network that tells three colours apart."""
    directory = tmp_path_factory.mktemp('colours')
    tiny.train_on_colours(directory)
    return str(directory / '0' / 'ckpt')


@pytest.fixture
def classify(checkpoint, capfd):
    """classify(argument...) -> (status, standard output, standard error)."""
    def act(*arguments):
        capfd.readouterr()
        status = predict.main(['--network=tiny', '--ckpt_path=' + checkpoint] + list(map(str, arguments)), {})
        captured = capfd.readouterr()
        return status, captured.out, captured.err
    return act


def colour(number, size):
    """A picture of the colour of a class of write_class_folders()."""
    image = np.full(size + (3,), 20, np.uint8)
    image[..., number] = 220
    return image


@pytest.mark.slow
def test_pictures_of_every_format_and_size_get_the_class_that_their_folder_had(classify, tmp_path):
    for number, (form, size) in enumerate([('png', (7, 300)), ('jpg', (200, 90)), ('bmp', (32, 33))]):
        (tmp_path / ('%d.%s' % (number, form))).write_bytes(encoded(colour(number, size), form))
    (tmp_path / '3.gif').write_bytes(GIF)
    status, out, _ = classify(tmp_path)
    assert status == 0
    lines = out.splitlines()
    assert [line.split(': ')[1].split()[0] for line in lines[:3]] == list(COLOURS)
    assert lines[0].startswith('%s: blue ' % (tmp_path / '0.png')) and len(lines) == 4
    assert lines[0].count(',') == 2, 'the three most probable classes'


def test_json_says_the_same_with_probabilities_that_are_sorted(classify, tmp_path):
    (tmp_path / 'a.png').write_bytes(encoded(colour(1, (32, 32)), 'png'))
    status, out, _ = classify('--json', tmp_path / 'a.png')
    record, = json.loads(out)
    assert status == 0 and record['file'] == str(tmp_path / 'a.png') and record['classes'][0]['class'] == 'green'
    probabilities = [one['probability'] for one in record['classes']]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_files_that_are_no_images_are_named_and_the_others_go_on(classify, tmp_path):
    content = encoded(colour(2, (60, 60)), 'jpg')
    (tmp_path / 'cut.jpg').write_bytes(content[:200])
    (tmp_path / 'text').write_text('(not a picture')
    (tmp_path / 'z.jpg').write_bytes(content)
    status, out, error = classify(tmp_path, tmp_path / 'none.png')
    assert status == 2 and out.startswith('%s: red' % (tmp_path / 'z.jpg')) and len(out.splitlines()) == 1
    for name in ('cut.jpg: cannot be decoded', 'text: cannot be decoded', 'none.png: cannot be opened: No such file'):
        assert str(tmp_path / name) in error


def test_lines_are_in_the_order_of_the_files_of_several_batches_without_the_one_that_is_no_image(classify, tmp_path):
    for number in range(40):
        (tmp_path / ('%02d.png' % number)).write_bytes(encoded(colour(number % 3, (32, 32)), 'png'))
    (tmp_path / '33.png').write_bytes(b'no image')
    status, out, error = classify(tmp_path)
    assert [(line.split(': ')[0][-6:], line.split(': ')[1].split()[0]) for line in out.splitlines()] == [
        ('%02d.png' % number, COLOURS[number % 3]) for number in range(40) if number != 33]
    assert '33.png' in error


def test_names_are_shown_with_escapes(classify, tmp_path):
    name = os.fsencode(str(tmp_path)) + b'/\x1b[31m\xe9\n.png'
    with open(name, 'wb') as file:
        file.write(encoded(colour(1, (32, 32)), 'png'))
    assert classify(tmp_path)[1].startswith(r'%s/\x1b[31m\xe9\n.png: green ' % tmp_path)
    assert json.loads(classify('--json', tmp_path)[1])[0]['file'] == os.fsdecode(name)


def test_every_image_of_a_batch_of_cifar_has_a_line(classify, tmp_path):
    images = np.stack([colour(number % 3, (32, 32)) for number in range(40)])
    record = {'data': images.transpose(0, 3, 1, 2).reshape(40, -1), 'labels': [0] * 40}
    (tmp_path / 'data_batch_1').write_bytes(pickle.dumps(record, 2))
    status, out, _ = classify(tmp_path / 'data_batch_1')
    assert status == 0
    assert [line.split(': ')[1].split()[0] for line in out.splitlines()] == [COLOURS[n % 3] for n in range(40)]
    assert out.splitlines()[39].startswith('%s[39]: ' % (tmp_path / 'data_batch_1'))


@pytest.mark.parametrize('arguments, words', [
    ([], 'no files are named'), (['--nope=1', 'x'], '--nope: unknown flag'),
    (['--network=swa', 'x'], '--network=swa: the checkpoint is of tiny; leave the flag out'),
    (['--ckpt_path=/nowhere', 'x'], '--ckpt_path=/nowhere: no such checkpoint')])
def test_bad_input_is_refused_in_one_line(arguments, words, classify):
    status, out, error = classify(*arguments)
    assert status == 2 and out == '' and words in error.splitlines()[-1]


def test_a_network_without_images_is_refused_in_one_line(tmp_path, capfd):
    assert predict.main(['--network=swa', '--output_path=%s' % tmp_path, 'x'], {}) == 2
    assert capfd.readouterr().err.splitlines()[-1] == '--network=swa: its inputs are no images'
