"""Made-up data sets, blobs, and the labelled part of a set."""
import collections

import margins
import numpy as np
import pytest
import tensorflow as tf

from core.errors import InputError
from data import blobs, dataset, pipeline, synthetic
from data.dataset import DataSet, Split, labelled_subset
from launchers.networks import cifar10


def net(images):
    with tf.variable_scope('net', reuse=tf.AUTO_REUSE):
        for name, filters in [('a', 16), ('b', 32), ('c', 64)]:
            images = tf.layers.conv2d(images, filters, 3, 2, 'same', activation=tf.nn.relu,
                                      name=name)
        return tf.layers.dense(tf.reduce_mean(images, axis=[1, 2]), 10, name='logits')


@pytest.mark.slow
@pytest.mark.margin
def test_a_small_net_learns_synthetic_cifar10_in_80_steps():
    data = synthetic.cifar10(train=1024, test=256)

    def transform(x, y, seed):
        return cifar10.normalize(x), y
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(margins.SEED)
        train = pipeline.train_input(data.train, 64, margins.SEED, transform=transform)
        test = pipeline.test_input(data.test, 64, transform=transform)
        loss = tf.losses.sparse_softmax_cross_entropy(train.batch[1], net(train.batch[0]))
        step = tf.train.AdamOptimizer(3e-3).minimize(loss)
        predicted = tf.argmax(net(test.batch[0]), axis=1, output_type=tf.int32)
        correct = tf.reduce_sum(tf.cast(tf.equal(predicted, test.batch[1]), tf.float32))
        session.run(tf.global_variables_initializer())
        train.initialize(session)
        test.initialize(session)
        for _ in range(80):
            session.run(step)
        margins.above('built-in images: right of 256', sum(session.run(correct) for _ in range(test.batches)), 128)


@pytest.mark.parametrize('name, content, words', [
    ('cifar.tar.gz', b'\x1f\x8b' + bytes(60), 'gzip'), ('set.zip', b'nothing known', 'an archive: unpack it'),
    ('data_batch_1.bin', b'', 'of another version of CIFAR'), ('notes.txt', b'', '')])
def test_what_lies_where_a_data_set_should_be_is_called_what_it_is(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    said = dataset.packed(str(tmp_path))
    assert words in said and said.startswith('; %s there is ' % name) == bool(words)


def test_all_rows_of_files_that_are_in_both_parts_are_there_once():
    train, test = (Split(np.array(names, object), np.array(labels), tf.read_file) for names, labels in (
        (['b', 'a', 'b'], [1, 0, 1]), (['c', 'a'], [2, 0])))
    rows = dataset.whole(DataSet(train, test, ('x', 'y', 'z'))).test
    assert dict(zip(rows.x, rows.y)) == dict(a=0, b=1, c=2) and rows.size == 3
    numbers = Split(np.zeros([2, 3]), np.zeros(2, int))
    assert dataset.whole(DataSet(numbers, numbers, ('x',))).test.size == 4


@pytest.mark.parametrize('rows, is_kept', [(6, True), (7, False)])
def test_decoded_images_stay_in_memory_if_all_of_them_fit(monkeypatch, rows, is_kept):
    monkeypatch.setattr(dataset, 'KEPT_BYTES', 10 * 4 * 3)
    parts = [Split(np.zeros(count), np.zeros(count, int)) for count in (rows, 4)]
    assert DataSet(*parts, ('x',), shape=(2, 2, 3)).loading['kept'] == ((2, 2, 3) if is_kept else ())


@pytest.mark.parametrize('make, classes', [
    (synthetic.cifar10, 10), (synthetic.cifar100, 100)])
def test_synthetic_images_have_the_shape_of_the_real_ones(make, classes):
    data = make(train=300, test=200)
    assert data.classes == classes
    for split, count in [(data.train, 300), (data.test, 200)]:
        assert split.x.shape == (count, 32, 32, 3) and split.x.dtype == np.uint8
        assert set(split.y) == set(range(classes)) and split.y.dtype == np.int32


def test_synthetic_data_are_the_same_every_time_and_differ_between_train_and_test():
    once, again = synthetic.cifar10(20, 20), synthetic.cifar10(20, 20)
    np.testing.assert_array_equal(once.train.x, again.train.x)
    assert not np.array_equal(once.train.x, once.test.x)
    assert not np.array_equal(once.train.x, synthetic.cifar10(20, 20, seed=1).train.x)


def test_blobs_are_three_round_clouds_of_std_2():
    data = blobs.blobs(train=30000, test=3000)
    assert data.train.x.shape == (30000, 2) and data.train.x.dtype == np.float32
    assert collections.Counter(data.train.y) == {0: 10000, 1: 10000, 2: 10000}
    for label in range(3):
        train, test = (split.x[split.y == label] for split in (data.train, data.test))
        np.testing.assert_allclose(train.std(axis=0), 2, atol=0.1)
        np.testing.assert_allclose(train.mean(axis=0), test.mean(axis=0), atol=0.3)
        assert (abs(train.mean(axis=0)) < 10.1).all()
    assert not set(map(tuple, data.train.x)) & set(map(tuple, data.test.x))
    assert len(set(data.train.y[:20])) == 3


def test_blobs_are_as_many_as_the_vendors_and_the_same_every_time():
    data = blobs.blobs()
    assert len(data.train.y) == 131072 and data.classes == 3
    np.testing.assert_array_equal(data.train.x, blobs.blobs().train.x)


SPLIT = Split(np.arange(60), np.repeat(np.arange(3, dtype=np.int32), 20))


def test_the_labelled_part_has_equally_many_of_each_class_drawn_by_the_seed():
    part = labelled_subset(SPLIT, classes=3, labels=12, seed=1)
    assert collections.Counter(part.y) == {0: 4, 1: 4, 2: 4}
    assert len(set(part.x)) == 12
    np.testing.assert_array_equal(SPLIT.y[part.x], part.y)
    again, other = (labelled_subset(SPLIT, 3, 12, seed).x for seed in (1, 2))
    np.testing.assert_array_equal(part.x, again)
    assert not np.array_equal(part.x, other)


def test_all_labels_are_the_whole_set():
    assert labelled_subset(SPLIT, classes=3, labels=60, seed=1) is SPLIT


@pytest.mark.parametrize('labels, fault', [
    (2, 'multiple of the 3 classes'), (10, 'multiple of the 3 classes'), (0, 'multiple'),
    (63, 'use at most 60')])
def test_labels_that_cannot_be_shared_evenly_are_refused(labels, fault):
    with pytest.raises(InputError, match=f'--labels={labels}: .*{fault}'):
        labelled_subset(SPLIT, classes=3, labels=labels, seed=1)
