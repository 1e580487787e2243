"""Images in TFRecord shards: labels from 1 or from 0, names of classes, missing shards, images that are none."""
import os

import numpy as np
import pytest
import tensorflow as tf
from pictures import encoded, write_class_folders

from core.errors import InputError
from data import examples, images, pipeline, records
from launchers import shards

IMAGE = encoded(np.full([9, 9, 3], 200, np.uint8), 'png')


def write(directory, **parts):
    """Shards name=[label, ...] by TensorFlow's own writer, the features in the order in which a dict gives them."""
    for name, labels in parts.items():
        with tf.io.TFRecordWriter(str(directory / (name.replace('__', '-') + '.tfrecord'))) as writer:
            for label in labels:
                writer.write(example({'image/height': [9], 'image/class/label': [label], 'image/encoded': [IMAGE],
                                      'image/object/bbox/xmin': [.5, .25], 'image/class/text': [b'x']}))
    return str(directory)


def example(features):
    kinds = {int: 'int64_list', bytes: 'bytes_list', float: 'float_list'}
    lists = {int: tf.train.Int64List, bytes: tf.train.BytesList, float: tf.train.FloatList}
    return tf.train.Example(features=tf.train.Features(feature={
        name: tf.train.Feature(**{kinds[type(values[0])]: lists[type(values[0])](value=values)} if values else {})
        for name, values in features.items()})).SerializeToString()


def read(path):
    return examples.images_in_shards(str(path), os.path.join(str(path), 'cache'))


def refusal(path):
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize('labels, names, found', [
    ([1, 2, 3], None, (('1', '2', '3'), 1)),                                   # as ImageNet's converters count
    ([0, 1, 2], None, (('0', '1', '2'), 0)),
    ([1, 2, 3], 'ant\nbee\n\ncat\n', (('ant', 'bee', 'cat'), 1)),
    ([0, 1, 1], 'ant\nbee\ncat', (('ant', 'bee', 'cat'), 0)),
    ([1, 2, 2], '0:ant\n1:bee\n2:cat\n', (('ant', 'bee', 'cat'), 0)),          # of which the first has no image here
    ([1, 2, 3], '0:background\n1:ant\n2:bee\n3:cat\n', (('ant', 'bee', 'cat'), 1)),
    ([1, 2, 2], '1:ant\n2:bee\n3:cat\n', (('ant', 'bee', 'cat'), 1))])
def test_labels_count_from_1_or_from_0_as_is_found(tmp_path, labels, names, found):
    if names:
        (tmp_path / 'labels.txt').write_text(names)
    data = read(write(tmp_path, train=labels, validation=labels[:2]))
    assert data.class_names == found[0]
    assert data.train.y.tolist() == [label - found[1] for label in labels]
    assert data.test.y.tolist() == [label - found[1] for label in labels[:2]]
    assert data.summary == 'read 3 training and 2 test images of %d classes' % len(found[0])


