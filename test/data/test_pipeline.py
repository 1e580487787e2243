"""Batches as a function of (seed, step): epochs, ranks, resume, the last test batch."""
import numpy as np
import pytest
import tensorflow as tf

from core.errors import InputError
from data import pipeline
from data.dataset import Split
from data.loading import Skipped
from data.seeds import permuted, split_seed

COUNT, BATCH = 23, 4  # five batches an epoch, three samples left over
SPLIT = Split(np.arange(COUNT, dtype=np.float32)[:, None] * [[1, 10]],
              np.arange(COUNT, dtype=np.int32))


def batches(make_input, steps=None, first_step=0):
    """The first `steps` batches, or all of them."""
    with tf.Graph().as_default(), tf.Session() as session:
        source = make_input()
        source.initialize(session, first_step)
        got = []
        while steps is None or len(got) < steps:
            try:
                got.append(session.run(source.batch))
            except tf.errors.OutOfRangeError:
                break
        return got


def train(seed=1, steps=5, first_step=0, batch_size=BATCH, split=SPLIT, **options):
    return batches(lambda: pipeline.train_input(split, batch_size, seed, **options),
                   steps, first_step)


def labels(got):
    return np.concatenate([batch[1] for batch in got]).tolist()


def draw(x, y, seed):
    """As load_one or transform: puts a random number beside each label."""
    return x, tf.stack([tf.cast(y, tf.float32), tf.random.stateless_uniform(y.shape, seed)], -1)


def test_an_epoch_holds_distinct_samples_with_their_own_labels():
    got = train()
    assert len(set(labels(got))) == 20
    for x, y in got:
        np.testing.assert_array_equal(x, SPLIT.x[y])


def test_epochs_are_shuffled_differently_and_leave_out_different_samples():
    got = train(steps=50)
    epochs = [labels(got[start:start + 5]) for start in range(0, 50, 5)]
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert set(labels(got)) == set(range(COUNT))


@pytest.mark.slow
def test_the_order_follows_the_seed():
    assert labels(train(seed=7)) == labels(train(seed=7))
    assert labels(train(seed=7)) != labels(train(seed=8))
    assert len(labels(train(seed=2 ** 31 - 1))) == 20


@pytest.mark.slow
@pytest.mark.parametrize('first_step', [1, 4, 5, 13])
def test_a_resumed_stream_goes_on_with_the_very_same_batches(first_step):
    whole = train(steps=16, load_one=draw)
    resumed = train(steps=16 - first_step, first_step=first_step, load_one=draw)
    for (x, y), (same_x, same_y) in zip(whole[first_step:], resumed):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y, same_y)


def test_resuming_loads_nothing_of_what_is_skipped():
    many = Split(np.arange(400), np.arange(400))
    loaded = []

    def load_one(x, y, seed):
        noted = tf.py_func(lambda label: loaded.append(label) or label, [y], tf.int64)
        return x, tf.reshape(noted, [])
    after = labels(train(steps=1, first_step=50, split=many, load_one=load_one))
    assert set(after) <= set(loaded)
    assert not set(loaded) & set(labels(train(steps=50, split=many)))


@pytest.mark.slow
@pytest.mark.parametrize('ranks, batch_size', [(2, 4), (4, 2)])
def test_ranks_share_the_global_batch_of_one_rank(ranks, batch_size):
    alone = train(steps=6, batch_size=8, load_one=draw)
    shares = [train(steps=6, batch_size=batch_size, rank=rank, ranks=ranks, load_one=draw)
              for rank in range(ranks)]
    for step, (x, y) in enumerate(alone):
        np.testing.assert_array_equal(x, np.concatenate([share[step][0] for share in shares]))
        np.testing.assert_array_equal(y, np.concatenate([share[step][1] for share in shares]))


def test_the_seed_of_a_transform_follows_step_and_rank():
    got = [train(steps=10, batch_size=2, rank=rank, ranks=2, transform=draw) for rank in range(2)]
    noise = np.stack([y[:, 1] for share in got for _, y in share])
    assert len(np.unique(noise)) == noise.size
    again = train(steps=1, first_step=7, batch_size=2, rank=1, ranks=2, transform=draw)
    np.testing.assert_array_equal(again[0][1], got[1][7][1])


def test_split_seeds_differ_from_one_another_and_from_step_to_step():
    def transform(x, y, seed):
        return tuple(tf.random.stateless_uniform([], part) for part in split_seed(seed, 3))
    assert len(np.unique(train(steps=8, transform=transform))) == 24


