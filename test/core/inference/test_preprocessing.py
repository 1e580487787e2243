"""What an export says of its images, the configuration of AIPP, and the classes that an exported graph gives."""
import json
import re

import numpy as np
import pytest
import tensorflow as tf
import tiny
from pictures import encoded

from core.errors import InputError
from core.inference import export as exporting
from core.inference.preprocessing import Scaling, aipp, described, scaling
from launchers import export, predict
from launchers.networks.registry import RECIPES

SHAPE = (4, 6, 3)


def by_aipp(text, pixels):
    """What AIPP computes, by the formula of the ATC guide: (pixel - mean_chn - min_chn) * var_reci_chn."""
    number = {name: float(value) for name, value in re.findall(r'(\w+_chn_\d) : (\S+)', text)}
    mean, least, factor = ([number['%s_%d' % (name, channel)] for channel in range(3)]
                           for name in ('mean_chn', 'min_chn', 'var_reci_chn'))
    return (pixels.astype(np.float64) - mean - least) * factor


@pytest.mark.parametrize('network, shape', [
    ('cspnet', (32, 32, 3)), ('cutmix', (32, 32, 3)), ('alexnet', (227, 227, 3))])
def test_aipp_makes_of_pixels_what_the_network_takes(network, shape):
    normalize = RECIPES[network].images.normalize
    image = described(shape, '', scaling(lambda images: normalize(images, {}), shape), False)
    pixels = np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        expected, = session.run(normalize(tf.constant(pixels[None]), {}))
    text = aipp(image)
    assert np.allclose(by_aipp(text, pixels), expected, atol=1e-4)
    assert 'src_image_size_w : %d\n    src_image_size_h : %d\n' % (shape[1], shape[0]) in text
    assert 'input_format : RGB888_U8' in text and 'rbuv_swap_switch : false' in text


def test_the_mean_and_the_deviation_of_each_channel_are_told():
    mean, std = [100., 110.5, 120.], [50., 60., 0.5]
    assert scaling(lambda images: (images - mean) / std, SHAPE) == Scaling(mean, std)


@pytest.mark.parametrize('normalize', [
    lambda images: images - tf.reduce_mean(images, [1, 2, 3], keepdims=True), lambda images: images ** 2,
    lambda images: images[..., ::-1] - [1., 2., 3.], tf.zeros_like,
    lambda images: images - tf.reshape(tf.range(4.), [4, 1, 1])])
def test_a_normalisation_of_more_than_the_pixel_has_no_mean_and_deviation(normalize):
    assert scaling(normalize, SHAPE) is None
    with pytest.raises(InputError, match='--aipp: .*--input_dtype=uint8'):
        aipp(described(SHAPE, '', None, False))


def test_a_mean_that_aipp_cannot_subtract_is_refused():
    with pytest.raises(InputError, match='a number from 0 to 255'):
        aipp(described(SHAPE, '', Scaling([-1., 0., 0.], [1., 1., 1.]), False))


@pytest.fixture(scope='module')
def colours(tmp_path_factory):
    """The output path of a network that tells three colours apart."""
    directory = tmp_path_factory.mktemp('colours')
    tiny.train_on_colours(directory)
    (directory / 'pictures').mkdir()
    for number in range(5):
        image = np.random.RandomState(number).randint(0, 256, (40 + number, 70, 3)).astype(np.uint8)
        (directory / 'pictures' / ('%d.png' % number)).write_bytes(encoded(image, 'png'))
    return directory


@pytest.fixture
def classified(colours, capfd):
    """classified(argument...) -> {file: {class: probability}}"""
    def act(*arguments):
        capfd.readouterr()
        assert predict.main([*arguments, '--json', str(colours / 'pictures')], {}) == 0
        return {record['file']: {one['class']: one['probability'] for one in record['classes']}
                for record in json.loads(capfd.readouterr().out)}
    return act


@pytest.mark.slow
@pytest.mark.parametrize('flags', [
    ['--batch_size=2'], ['--batch_size=2', '--probabilities'], ['--batch_size=3', '--input_dtype=uint8'],
    ['--batch_size=8', '--input_dtype=raw_float32'], ['--dynamic_batch_size=1,4']])
