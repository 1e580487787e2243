"""Ranks of one server exchange tensors through memory that they share, without a port and without a name."""
import os
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf
from launching import PATIENCE

from core.errors import InputError, RankLost
from core.ranks import buckets
from core.ranks.meeting import Meeting, _only_ours as short_name_of
from core.ranks.one_server import OneServer
from launchers.devices import CPU

compiled = pytest.mark.skipif(not CPU.shared_exchange(), reason='the kernels are not compiled on this machine')
WAYS = ['numpy', pytest.param('compiled', marks=compiled)]
VECTORS = [np.random.RandomState(rank).randn(10007).astype(np.float32) for rank in range(4)]


@pytest.fixture
def ours(tmp_path):
    """A directory that no other user can enter, with a path longer than a socket's may be."""
    directory = tmp_path / ('d' * 100)
    directory.mkdir(mode=0o700)
    return str(directory)


def together(ranks, act):
    """[act(rank) for each rank], each in a thread; what one of them raises is raised."""
    results, errors = [None] * ranks, []

    def run(rank):
        try:
            results[rank] = act(rank)
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def server(rank, ranks, directory, way):
    """A rank that has met the others."""
    ours = OneServer(rank, ranks, directory, PATIENCE, CPU.shared_exchange() if way == 'compiled' else None)
    assert ours.rendezvous([rank, 2 ** 40 + rank]) == [0, 2 ** 40]
    return ours