def test_shapes_are_static_and_the_data_stays_out_of_the_graph():
    split = Split(np.zeros([5000, 32, 32, 3], np.uint8), np.zeros(5000, np.int32))
    with tf.Graph().as_default() as graph:
        for source in [pipeline.train_input(split, 64, 1), pipeline.test_input(split, 64)]:
            assert source.batch[0].shape == (64, 32, 32, 3)
            assert source.batch[1].shape == (64,)
            assert source.batches == {0: 78, 1: 79}[len(source.batch) - 2]
        assert graph.as_graph_def().ByteSize() < 50000


def test_names_of_files_are_loaded_one_by_one(tmp_path):
    names = [str(tmp_path / f'{number}.txt') for number in range(6)]
    for number, name in enumerate(names):
        with open(name, 'w') as file:
            file.write(str(number))
    split = Split(np.array(names), np.arange(6, dtype=np.int32))

    def load_one(name, y, seed):
        return tf.strings.to_number(tf.read_file(name), tf.int32), y
    for x, y in train(steps=4, batch_size=3, split=split, load_one=load_one):
        np.testing.assert_array_equal(x, y)


def test_calls_inside_a_loader_keep_the_order_of_their_arguments():
    def ordered(first, second, third, last):
        return 1000 * first + 100 * second + 10 * third + last

    def load_one(x, y, seed):
        return ordered(tf.constant(1), *tf.unstack(tf.constant([2, 3])), tf.constant(4)), y
    np.testing.assert_array_equal(train(steps=1, load_one=load_one)[0][0], [1234] * 4)


def test_a_test_pass_is_whole_in_order_and_weighs_the_filling_nothing():
    got = batches(lambda: pipeline.test_input(SPLIT, BATCH))
    assert len(got) == 6
    assert all(len(y) == len(weight) == BATCH for _, y, weight in got)
    real = np.concatenate([y[weight == 1] for _, y, weight in got])
    np.testing.assert_array_equal(real, SPLIT.y)
    np.testing.assert_array_equal(got[-1][2], [1, 1, 1, 0])


def test_a_test_pass_can_be_repeated():
    with tf.Graph().as_default(), tf.Session() as session:
        source = pipeline.test_input(SPLIT, BATCH)
        for _ in range(2):
            source.initialize(session)
            got = [session.run(source.batch[1]) for _ in range(source.batches)]
            np.testing.assert_array_equal(got[0], [0, 1, 2, 3])
            with pytest.raises(tf.errors.OutOfRangeError):
                session.run(source.batch)


def test_drop_remainder_leaves_the_partial_test_batch_out():
    got = batches(lambda: pipeline.test_input(SPLIT, BATCH, drop_remainder=True))
    assert labels(got) == list(range(20)) and all(batch[2].all() for batch in got)