def test_an_exported_graph_gives_pictures_the_probabilities_of_its_checkpoint(
        colours, classified, tmp_path, monkeypatch, flags):
    monkeypatch.setattr(exporting, 'FreshRunner', tiny.InProcess)
    given = ['--network=tiny', '--ckpt_path=%s/0/ckpt' % colours]
    expected = classified(*given)
    assert export.main([*given, *flags, '--output=%s' % (tmp_path / 'x.pb')], {}) == 0
    found = classified('--pb=%s' % (tmp_path / 'x.pb'), '--network=tiny')
    assert list(found) == list(expected) and len(found) == 5
    for file, probabilities in expected.items():
        assert found[file] == pytest.approx(probabilities, abs=1e-5)


@pytest.mark.slow
def test_the_atc_line_and_the_description_have_what_an_application_needs(colours, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(exporting, 'FreshRunner', tiny.InProcess)
    given = ['--network=tiny', '--ckpt_path=%s/0/ckpt' % colours, '--output=%s' % (tmp_path / 'x.pb')]
    assert export.main([*given, '--aipp'], {}) == 0
    printed = capfd.readouterr().out
    assert ' --insert_op_conf=%s' % (tmp_path / 'x.aipp.cfg') in printed
    assert 'input: RGB images of 32x32 (height x width), NHWC; of a larger picture the largest square' in printed
    image = json.loads((tmp_path / 'x.json').read_text())['image']
    assert (tmp_path / 'x.aipp.cfg').read_text() == aipp(image) and image['value_range'] == [0, 255]
    assert (image['height'], image['width'], image['layout'], image['colour_order']) == (32, 32, 'NHWC', 'RGB')
    assert export.main([*given, '--aipp', '--input_dtype=uint8'], {}) == 2
    assert '--aipp: needs --format=pb, --input_dtype=float32' in capfd.readouterr().err


OF_32 = ('{"network": "cutmix", "class_names": ["a"], "input_shape": [1, 32, 32, 3], "image": {"mean": [0, 0, 0], '
         '"std": [1, 1, 1], "height": 32, "width": 32, "crop": %s}}')


@pytest.mark.parametrize('description, words', [
    (OF_32 % .875, 'a crop of 0.875, and of pictures for this network 1 of the sides'), (OF_32 % '"all"', 'no part of'),
    (OF_32 % 1, 'cannot be loaded'), (OF_32 % 'null', 'cannot be loaded'),
    (None, 'cannot be opened'), ('[]', 'no object'), ('{"network": "cutmix"}', "lacks 'class_names'"),
    ('{"network": "cutmix", "class_names": ["a"], "input_shape": [1, 32, 32, 3], "image": {}}', "lacks 'mean'"),
    ('{"network": "cutmix", "class_names": ["a"], "input_shape": [], "image": {}}', 'x.json'),
    ('{"network": "cutmix", "class_names": ["a"], "input_shape": [1], "image": {"mean": [0], "std": [1]}}', 'channels'),
    ('{"network": 5, "class_names": ["a"], "input_shape": [1], "image": {}}', 'no network')])
def test_a_graph_without_its_description_is_refused_in_a_line(tmp_path, capfd, description, words):
    (tmp_path / 'x.pb').write_bytes(b'')
    if description:
        (tmp_path / 'x.json').write_text(description)
    assert predict.main(['--pb=%s' % (tmp_path / 'x.pb'), str(tmp_path)], {}) == 2
    error = capfd.readouterr().err
    assert words in error and error.count('\n') == 1


def test_a_graph_needs_no_checkpoint(tmp_path, capfd):
    (tmp_path / 'x.pb').write_bytes(b'')
    assert predict.main(['--pb=%s' % (tmp_path / 'x.pb'), '--ckpt_path=%s' % tmp_path, 'a.png'], {}) == 2
    assert '--ckpt_path: not together with --pb' in capfd.readouterr().err
