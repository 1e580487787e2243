"""What is compiled for input pipelines has the bits of TensorFlow's own operators, so that a run goes on without it."""
import numpy as np
import pytest
import tensorflow as tf
from pictures import STORED, encoded, exif

from core import operators, recipe as recipes
from core.cpu import kernels
from core.settings import config as config_lib
from data import augmentation, cutmix, images, jpeg
from launchers.networks import cifar10
from launchers.networks.registry import RECIPES

compiled = pytest.mark.skipif(not kernels.library(), reason='the kernels are not compiled on this machine')
RANDOM = np.random.RandomState(0)
OWN = {'ScaledImage', 'PastedBoxes', 'NormalizedColors', 'JpegHeader'}


@pytest.fixture
def both(monkeypatch):
    """both(build): yields what build() returns with TensorFlow's own operators, then with the compiled ones."""
    def act(build):
        for library in lambda: None, kernels.library:
            monkeypatch.setattr(operators, '_of_host', [library])
            yield build()
    return act


def pixels(*shape):
    return RANDOM.randint(0, 256, shape).astype(np.uint8)


def types_of(graph):
    """The types of the operators of a graph, those of its functions included."""
    definition = graph.as_graph_def()
    return {node.op for nodes in (definition.node, *(f.node_def for f in definition.library.function))
            for node in nodes}


@compiled
@pytest.mark.parametrize('wanted', [(224, 224), (64, 64), (50, 75), (32, 32), (9, 400), (1, 1), (3, 2)])
def test_an_image_is_scaled_mirrored_and_rounded_to_the_bits_of_tensorflow(both, wanted):
    seen = [pixels(*size, 3) for size in ((1, 1), (2, 3), (31, 17), (120, 33), (300, 401), (1, 90), (700, 2), wanted)]
    seen += [np.kron(pixels(6, 9, 3), np.ones([40, 40, 1])).astype(np.uint8), np.full([9, 9, 3], 255, np.uint8)]

    def build():
        with tf.Graph().as_default() as graph, tf.Session() as session:
            image, is_mirrored = tf.placeholder(tf.uint8, [None, None, 3]), tf.placeholder(tf.bool, [])
            plain, turned = images.scaled(image, wanted), images.scaled(image, wanted, is_mirrored)
            assert plain.shape == turned.shape == (*wanted, 3)
            return types_of(graph), [session.run((plain, turned), {image: one, is_mirrored: number % 2 == 0})
                                     for number, one in enumerate(seen)]
    (_, expected), (types, found) = both(build)
    assert 'ScaledImage' in types and 'ScaleAndTranslate' not in types
    np.testing.assert_array_equal(np.concatenate(expected, None), np.concatenate(found, None))


@compiled
def test_boxes_are_pasted_and_labels_mixed_to_the_bits_of_tensorflow(both):
    batch, labels = pixels(40, 12, 15, 3), np.eye(40, dtype=np.float32)

    def build():
        with tf.Graph().as_default() as graph, tf.Session() as session:
            seed = tf.placeholder(tf.int64, [2])
            mixed = cutmix.cutmix(tf.constant(batch), tf.constant(labels), seed, 1.)
            return types_of(graph), [session.run(mixed, {seed: [0, number]}) for number in range(5)]
    (_, expected), (types, found) = both(build)
    assert 'PastedBoxes' in types
    for (x, y), (own_x, own_y) in zip(expected, found):
        np.testing.assert_array_equal(x, own_x)
        np.testing.assert_array_equal(y, own_y)
        assert not np.array_equal(x, batch)


@compiled
def test_every_colour_is_normalised_to_the_bits_of_tensorflow_and_only_in_a_pipeline(both):
    colours = np.stack([np.roll(np.arange(256), shift) for shift in (0, 100, 200)], 1).astype(np.uint8)
    sets = [colours.reshape(1, 16, 16, 3), pixels(2, 3, 5, 3), pixels(1, 1, 1, 3)]

    def build():
        with tf.Graph().as_default() as graph, tf.Session() as session:
            batches = [tf.data.Dataset.from_tensors(one).map(cifar10.normalize) for one in sets]
            found = session.run([tf.data.make_one_shot_iterator(one).get_next() for one in batches])
            assert 'NormalizedColors' not in {op.type for op in graph.get_operations()}
        with tf.Graph().as_default() as graph:
            cifar10.normalize(tf.constant(colours[None, None]))       # as an export has it
            assert not types_of(graph) & OWN
        return found
    for expected, found in zip(*both(build)):
        np.testing.assert_array_equal(expected, found)


