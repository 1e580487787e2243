"""TFRecord shards: TensorFlow's own records, in an order that is a function of (seed, step), read where they lie."""
import os
import re
import zlib

import numpy as np
import pytest
import tensorflow as tf
from launching import ROOT

from core.errors import InputError, input_errors
from data import pipeline, records
from data.seeds import permuted_in_blocks
from launchers import command, evaluate, train

COUNTS = (30, 0, 50, 20)       # records of each shard; 12 batches of 8 an epoch
SHARD = np.repeat(np.arange(len(COUNTS)), COUNTS)


@pytest.fixture
def shards(tmp_path):
    """Shards that TensorFlow has written: record N is tf.train.Example {'n': [N], 'square': [N * N]}."""
    paths, number = [], 0
    for shard, count in enumerate(COUNTS):
        paths.append(str(tmp_path / ('train-%05d-of-%05d' % (shard, len(COUNTS)))))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for _ in range(count):
                writer.write(example(n=number, square=float(number ** 2)))
                number += 1
    return paths


def example(**values):
    features = {name: tf.train.Feature(**{'int64_list': tf.train.Int64List(value=[value])} if isinstance(value, int)
                                       else {'float_list': tf.train.FloatList(value=[value])})
                for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


FORM = {'n': tf.io.FixedLenFeature([], tf.int64), 'square': tf.io.FixedLenFeature([], tf.float32)}


def parsed(x, y, seed):
    """As transform: a batch at once."""
    del y, seed
    found = tf.io.parse_example(x, FORM)
    return found['square'], found['n']


def parsed_one(x, y, seed):
    """As load_one: a record."""
    del y, seed
    found = tf.io.parse_single_example(x, FORM)
    return found['square'], found['n']


def batches(split, steps, first_step=0, batch_size=8, **options):
    with tf.Graph().as_default(), tf.Session() as session, input_errors():
        source = pipeline.train_input(split, batch_size, 1, **options)
        source.initialize(session, first_step)
        return [session.run(source.batch) for _ in range(steps)]


def numbers(found):
    return [n.tolist() for _, n in found]


def test_a_record_is_what_the_format_says_and_its_checksum_is_that_of_rfc_3720():
    crc = 0xe3069283                               # CRC-32C of 123456789, the check value of its definition
    masked = ((crc >> 15 | crc << 17) + 0xa282ead8) % 2 ** 32
    assert records.masked_crc(b'123456789') == masked
    length = (9).to_bytes(8, 'little')
    assert records.record(b'123456789') == (length + records.masked_crc(length).to_bytes(4, 'little') + b'123456789'
                                            + masked.to_bytes(4, 'little'))


def test_a_test_pass_has_the_records_of_tensorflows_reader_in_their_order(shards, tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        source = pipeline.test_input(records.records(shards, str(tmp_path)), 8)
        source.initialize(session)
        found = [session.run(source.batch) for _ in range(source.batches)]
        theirs = tf.data.make_one_shot_iterator(tf.data.TFRecordDataset(shards)).get_next()
        expected = [session.run(theirs) for _ in range(sum(COUNTS))]
    contents, weights = (np.concatenate([batch[part] for batch in found]) for part in (0, 2))
    assert contents[weights > 0].tolist() == expected


@pytest.mark.slow
def test_a_long_search_for_records_says_how_far_it_is(shards, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(records, '_TOLD_AFTER', -1.)
    records.index(shards, str(tmp_path))
    assert capfd.readouterr().err.splitlines() == [
        '%s: looking for the records of 4 files, once: %d are done' % (tmp_path, done) for done in (1, 2, 3, 4)]


@pytest.mark.parametrize('content, words', [
    (b'<html>' + bytes(50), 'is an HTML page, as a server sends instead of a file: '),
    (b'no records at all, but words', 'is no TFRecord file: no record starts at its first byte'),
    (zlib.compress(bytes(500)), 'is compressed by zlib: its records cannot be read one by one; ')])
def test_a_file_without_records_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / 'train-0').write_bytes(content)
    with pytest.raises(InputError) as caught:
        records.index([str(tmp_path / 'train-0')], str(tmp_path))
    assert str(caught.value).startswith('%s/train-0: %s' % (tmp_path, words))


@pytest.mark.parametrize('parse', [dict(transform=parsed), dict(load_one=parsed_one)])
def test_an_epoch_has_every_record_once_with_its_own_values(shards, tmp_path, parse):
    found = batches(records.records(shards, str(tmp_path), buffer=16), 12, **parse)
    assert len(set(sum(numbers(found), []))) == 96
    for square, n in found:
        np.testing.assert_array_equal(square, n.astype(np.float32) ** 2)


@pytest.mark.slow
def test_epochs_take_the_shards_in_orders_of_their_own_and_shuffle_records_that_lie_near_each_other(shards, tmp_path):
    found = np.array(sum(numbers(batches(records.records(shards, str(tmp_path), buffer=10), 60, transform=parsed)), []))
    epochs = found.reshape(5, 96)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert len({tuple(SHARD[epoch[::9]]) for epoch in epochs}) > 1
    for epoch in epochs:                           # a block has ten records of one shard, or of two
        blocks = epoch[:90].reshape(9, 10)
        assert all(len({n // 10 for n in block}) <= 4 for block in blocks)
        assert not any((np.diff(block) == 1).all() for block in blocks)
    assert set(found.tolist()) == set(range(100))


@pytest.mark.slow
def test_a_run_resumes_on_the_same_batches_and_reads_no_record_before_them(shards, tmp_path, monkeypatch):
    split, read = records.records(shards, str(tmp_path), buffer=16), []
    whole = sum(numbers(batches(split, 150, batch_size=1, transform=parsed)), [])
    original = records.ShardReader.read
    monkeypatch.setattr(records.ShardReader, 'read',
                        lambda self, addresses: read.extend(addresses.tolist()) or original(self, addresses))
    assert sum(numbers(batches(split, 4, 140, batch_size=1, transform=parsed)), []) == whole[140:144]
    rows = dict(zip(split.x.tolist(), range(100)))
    assert not {rows[address] for address in read} & set(whole[100:140])       # some that follow are read ahead


@pytest.mark.slow
def test_ranks_share_the_batches_of_one_rank_and_each_reads_its_own_records(shards, tmp_path):
    split = records.records(shards, str(tmp_path), buffer=16)
    alone = numbers(batches(split, 12, transform=parsed))
    shares = [numbers(batches(split, 12, batch_size=4, rank=rank, ranks=2, transform=parsed)) for rank in range(2)]
    assert [a + b for a, b in zip(*shares)] == alone


def test_a_permutation_of_blocks_moves_numbers_within_blocks_of_nearly_one_size():
    with tf.Graph().as_default(), tf.Session() as session:
        seed = tf.constant([3, 4], tf.int64)
        found = session.run(permuted_in_blocks(tf.range(1003, dtype=tf.int64), 1003, 100, seed))
        whole = session.run(permuted_in_blocks(tf.range(1003, dtype=tf.int64), 1003, 5000, seed))
    assert sorted(found) == sorted(whole) == list(range(1003))
    assert 0 < np.abs(found - np.arange(1003)).max() < 100 < np.abs(whole - np.arange(1003)).max()
    blocks = [sorted(part) for part in np.split(found, [number * 1003 // 11 for number in range(1, 11)])]
    assert all(part == list(range(part[0], part[0] + len(part))) for part in blocks)
    moved = [tuple(np.array(part) - min(part)) for part in np.split(found, [91, 182])[:2]]
    assert moved[0] != moved[1]


def kept(directory):
    return sorted(name for name in os.listdir(str(directory)) if name.startswith('.records-'))


def same(one, other):
    assert one.files == other.files
    for mine, its in zip(one[1:], other[1:]):
        np.testing.assert_array_equal(mine, its)


def test_an_index_is_made_once_and_kept_beside_the_shards(shards, tmp_path, monkeypatch):
    made = records.index(shards, str(tmp_path / 'cache'))
    assert len(kept(tmp_path)) == 1 and not os.path.exists(str(tmp_path / 'cache'))
    monkeypatch.setattr(records, '_hop', None)     # which would have to read the shards
    same(records.index(shards, str(tmp_path / 'cache')), made)


@pytest.mark.parametrize('change', ['longer', 'time'])
def test_an_index_is_made_anew_when_a_shard_has_changed(shards, tmp_path, change):
    records.index(shards, str(tmp_path))
    if change == 'longer':
        with open(shards[1], 'ab') as file:
            file.write(records.record(b'new'))
    else:
        os.utime(shards[1], ns=(0, 0))
    found = records.index(shards, str(tmp_path))
    assert len(found.addresses) == 100 + (change == 'longer') and len(kept(tmp_path)) == 1
    same(records.index(shards, str(tmp_path)), found)


@pytest.mark.parametrize('damage', [lambda content: content[:-8], lambda content: content[:5], lambda content: b'',
                                    lambda content: content[:200] + b'\x55' + content[201:]])
def test_a_damaged_index_is_made_anew(shards, tmp_path, damage):
    made = records.index(shards, str(tmp_path))
    same(made, records.index(shards, str(tmp_path)))
    path = str(tmp_path / kept(tmp_path)[0])
    content = open(path, 'rb').read()
    os.remove(path)
    with open(path, 'wb') as file:
        file.write(damage(content))
    same(records.index(shards, str(tmp_path)), records._index(shards, np.frombuffer(content, np.int64), False))
    assert open(path, 'rb').read() == content


def test_an_index_goes_to_the_cache_where_shards_cannot_be_written_to_and_to_no_file_where_neither_can(
        shards, tmp_path, monkeypatch):
    original, refused = records.tempfile.mkstemp, [str(tmp_path)]

    def mkstemp(dir, prefix):
        if dir in refused:
            raise PermissionError(13, 'Permission denied')
        return original(dir=dir, prefix=prefix)
    monkeypatch.setattr(records.tempfile, 'mkstemp', mkstemp)
    cache = str(tmp_path / 'cache')
    made = records.index(shards, cache)
    assert not kept(tmp_path) and len(os.listdir(cache)) == 1
    os.remove(os.path.join(cache, os.listdir(cache)[0]))
    refused.append(cache)
    same(records.index(shards, cache), made)
    assert os.listdir(cache) == []


@pytest.mark.parametrize('parse', [dict(transform=parsed), dict(load_one=parsed_one)])
def test_a_damaged_record_ends_the_run_in_a_line_that_names_shard_and_record(shards, tmp_path, parse):
    split = records.records(shards, str(tmp_path))
    with open(shards[2], 'r+b') as file:           # the index has been made of the file as it was
        file.seek(int(split.x[37] - split.x[30]) + 20)
        file.write(b'\xff')
    with pytest.raises(InputError) as caught:
        batches(split, 12, **parse)
    assert str(caught.value) == '%s: record 7 is damaged: its checksum is another; fetch the file again' % shards[2]


@pytest.mark.slow
def test_the_recipe_of_the_page_about_data_trains_on_records_and_is_evaluated_as_numpy_does(tmp_path, capfd):
    with open(os.path.join(ROOT, 'docs', 'data.md'), encoding='utf-8') as page:
        code, = re.findall(r'```python\n# clicks.py\n(.*?)```', page.read(), re.S)
    (tmp_path / 'clicks.py').write_text(code)
    numbers = np.random.RandomState(0).normal(size=[500, 4]).astype(np.float32)
    clicked = (numbers @ [1, -2, 0, 1] > 0).astype(int)
    for name, rows in (('train-0', range(200)), ('train-1', range(200, 400)), ('test-0', range(400, 500))):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for row in rows:
                writer.write(tf.train.Example(features=tf.train.Features(feature={
                    'numbers': tf.train.Feature(float_list=tf.train.FloatList(value=numbers[row])),
                    'clicked': tf.train.Feature(int64_list=tf.train.Int64List(value=[clicked[row]]))
                })).SerializeToString())
    flags = ['--network=%s/clicks.py' % tmp_path, '--output_path=%s' % tmp_path, '--case=performance']
    assert command.run(train.act, flags + ['--data_path=%s' % tmp_path], {}) == 0
    capfd.readouterr()
    assert command.run(evaluate.act, flags + ['--data_path=%s' % tmp_path], {}) == 0
    value = float(re.search('test accuracy (.*)', capfd.readouterr().out).group(1))
    reader = tf.train.load_checkpoint(str(tmp_path / '0' / 'ckpt'))
    logits = numbers[400:] @ reader.get_tensor('clicks/dense/kernel')[:, 0] + reader.get_tensor('clicks/dense/bias')
    assert value == pytest.approx(np.mean((logits > 0) == clicked[400:]), abs=1e-6) and value > .8
    os.remove(str(tmp_path / 'test-0'))
    assert command.run(evaluate.act, flags + ['--data_path=%s' % tmp_path], {}) == 2
    assert '--data_path=%s: no file there is called test-*' % tmp_path in capfd.readouterr().err