def run(ours, fetches, feed=None):
    config = tf.ConfigProto()
    ours.configure(config)
    with ours.together(), tf.Session(config=config) as session:
        return fetches(session)


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('ranks', [2, 3, 4])
def test_every_rank_gets_the_same_sums_and_means_in_every_step_in_any_order(ours, way, ranks, monkeypatch):
    monkeypatch.setattr(buckets, 'BUCKET_BYTES', 4 * 6001)

    def act(rank):
        with tf.Graph().as_default():
            server_ = server(rank, ranks, ours, way)
            step = tf.placeholder(tf.float32, [])
            vector = tf.constant(VECTORS[rank]) * step
            parts = server_.sum([vector[:1], tf.reshape(vector[1:6001], [2, 3000]), vector[6001:]])
            totals = [tf.concat([tf.reshape(part, [-1]) for part in parts], 0), server_.mean([vector])[0]]
            if rank % 2:
                totals.reverse()
            found = run(server_, lambda session: [
                session.run(totals, {step: number})[::-1 if rank % 2 else 1] for number in (1, 2, 3)])
            reached.append(server_.reached)
            return found
    reached = []
    results = together(ranks, act)
    assert reached == [9] * ranks                  # two buckets of sums and one of means in each of three steps
    for number, step in enumerate((1, 2, 3)):
        expected = step * sum(VECTORS[:ranks])
        np.testing.assert_allclose(results[0][number][0], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(results[0][number][1], expected / ranks, rtol=1e-5, atol=1e-5)
        for rank in range(1, ranks):
            np.testing.assert_array_equal(results[rank][number], results[0][number])


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('ranks', [2, 3])
def test_all_types_are_added_up_and_any_is_broadcast(ours, way, ranks):
    types = [tf.float16, tf.float32, tf.float64, tf.int32, tf.int64]
    odd = np.array([-0., np.nan, np.inf], np.float32)

    def act(rank):
        with tf.Graph().as_default():
            server_ = server(rank, ranks, ours, way)
            sums = server_.sum([tf.fill([2, 2], tf.cast(rank + 1, dtype)) for dtype in types])
            sent = server_.broadcast([tf.constant([rank == 0, True]), tf.constant(odd if rank == 0 else odd * 0),
                                      tf.constant(rank, tf.uint8), tf.zeros([0]), tf.constant(rank + .5, tf.bfloat16)])
            return run(server_, lambda session: session.run([sums, sent]))
    for sums, sent in together(ranks, act):
        for dtype, total in zip(types, sums):
            assert total.dtype == dtype.as_numpy_dtype and (total == sum(range(1, ranks + 1))).all()
        assert sent[0].tolist() == [True, True] and sent[1].tobytes() == odd.tobytes()
        assert sent[2] == 0 and sent[3].shape == (0,) and sent[4] == .5


def trained(ours, ranks, use_nesterov, kernels):
    """[(weights and velocities after three steps, types of what updates them) of each rank]: with and without weight
    decay, in two buckets and of sizes that no vector of the CPU divides."""
    def built(rank):
        with tf.Graph().as_default(), kernels.used(True):
            weights = [tf.get_variable('weights%d' % i, initializer=VECTORS[0][:size])
                       for i, size in enumerate((10007, 7, 1001))]
            loss = sum(tf.reduce_sum(each * VECTORS[rank][-each.shape[0].value:]) for each in weights)
            loss += .3 * tf.nn.l2_loss(weights[0]) + .1 * tf.nn.l2_loss(weights[2])
            optimizer = servers[rank].optimizer(tf.train.MomentumOptimizer(.1, .9, use_nesterov=use_nesterov))
            return optimizer.minimize(loss, tf.train.get_or_create_global_step())

    def act(rank):
        update = updates[rank]
        pending, needed = [update], set()
        while pending:
            op = pending.pop()
            if op not in needed:
                needed.add(op)
                pending += op.control_inputs + [each.op for each in op.inputs]

        def steps(session):
            session.run(tf.global_variables_initializer())
            for _ in range(3):
                session.run(update)
            return session.run(tf.global_variables())
        with update.graph.as_default():
            return run(servers[rank], steps), {op.type for op in needed} & {'ApplyMomentum', 'SharedMomentum'}
    servers = together(ranks, lambda rank: server(rank, ranks, ours, 'compiled'))
    updates = [built(rank) for rank in range(ranks)]
    return together(ranks, act)


@compiled
@pytest.mark.parametrize('use_nesterov', [False, True])
@pytest.mark.parametrize('ranks', [2, 3])
def test_weights_updated_while_gradients_are_exchanged_are_those_of_an_exchange_and_an_update(
        ours, ranks, use_nesterov, monkeypatch):
    kernels = pytest.importorskip('core.cpu.kernels')
    monkeypatch.setattr(buckets, 'BUCKET_BYTES', 4 * 10014)
    joined = trained(ours, ranks, use_nesterov, kernels)
    monkeypatch.setattr(kernels, '_join_updates', lambda: None)
    apart = trained(ours, ranks, use_nesterov, kernels)
    assert [each for _, each in joined + apart] == [{'SharedMomentum'}] * ranks + [{'ApplyMomentum'}] * ranks
    for found, _ in joined + apart:
        assert found[3] == 3                           # global_step waits for all updates
        assert [each.tobytes() for each in found] == [each.tobytes() for each in joined[0][0]]
    assert not np.array_equal(joined[0][0][0], VECTORS[0])


def test_nothing_has_a_name_once_all_ranks_have_met(ours):
    met = together(3, lambda rank: Meeting(ours, rank, 3, PATIENCE))
    assert os.listdir(ours) == [] and [os.fstat(meeting.memory).st_nlink for meeting in met] == [0, 0, 0]


def test_a_socket_that_killed_ranks_have_left_is_replaced(ours):
    with open(os.path.join(ours, 'rank-0'), 'w'):
        pass
    together(2, lambda rank: Meeting(ours, rank, 2, PATIENCE))


def test_a_rank_that_does_not_come_is_named(ours):
    with pytest.raises(InputError, match='--connect_timeout=0: no answer from ranks 1, 2; '):
        Meeting(ours, 0, 3, 0)
    with pytest.raises(InputError, match='--connect_timeout=0: no answer from rank 0; '):
        Meeting(ours, 1, 3, 0)


def test_a_rank_that_waits_for_others_learns_that_rank_0_has_ended(ours):
    def act(rank):
        if rank == 1:
            return Meeting(ours, 1, 3, PATIENCE)
        with socket.socket(socket.AF_UNIX) as listener, short_name_of(ours) as directory:
            listener.bind(directory + '/rank-0')
            listener.listen(1)
            connection, _ = listener.accept()
            connection.recv(8, socket.MSG_WAITALL)
            connection.close()         # it has not waited for rank 2 to the end
    with pytest.raises(RankLost, match='rank 0 is gone'):
        together(2, act)


@pytest.mark.parametrize('way', WAYS)
def test_a_rank_that_ends_before_it_may_is_lost_and_one_that_may_is_not(ours, way):
    lost, met = [], together(3, lambda rank: Meeting(ours, rank, 3, PATIENCE))
    heard = threading.Event()
    for rank, meeting in enumerate(met):
        meeting.watch(lambda line, rank=rank: (lost.append((rank, line)), heard.set()), lambda: None)
    to_1, to_2 = met[0]._peers[1], met[0]._peers[2]
    met[1].leave()                 # then its process may end
    to_1.shutdown(2)
    to_2.shutdown(2)               # as when the process of rank 2 dies, for rank 0; and the other way round
    assert heard.wait(PATIENCE)
    assert {line.split(':')[0] for _, line in lost} <= {'rank 2 is gone', 'rank 0 is gone'}
    assert not [line for rank, line in lost if rank == 1 or 'rank 1' in line]


@pytest.mark.parametrize('mode', [0o750, 0o701, 0o777])
def test_a_directory_that_others_can_enter_is_refused(tmp_path, mode):
    (tmp_path / 'open').mkdir()
    (tmp_path / 'open').chmod(mode)
    with pytest.raises(InputError, match='must be a directory of this user alone'):
        Meeting(str(tmp_path / 'open'), 0, 2, 0)
    (tmp_path / 'link').symlink_to(tmp_path)
    for name in ('link', 'missing'):
        with pytest.raises(InputError, match='RANKS_DIRECTORY='):
            Meeting(str(tmp_path / name), 0, 2, 0)


def test_too_little_room_is_one_line_and_no_other_way_is_taken(ours, monkeypatch):
    def act(rank):
        return server(rank, 2, ours, 'numpy')
    first, _ = together(2, act)

    def full(descriptor, offset, size):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'posix_fallocate', full)
    with tf.Graph().as_default(), pytest.raises(InputError, match='2 ranks need more than 0 MB .*: No space'):
        first.sum([tf.zeros([60])])
    first._end = 5 << 20
    with tf.Graph().as_default(), pytest.raises(InputError, match='2 ranks need more than 5 MB'):
        first.sum([tf.zeros([60])])


def test_a_machine_without_nameless_files_of_the_kernel_has_them_in_dev_shm(ours, monkeypatch):
    from core.ranks import meeting
    monkeypatch.setattr(meeting.ctypes, 'CDLL', lambda *_, **__: object())
    descriptor = meeting._memory()
    os.posix_fallocate(descriptor, 0, 100)
    assert os.fstat(descriptor).st_nlink == 0 and os.readlink('/proc/self/fd/%d' % descriptor).startswith('/dev/shm/')