@compiled
def test_the_header_of_a_jpeg_file_is_read_as_python_does(both):
    plain = encoded(pixels(9, 12, 3), 'jpg')
    with tf.Session() as session:
        scans = session.run(tf.image.encode_jpeg(pixels(20, 20, 3), progressive=True))
    segments = [exif(number, **form) for number in (*range(10), 70) for form in (
        {}, dict(order='<'), dict(kind=4), dict(before=b'\xff\xff\xe2\0\x06abcd'))]
    contents = [one[:2] + segment + one[2:] for one in (plain, scans) for segment in segments]
    contents += [contents[4][:size] for size in range(60)] + [exif(6), b'BM', encoded(pixels(3, 3, 3), 'png')]
    contents += [b'\xff\xd8' + tail for tail in (
        b'\xff\xe1\0\x0aExif\0\0MM', b'\xff\xe1\0\0' * 9, b'\xff\xda\0\x02' + exif(6), b'\xff\xff\xff\xff',
        b'\xff\xe1\0\x20Exif\0\0MM\0*\xff\xff\xff\xff' + bytes(30), b'\xff\xe1\0\x08Exif\0\0\xff\xc2\0\x08' + bytes(6))]
    for _ in range(300):                                               # bytes changed at random
        content = bytearray(contents[RANDOM.randint(len(segments))][:200])
        for _ in range(3):
            content[RANDOM.randint(len(content))] = RANDOM.choice([0, 1, 2, 6, 255, RANDOM.randint(256)])
        contents.append(bytes(content))

    def build():
        with tf.Graph().as_default() as graph, tf.Session() as session:
            content = tf.placeholder(tf.string, [])
            header = jpeg.header(content)
            return types_of(graph), [tuple(session.run(header, {content: one})) for one in contents]
    (_, expected), (types, found) = both(build)
    assert 'JpegHeader' in types and {orientation for orientation, _ in expected} == set(range(1, 9))
    assert {is_progressive for _, is_progressive in expected} == {True, False}
    assert found == expected


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Class folders of pictures of several sizes and formats, some of them turned, and a file that is none."""
    directory = tmp_path_factory.mktemp('photographs')
    for number in range(12):
        (directory / 'ab'[number % 2]).mkdir(exist_ok=True)
        seen = np.kron(pixels(5 + number, 9, 3), np.ones([20, 15, 1])).astype(np.uint8)
        turned = 1 + number % 8
        content = encoded(np.ascontiguousarray(STORED[turned](seen)), 'jpg')
        content = content[:2] + exif(turned) + content[2:]
        others = {3: encoded(seen, 'png'), 4: encoded(seen, 'bmp'), 5: content[:len(content) // 3]}
        (directory / 'ab'[number % 2] / ('%02d.jpg' % number)).write_bytes(others.get(number, content))
    return str(directory)


@compiled
@pytest.mark.slow
@pytest.mark.parametrize('network, size', [('cutmix', '40'), ('cspnet', '30x50'), ('cutmix', None)])
def test_training_and_test_batches_of_a_run_have_the_same_bytes_on_a_machine_without_kernels(
        both, photographs, tmp_path, network, size):
    given = dict(case='performance', task='folder', data_path=photographs, batch_size=4, output_path=str(tmp_path))
    recipe = RECIPES[network]

    def build():
        data, config = recipes.load(recipe, config_lib.resolve(
            recipe, dict(given, **({'image_size': size} if size else {})), {}))
        with tf.Graph().as_default() as graph, tf.Session() as session:
            inputs = [recipe.train_input(data, config), recipe.test_input(data, config)]
            for source in inputs:
                source.initialize(session)
            batches = [session.run(inputs[0].batch) for _ in range(6)]
            return types_of(graph), tf.nest.flatten(batches + [session.run(inputs[1].batch)])
    (plain, expected), (types, found) = both(build)
    assert not plain & OWN
    # A batch that is not mixed is normalised and scaled all the same.
    assert OWN - types <= ({'PastedBoxes'} if network == 'cspnet' else set())
    for one, other in zip(expected, found):
        np.testing.assert_array_equal(one, other)


@compiled
def test_an_image_that_jitters_is_scaled_by_the_kernel_first(both):
    how = augmentation.Augmentation(.3, True, .4)
    content = encoded(pixels(90, 70, 3), 'jpg')

    def build():
        with tf.Graph().as_default(), tf.Session() as session:
            seed = tf.constant([1, 2], tf.int64)
            return session.run(augmentation.load_augmented(how, (20, 24))(tf.constant(content), 0, seed)[0])
    expected, found = both(build)
    np.testing.assert_array_equal(expected, found)