@pytest.mark.parametrize('ranks, batch_size', [(2, 4), (4, 8), (3, 1)])
def test_ranks_test_disjoint_shares_in_equally_many_batches(ranks, batch_size):
    shares = [batches(lambda: pipeline.test_input(SPLIT, batch_size, rank=rank, ranks=ranks))
              for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    real = np.concatenate([y[weight == 1] for share in shares for _, y, weight in share])
    np.testing.assert_array_equal(np.sort(real), SPLIT.y)


def test_a_test_set_smaller_than_a_batch_is_one_padded_batch():
    (_, y, weight), = batches(lambda: pipeline.test_input(SPLIT, 30))
    assert weight.sum() == COUNT
    np.testing.assert_array_equal(y[:COUNT], SPLIT.y)


@pytest.mark.slow
def test_two_streams_go_side_by_side_with_epochs_of_their_own():
    few = Split(SPLIT.x[:6], SPLIT.y[:6])

    def both():
        return pipeline.as_input(pipeline.zip_streams(
            pipeline.training_stream(few, 3, seed=1), pipeline.training_stream(SPLIT, 4, seed=2)))
    got = batches(both, steps=10)
    np.testing.assert_array_equal([pair[0][1] for pair in got],
                                  [y for _, y in train(1, 10, batch_size=3, split=few)])
    np.testing.assert_array_equal([pair[1][1] for pair in got], [y for _, y in train(2, 10)])
    resumed = batches(both, steps=1, first_step=7)
    np.testing.assert_array_equal(resumed[0][1][0], got[7][1][0])


@pytest.mark.parametrize('count', [1, 2, 3, 64, 65, 1000, 4097])
def test_a_computed_permutation_has_each_number_once_and_another_order_for_another_seed(count):
    with tf.Graph().as_default(), tf.Session() as session:
        orders = session.run([permuted(tf.range(count, dtype=tf.int64), count, tf.constant([1, seed], tf.int64))
                              for seed in range(2)])
    for order in orders:
        assert sorted(order) == list(range(count))
    assert count < 64 or not np.array_equal(*orders)
    if count >= 1000:          # neighbours are as far apart as in a random order: a third of the numbers in the mean
        assert np.abs(np.diff(orders[0])).mean() == pytest.approx(count / 3, rel=.15)


def test_an_order_that_is_computed_batch_by_batch_has_epochs_resumes_and_is_shared_like_a_sorted_one(monkeypatch):
    monkeypatch.setattr(pipeline, 'MOST_SORTED', 10)
    whole = train(steps=12, batch_size=8)
    epochs = [labels(whole[start:start + 2]) for start in range(0, 12, 2)]
    assert all(len(set(epoch)) == 16 for epoch in epochs) and len(set(map(tuple, epochs))) == 6
    assert labels(train(steps=5, batch_size=8, first_step=7)) == labels(whole[7:])
    shares = [train(steps=3, batch_size=4, rank=rank, ranks=2) for rank in range(2)]
    for step in range(3):
        np.testing.assert_array_equal(whole[step][1], np.concatenate([share[step][1] for share in shares]))


IDS = np.arange(COUNT, dtype=np.int64) + 2 ** 40      # a float32 could not hold them
NESTS = Split({'ids': IDS, 'pair': (np.arange(COUNT, dtype=np.int32), np.ones([COUNT, 3], np.float32))},
              (np.arange(COUNT, dtype=np.int32), IDS % 2))


def test_inputs_and_labels_may_be_dicts_and_tuples_of_any_types():
    for x, (row, parity) in train(split=NESTS):
        np.testing.assert_array_equal(x['ids'], row + 2 ** 40)
        assert x['ids'].dtype == np.int64 and x['pair'][0].dtype == np.int32 and x['pair'][1].shape == (BATCH, 3)
        np.testing.assert_array_equal(x['pair'][0], row)
        np.testing.assert_array_equal(parity, row % 2)


def test_nests_go_through_load_one_and_transform_and_come_out_as_they_return_them():
    def load_one(x, y, seed):
        return {'ids': x['ids'], 'noise': tf.random.stateless_uniform([2], seed)}, y[0]

    def transform(x, y, seed):
        return (x['ids'] - 2 ** 40, x['noise']), {'row': y}
    whole = train(steps=6, split=NESTS, load_one=load_one, transform=transform)
    for (ids, noise), labels_ in whole:
        np.testing.assert_array_equal(ids, labels_['row'])
        assert noise.shape == (BATCH, 2)
    (resumed, _), = train(steps=1, first_step=5, split=NESTS, load_one=load_one, transform=transform)
    np.testing.assert_array_equal(resumed[1], whole[5][0][1])


def test_a_row_of_a_nest_that_cannot_be_loaded_is_replaced_and_told_by_its_name(capfd):
    names = np.array(['row%d' % row for row in range(COUNT)], object)
    split = Split({'a_name': names, 'row': np.arange(COUNT)}, {'row': np.arange(COUNT)})

    def load_one(x, y, seed):
        checked = tf.debugging.Assert(tf.not_equal(x['row'], 7), ['bad'])
        with tf.control_dependencies([checked]):
            return {'row': tf.identity(x['row'])}, y
    got = train(steps=20, split=split, load_one=load_one, skipped=Skipped(names))
    rows = np.concatenate([x['row'] for x, _ in got])
    assert 7 not in rows and set(rows) == set(range(COUNT)) - {7}
    assert capfd.readouterr().out.count('row7: ') == 1
    tested = batches(lambda: pipeline.test_input(split, BATCH, load_one=load_one, skipped=Skipped(names)))
    assert sum(weight.sum() for _, _, weight in tested) == COUNT - 1
    good = pipeline.samples(split, load_one=lambda *row: (load_one(*row)[0]['row'], row[1]), skipped=Skipped(names))[1]
    assert good.tolist() == [row != 7 for row in range(COUNT)]


def test_arrays_of_different_length_are_no_split():
    with pytest.raises(ValueError, match='have 3 and 4 rows'):
        Split((np.zeros(3), np.zeros(4)), np.zeros(4)).size


def test_a_batch_larger_than_the_data_set_is_refused():
    with pytest.raises(InputError, match=r'--batch_size=24: .* 23 samples; use at most 23'):
        pipeline.train_input(SPLIT, 24, seed=1)
    with pytest.raises(InputError, match=r'--batch_size=12 on each of 2 ranks'):
        pipeline.train_input(SPLIT, 12, seed=1, ranks=2)
    with pytest.raises(InputError, match='--batch_size=24'):
        pipeline.test_input(SPLIT, 24, drop_remainder=True)
