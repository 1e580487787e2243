"""Images of any size in files, --task=folder and --task=tfrecord, through every network and command that takes them."""
import json
import os

import numpy as np
import pytest
import tensorflow as tf
import tiny
from pictures import encoded, exif, write_class_folders

from core import recipe as recipes
from core.errors import InputError
from core.inference import export as exporting
from core.inference import runner
from core.settings import config as config_lib
from core.settings import kinds
from data import whitening
from launchers import command, evaluate, export, plan, predict, score, shards
from launchers.networks import image_sets
from launchers.networks.registry import RECIPES

COUNTS = {'red': 8, 'green': 8, 'blue': 8}


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """A directory with the same pictures as class folders, in folder/, and as shards, in tfrecord/."""
    directory = tmp_path_factory.mktemp('sets')
    for part in ('train', 'test'):
        write_class_folders(directory / 'folder' / part, COUNTS)
    assert shards.main(['--data_path=%s/folder' % directory, '--output=%s/tfrecord' % directory, '--shards=2'], {}) == 0
    return str(directory)


def loaded(network, sets, tmp_path, **given):
    """(recipe, data, config) of a run on the shards."""
    recipe = RECIPES[network]
    given = dict(dict(network=network, case='performance', task='tfrecord', data_path=sets + '/tfrecord', batch_size=3,
                      output_path=str(tmp_path)), **given)
    return (recipe, *recipes.load(recipe, config_lib.resolve(recipe, given, {})))


@pytest.mark.slow
@pytest.mark.parametrize('network, shape', [('cspnet', (3, 32, 32, 3)), ('cutmix', (3, 32, 32, 3)),
                                            ('sesemi', (18, 32, 32, 3)), ('alexnet', (3, 227, 227, 3))])
def test_every_network_that_reads_class_folders_reads_shards(sets, tmp_path, monkeypatch, network, shape):
    nothing = whitening.Whitening(np.zeros(3072, np.float32), np.eye(3072, dtype=np.float32))
    monkeypatch.setattr(whitening, 'fit_whitening', lambda images: nothing)    # which takes seconds
    recipe, data, config = loaded(network, sets, tmp_path)
    assert config.class_names == ('blue', 'green', 'red') and data.summary.startswith('read 24 training and 24 test')
    with tf.Graph().as_default(), tf.Session() as session:
        train, test = recipe.train_input(data, config), recipe.test_input(data, config)
        pixels = recipe.images.test_pixels(data, config)
        for source in (train, test, pixels):
            source.initialize(session)
        batch, tested, shown = session.run((train.batch, test.batch, pixels.batch))
    assert tf.nest.flatten(batch)[0].shape == shape and np.isfinite(tf.nest.flatten(batch)[0]).all()
    assert tested[1].tolist() == shown[1].tolist() and (tested[2] == 1).all()
    assert shown[0].mean((1, 2)).argmax(-1).tolist() == tested[1].tolist()     # the channel that is the class's own


@pytest.mark.slow
def test_what_is_trained_on_shards_is_evaluated_exported_and_shown_like_what_is_trained_on_folders(
        sets, tmp_path, capfd, monkeypatch):
    flags = ['--output_path=%s' % tmp_path, '--task=tfrecord', '--data_path=%s/tfrecord' % sets]
    assert tiny.run(*flags, '--train_epochs=1') == 0
    assert tiny.run(*flags, '--train_epochs=2', '--resume') == 0
    log = capfd.readouterr().out
    assert 'read 24 training and 24 test images of 3 classes' in log and '0 of 48 image files skipped' in log
    report = (tmp_path / '0' / 'report.html').read_text()
    assert '<svg' in report and 'green' in report
    told = []
    for task in ('tfrecord', 'folder'):
        assert tiny.run('--output_path=%s' % tmp_path, '--task=' + task, '--data_path=%s/%s' % (sets, task),
                        act=evaluate.act) == 0
        told.append(capfd.readouterr().out.splitlines()[-1])
    assert told[0] == told[1] and told[0].startswith('Top-1: ')
    monkeypatch.setattr(exporting, 'FreshRunner', lambda form, path, graph, shape: runner.Runner(form, path, graph))
    arguments = ['--network=tiny', *flags, '--samples=all', '--output=%s/x.pb' % tmp_path]
    assert export.main(arguments, {}) == 0
    capfd.readouterr()
    assert score.main(['--manifest=%s/x_samples/manifest.json' % tmp_path, '--run_pb=%s/x.pb' % tmp_path], {}) == 0
    assert capfd.readouterr().out.splitlines()[-1] == told[0]
    file = os.path.join(sets, 'folder', 'test', 'red', '00.jpg')
    assert predict.main(['--network=tiny', *flags[:2], file], {}) == 0
    assert capfd.readouterr().out.startswith(file + ': ')