def test_an_image_is_that_of_its_record_in_both_parts(tmp_path):
    for part, values in (('train', (10, 20, 30)), ('test', (40, 50))):
        with open(str(tmp_path / (part + '.tfrecords')), 'wb') as file:
            for value in values:
                image = encoded(np.full([8, 6, 3], value, np.uint8), 'png')
                file.write(records.record(example({'image/encoded': [image], 'image/class/label': [value // 10]})))
    (tmp_path / 'labels.txt').write_text('1:a\n2:b\n3:c\n4:d\n5:e\n')
    data = images.of_size(read(tmp_path), (4, 4), 1.)
    for part, first in ((data.train, 10), (data.test, 40)):
        pixels, is_good = pipeline.samples(part, **data.loading)
        assert is_good.all() and pixels.shape == (part.size, 4, 4, 3)
        assert pixels[:, 0, 0, 0].tolist() == [10 * (y + 1) for y in part.y] and pixels[0, 0, 0, 0] == first


def test_shards_are_told_by_words_of_their_names_in_any_case(tmp_path):
    for part, name in (('train', 'flowers_Train_00000-of-00002'), ('more', 'flowers_Train_00001-of-00002'),
                       ('test', 'flowers_Validation-00000-of-00001')):
        write(tmp_path, **{part: [0, 1]})
        os.rename(str(tmp_path / (part + '.tfrecord')), str(tmp_path / name))
    (tmp_path / 'training notes.txt').write_text('no shard')
    assert read(tmp_path).summary == 'read 4 training and 2 test images of 2 classes'
    assert examples.has_shards(str(tmp_path)) and not examples.has_shards(str(tmp_path / 'nowhere'))


def test_shards_of_a_second_test_part_and_empty_ones_are_told(tmp_path):
    write(tmp_path, train__00000_of_00002=[], train__00001_of_00002=[0, 1], test=[1, 0], testing=[1], val=[1])
    for number in range(2):
        os.rename(str(tmp_path / ('train-0000%d_of_00002.tfrecord' % number)),
                  str(tmp_path / ('train-0000%d-of-00002' % number)))
    data = read(tmp_path)
    assert data.summary == ('read 2 training and 2 test images of 2 classes; 1 shard without a record; '
                            'shards of testing not used; 1 validation image')
    assert data.validation.y.tolist() == [1] and data.test.y.tolist() == [1, 0]


def without(tmp_path, name):
    write(tmp_path, train=[1, 2], validation=[1])
    with open(str(tmp_path / 'train.tfrecord'), 'ab') as file:
        file.write(records.record(example({key: value for key, value in (
            ('image/encoded', [IMAGE]), ('image/class/label', [2]), ('image/class/text', [b'x'])) if key != name})))


@pytest.mark.parametrize('make, words', [
    (lambda path: None, 'has no TFRecord shards of the training part'),
    (lambda path: write(path, train=[1, 2]), 'of the test part; they are called validation-00000-of-00010 or'),
    (lambda path: write(path, train=[1, 2], test=[3]),
     'test.tfrecord: record 0 has the label 3; those of the 2 classes of the training part are 1 to 2'),
    (lambda path: write(path, train=[0, 1], test=[-1]), 'test.tfrecord: record 0 has the label -1'),
    (lambda path: write(path, train=[1, 1], test=[1]), 'has images of one class alone'),
    (lambda path: write(path, train=[1, 2 ** 40], test=[1]), 'has the label 1099511627776, but no labels.txt'),
    (lambda path: without(path, 'image/class/label'), 'train.tfrecord: record 2 is no tf.train.Example with image/cl'),
    (lambda path: without(path, 'image/encoded'), 'train.tfrecord: record 2 is no tf.train.Example with image/enc')])
def test_what_is_no_such_set_is_refused_in_one_line(tmp_path, make, words):
    make(tmp_path)
    assert words in refusal(tmp_path)


@pytest.mark.parametrize('names, words', [
    ('ant\n', 'names 1 classes, but an image has the label 2'), ('0:ant\n2:bee\n', 'must count from 0 or 1'),
    (b'\xff\xfe', 'is not text in UTF-8'), ('', 'names 0 classes')])
def test_a_file_of_names_that_does_not_fit_is_refused(tmp_path, names, words):
    write(tmp_path, train=[1, 2], test=[2])
    (tmp_path / 'labels.txt').write_bytes(names if isinstance(names, bytes) else names.encode())
    assert words in refusal(tmp_path)


def test_a_shard_that_is_missing_is_named(tmp_path):
    write(tmp_path, test=[1, 2], a=[1, 2])
    os.rename(str(tmp_path / 'a.tfrecord'), str(tmp_path / 'train-00001-of-00003'))
    assert 'number 0 of the 3 shards train-*-of-00003 is missing; fetch it' in refusal(tmp_path)


def test_the_label_is_found_wherever_it_stands_without_reading_the_image():
    image, read_bytes = os.urandom(100000), []

    def message(number, content):
        size, length = len(content), b''
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([8 * number + 2]) + length + bytes([size]) + content

    def entry(name, feature):
        return message(1, message(1, name) + message(2, feature))
    first, last = entry(b'image/encoded', message(1, message(1, image))), entry(b'image/class/label', message(
        3, bytes([8, 0xd2, 9])))                   # unpacked: 1234 as a varint
    for content in (message(1, first + last), message(1, last + first)):
        assert tf.train.Example.FromString(content).features.feature['image/class/label'].int64_list.value[0] == 1234

        def read(start, count, content=content):
            read_bytes.append(count)
            return content[start:start + count]
        assert examples.label(read, len(content)) == 1234
    assert sum(read_bytes) < 20000


@pytest.mark.slow
def test_an_image_that_cannot_be_decoded_is_skipped_and_named_by_shard_and_record(tmp_path, capfd):
    write(tmp_path, train=[1] * 15 + [2] * 15, test=[1, 2])
    with open(str(tmp_path / 'train.tfrecord'), 'ab') as file:
        for content in (b'no image', b'RIFF\0\0\0\0WEBP'):
            file.write(records.record(example({'image/encoded': [content], 'image/class/label': [1]})))
    data = images.of_size(read(tmp_path), (4, 4), 1.)
    with tf.Graph().as_default(), tf.Session() as session:
        source = pipeline.train_input(data.train, 8, 1, **data.loading)
        source.initialize(session)
        assert all((session.run(source.batch[0])[:, 0, 0, 0] == 200).all() for _ in range(4))
    shown = capfd.readouterr().out
    assert '%s/train.tfrecord: record 30: cannot be decoded: skipped\n' % tmp_path in shown
    assert '%s/train.tfrecord: record 31: is a WebP image: convert it to JPEG or PNG: skipped' % tmp_path in shown


def test_class_folders_become_shards_that_tensorflow_reads_with_every_byte_of_their_files(tmp_path, capfd):
    write_class_folders(tmp_path / 'a' / 'train', {'owl': 7, 'ant': 5})
    write_class_folders(tmp_path / 'a' / 'test', {'owl': 2, 'ant': 2}, 'png')
    arguments = ['--data_path=%s/a' % tmp_path, '--output=%s/b' % tmp_path, '--shards=3']
    assert shards.main(arguments, {}) == 0
    assert '--task=tfrecord --data_path=%s/b' % tmp_path in capfd.readouterr().out
    names = sorted(os.listdir(str(tmp_path / 'b')))
    assert names == ['labels.txt'] + ['train-0000%d-of-00003' % n for n in range(3)] + ['validation-00000-of-00001']
    form = {'image/encoded': tf.io.FixedLenFeature([], tf.string), 'image/format': tf.io.FixedLenFeature([], tf.string),
            'image/class/label': tf.io.FixedLenFeature([], tf.int64),
            'image/class/text': tf.io.FixedLenFeature([], tf.string)}
    with tf.Graph().as_default(), tf.Session() as session:
        paths = [str(tmp_path / 'b' / name) for name in names[1:]]
        rows = tf.data.TFRecordDataset(paths).map(lambda x: tf.io.parse_single_example(x, form)).batch(16)
        found = session.run(tf.data.make_one_shot_iterator(rows).get_next())
    expected = sorted((kind, part, open(str(tmp_path / 'a' / part / kind / name), 'rb').read())
                      for part in ('train', 'test') for kind in ('ant', 'owl')
                      for name in os.listdir(str(tmp_path / 'a' / part / kind)))
    assert sorted(found['image/encoded'].tolist()) == sorted(content for _, _, content in expected)
    assert found['image/format'].tolist() == [b'JPEG'] * 12 + [b'PNG'] * 4
    assert found['image/class/text'].tolist() == [[b'ant', b'owl'][y - 1] for y in found['image/class/label']]
    assert len(set(found['image/class/label'][:4])) == 2       # shuffled
    data = read(tmp_path / 'b')
    assert data.class_names == ('ant', 'owl') and (data.train.size, data.test.size) == (12, 4)
    assert shards.main(arguments, {}) == 2 and 'is there already' in capfd.readouterr().err


@pytest.mark.parametrize('flags, words', [
    ([], '--output: needed'), (['--output=x', '--shards=0'], 'must be a whole number'),
    (['--output=x', '--shards=90'], 'there are only 6 training images'), (['--output=x', 'y'], 'not a flag')])
def test_shards_that_cannot_be_written_are_refused_with_nothing_left(tmp_path, capfd, monkeypatch, flags, words):
    write_class_folders(tmp_path / 'a', {'owl': 4, 'ant': 4})
    monkeypatch.chdir(str(tmp_path))
    assert shards.main(['--data_path=a', *flags], {}) == 2
    assert words in capfd.readouterr().err and os.listdir(str(tmp_path)) == ['a']


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    write_class_folders(tmp_path / 'a', {'owl': 4, 'ant': 4})
    monkeypatch.setattr(records, 'record', lambda content: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shards.main(['--data_path=%s/a' % tmp_path, '--output=%s/b' % tmp_path], {})
    assert os.listdir(str(tmp_path)) == ['a']
