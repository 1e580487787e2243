"""The pictures that recipes put into the report."""
import base64

import numpy as np
import pytest
import tensorflow as tf
from pictures import predictions

from core.pages.pictures import decode, encode
from core.run import View
from core.settings.config import resolve
from data.dataset import DataSet, Split
from launchers.networks import alexnet, sesemi, shown
from launchers.networks.registry import RECIPES

NAMES = ('black', 'white')


def flat_images(count):
    """Images of one shade each: 0 for the class 0, 255 for the class 1."""
    labels = np.arange(count, dtype=np.int32) % 2
    return Split(np.tile((labels * 255).astype(np.uint8)[:, None, None, None], [1, 32, 32, 3]), labels)


def view(network, *given, data=None, predictions=None, stored=None, **more):
    flags = dict(dict(case='performance', network=network), **dict(given), **more)
    config = resolve(RECIPES[network], flags, {})._replace(class_names=NAMES)
    return View(config, data, 10, 0, predictions, (stored or {}).get)


def pixels(url, tmp_path):
    path = tmp_path / 'picture'
    path.write_bytes(base64.b64decode(url.split(',')[1]))
    return decode([str(path)])[0]


@pytest.mark.slow
def test_lambda_is_the_part_of_a_mixed_image_that_is_its_own(tmp_path):
    data = DataSet(flat_images(40), flat_images(4), NAMES)
    panel = shown.mixed_images(view('cutmix', ('batch_size', 20), ('cutmix_alpha', 1.), data=data))
    assert len(panel['items']) == 20
    mixed = 0
    for url, ((_, (words, _)), (_, (share, _))) in panel['items']:
        if words not in NAMES and words.count('black') == 1:
            image, mixed = pixels(url, tmp_path), mixed + 1
            own, name = float(words.split()[0]), words.split()[1]
            assert share == 'λ = %.3f' % (np.mean(image == NAMES.index(name) * 255))
            assert own == pytest.approx(float(share[4:]), abs=.006)
    assert mixed > 3


def test_without_cutmix_there_is_no_picture_of_it():
    assert shown.mixed_images(view('cspnet', data=DataSet(flat_images(4), flat_images(4), NAMES))) is None


def test_mistakes_come_with_the_most_confident_first_and_the_right_class(tmp_path):
    data = DataSet(flat_images(4), flat_images(6), NAMES)
    white = np.array([.6, .9, .2, .3, .8, .1], np.float32)    # of images whose classes are 0 1 0 1 0 1
    found = predictions(data.test.y, np.round(white).astype(int), np.maximum(white, 1 - white), 2)
    panel = shown.mistakes(view('cspnet', data=data, predictions=found))
    assert [[words[0] for _, words in lines] for _, lines in panel['items']] == [
        ['black 0.900', 'is white', 'row 5'], ['white 0.800', 'is black', 'row 4'],
        ['black 0.700', 'is white', 'row 3'], ['white 0.600', 'is black', 'row 0']]
    assert pixels(panel['items'][0][0], tmp_path).min() == 255
    matrix = shown.confusion(view('cspnet', data=data, predictions=found))
    assert matrix['counts'] == [[1, 2], [2, 1]] and matrix['names'] == list(NAMES)


def test_the_kernels_of_earlier_epochs_stay_when_a_resumed_run_has_no_files_of_them(tmp_path):
    folder = tmp_path / '0' / alexnet.pictures.KERNELS
    folder.mkdir(parents=True)
    picture = np.arange(8 * 8 * 3).reshape(8, 8, 3).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    (folder / 'epoch_0002.png').write_bytes(base64.b64decode(encode([picture])[0].split(',')[1]))
    stored = {'kernels': {'frames': [('data:old', ('epoch 1', '第 1 轮'))]}}
    panel = alexnet.pictures.kernels_over_epochs(view('alexnet', output_path=str(tmp_path), stored=stored))
    assert [words for _, words in panel['frames']] == [('epoch 1', '第 1 轮'), ('epoch 3', '第 3 轮')]
    assert panel['frames'][0][0] == 'data:old'
    assert (pixels(panel['frames'][1][0], tmp_path) == picture[::4, ::4]).all()


def test_misclassified_photographs_are_those_of_the_files(tmp_path):
    names = []
    for shade in (0, 255):
        with tf.Graph().as_default(), tf.Session() as session:
            content = session.run(tf.image.encode_jpeg(tf.fill([40, 60, 3], tf.constant(shade, tf.uint8))))
        names.append(str(tmp_path / ('%d.jpg' % shade)))
        with open(names[-1], 'wb') as file:
            file.write(content)
    files = Split(np.array(names, object), np.array([0, 1], np.int32), tf.read_file)
    found = predictions(files.y, [0, 0], [.9, .7], 2)
    panel = alexnet.pictures.misclassified(view('alexnet', data=DataSet(files, files, NAMES), predictions=found))
    (url, words), = panel['items']
    assert words[-1][1][0] == '255.jpg'
    assert url.startswith('data:image/jpeg') and pixels(url, tmp_path).min() > 250


def test_the_six_poses_are_those_of_the_first_image(tmp_path):
    images = np.random.RandomState(0).randint(0, 255, [2, 32, 32, 3]).astype(np.uint8)
    data = sesemi.data.Data(Split(images, np.zeros(2, np.int32)), None, None, NAMES)
    panel = sesemi.pictures.poses_of_an_image(view('sesemi', data=data))
    poses = [pixels(url, tmp_path) for url, _ in panel['items']]
    for pose, expected in zip(poses, [images[0]] + [np.rot90(images[0], turn) for turn in (1, 2, 3)] + [
            images[0][:, ::-1], images[0][::-1]]):
        assert (pose == expected).all()
    assert [words[0] for _, ((_, words),) in panel['items']][1:2] == ['rotated by 90°']