@pytest.mark.slow
@pytest.mark.parametrize('network, size, shape', [
    ('cspnet', '64', (3, 64, 64, 3)), ('cutmix', '40x48', (3, 40, 48, 3)), ('sesemi', '40', (18, 40, 40, 3))])
def test_images_have_the_size_that_is_asked_for_in_training_and_in_tests(sets, tmp_path, network, size, shape):
    recipe, data, config = loaded(network, sets, tmp_path, image_size=size)
    with tf.Graph().as_default(), tf.Session() as session:
        train, test = recipe.train_input(data, config), recipe.test_input(data, config)
        assert tf.nest.flatten(train.batch)[0].shape == shape
        assert test.batch[0].shape.as_list()[-3:] == list(shape[1:])
        test.initialize(session)
        assert np.isfinite(session.run(test.batch[0])).all()
        outputs = recipe.model.net(test.batch[0], False, config, lambda x, rate: x)
        assert tf.nest.flatten(outputs)[-1].shape == (3, 3)


@pytest.mark.slow
def test_a_network_of_another_size_is_evaluated_exported_and_asked_without_naming_the_size_again(
        sets, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(exporting, 'FreshRunner', lambda form, path, graph, shape: runner.Runner(form, path, graph))
    network, output = '--network=other', '--output_path=%s' % tmp_path
    data = ['--task=folder', '--data_path=%s/folder' % sets]
    assert tiny.run(output, *data, '--image_size=48x40', '--train_epochs=2', network='other') == 0
    capfd.readouterr()
    assert tiny.run(output, *data, network='other', act=evaluate.act) == 0
    accuracy = capfd.readouterr().out.splitlines()[-1]
    assert tiny.run(output, *data, '--image_size=32', network='other', act=evaluate.act) == 2
    assert '--image_size=32: the checkpoint is of images of 48x40' in capfd.readouterr().err
    assert export.main([network, output, *data, '--samples=all', '--output=%s/x.pb' % tmp_path], {}) == 0
    assert 'images of 48x40 (height x width)' in capfd.readouterr().out
    assert score.main(['--manifest=%s/x_samples/manifest.json' % tmp_path, '--run_pb=%s/x.pb' % tmp_path], {}) == 0
    assert capfd.readouterr().out.splitlines()[-1] == accuracy
    file = os.path.join(sets, 'folder', 'test', 'red', '00.jpg')
    assert predict.main([network, output, file], {}) == 0
    classes = capfd.readouterr().out
    assert predict.main(['--pb=%s/x.pb' % tmp_path, network, file], {}) == 0
    assert capfd.readouterr().out == classes


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Class folders of noise of two colours in JPEG files of many sizes, one of which was taken upside down."""
    directory, random = tmp_path_factory.mktemp('photographs'), np.random.RandomState(0)
    for number in range(20):
        size = random.randint(70, 300, 2)
        noise = np.kron(random.randint(0, 256, [*(size // 10), 3]), np.ones([10, 10, 1]))
        noise[..., number % 2] /= 2
        content = encoded(noise.astype(np.uint8), 'jpg')
        folder = directory / ('test' if number < 6 else 'train') / 'ab'[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ('%02d.jpg' % number)).write_bytes(content[:2] + exif(3 if number == 1 else 1) + content[2:])
    return directory


@pytest.mark.slow
@pytest.mark.parametrize('size', ['64', '48x80'])
def test_evaluation_prediction_and_the_exported_graph_see_the_same_crop(
        size, photographs, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(exporting, 'FreshRunner', tiny.InProcess)
    given = ['--network=other', '--output_path=%s' % tmp_path]
    data = ['--task=folder', '--data_path=%s' % photographs]
    assert tiny.run(*given[1:], *data, '--image_size=' + size, '--train_epochs=2', '--color_jitter=.2',
                    network='other') == 0
    assert export.main([*given, *data, '--output=%s/x.pb' % tmp_path, '--batch_size=6', '--samples=all'], {}) == 0
    image = json.loads((tmp_path / 'x.json').read_text())['image']
    assert image['crop'] == .875 and size == kinds.size().parse('%(height)dx%(width)d' % image)
    probabilities = []
    for flags in (given, ['--pb=%s/x.pb' % tmp_path, given[0]]):
        capfd.readouterr()
        assert predict.main([*flags, '--json', str(photographs / 'test')], {}) == 0
        found = json.loads(capfd.readouterr().out)
        probabilities.append([[{one['class']: one['probability'] for one in file['classes']}[name] for name in 'ab']
                              for file in found])
    samples = np.fromfile(str(tmp_path / 'x_samples' / 'input' / '000000.bin'), np.float32)    # of the test set
    with runner.Runner(runner.PB, '%s/x.pb' % tmp_path) as model:
        (name, one), = model.inputs.items()
        logits = model({name: samples.reshape(one.shape.as_list())}).astype(np.float64)
    evaluated = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert len(evaluated) == 6 and np.ptp(evaluated) > .01
    for found in probabilities:
        np.testing.assert_allclose(found, evaluated, atol=2e-6)      # of six decimals


def settled(network, **given):
    return config_lib.resolve(RECIPES[network], dict(given, network=network, case='performance'), {})


@pytest.mark.parametrize('network', ['cspnet', 'cutmix', 'sesemi'])
def test_training_images_are_cropped_at_random_above_32_pixels_alone_and_as_the_user_says(network):
    small, large = settled(network), settled(network, image_size='64')
    typed = settled(network, image_size='64', random_resized_crop=.5, color_jitter=.4)
    assert [one.random_resized_crop for one in (small, large, typed)] == [0, .08, .5]
    assert [one.color_jitter for one in (small, large, typed)] == [0, 0, .4]
    if network == 'sesemi':            # it mirrors on its own, and a mirror image is one of its poses
        with pytest.raises(InputError, match='--mirror: this network has no such parameter'):
            settled(network, mirror=True)
    else:
        assert [one.mirror for one in (small, large)] == [False, True]
    loading = dict(load_one=None, skipped=None, kept=(32, 32, 3))
    assert image_sets.for_training(loading, small) is loading        # so that nothing is another batch than before
    assert image_sets.for_training(loading, settled(network, random_resized_crop=.9))['load_one']


@pytest.mark.slow
@pytest.mark.parametrize('network', ['cutmix', 'sesemi'])
def test_images_of_arrays_are_cropped_too(network, tmp_path):
    recipe = RECIPES[network]
    given = dict(network=network, case='performance', batch_size=4, random_resized_crop=.3, color_jitter=.1,
                 cutmix_alpha=0., output_path=str(tmp_path), **({'task': 'svhn'} if network == 'sesemi' else {}))
    data, config = recipes.load(recipe, config_lib.resolve(recipe, given, {}))
    with tf.Graph().as_default(), tf.Session() as session:
        source = recipe.train_input(data, config)
        source.initialize(session)
        batch = session.run(source.batch)
    for images in tf.nest.flatten(batch[0]):
        assert images.shape[1:] == (32, 32, 3) and np.isfinite(images).all() and images.std() > .1


def test_a_size_that_the_data_does_not_have_is_refused(sets, tmp_path, capsys):
    flags = ['--case=performance', '--output_path=%s' % tmp_path]
    for given, words in ((['--network=cspnet', '--image_size=64'], 'the images of --task=cifar10 have 32x32 pixels'),
                         (['--network=sesemi', '--task=folder', '--data_path=%s/folder' % sets, '--image_size=64x32'],
                          'the six poses are those of square images'),
                         (['--network=alexnet', '--image_size=64'], 'this network has no such parameter')):
        assert command.run(lambda recipe, config: recipe.load(config), [*flags, *given], {}) == 2
        assert words in capsys.readouterr().err


def test_shards_that_are_damaged_or_none_are_refused_before_anything_is_touched(sets, tmp_path, capsys):
    flags = ['--network=cspnet', '--case=performance', '--output_path=%s/out' % tmp_path, '--task=tfrecord']
    assert plan.main([*flags, '--data_path=%s/folder' % sets], {}) == 2
    assert 'reads images in TFRecord shards' in capsys.readouterr().err
    path = tmp_path / 'train-00000-of-00001'
    path.write_bytes(open(sets + '/tfrecord/train-00000-of-00002', 'rb').read()[:-10])
    (tmp_path / 'test.tfrecord').write_bytes(open(sets + '/tfrecord/train-00001-of-00002', 'rb').read())
    assert plan.main([*flags, '--data_path=%s' % tmp_path], {}) == 2
    assert '%s: record 11 is cut off' % path in capsys.readouterr().err
    assert sorted(os.listdir(str(tmp_path))) == ['test.tfrecord', 'train-00000-of-00001']
