"""Ranks of one server add vectors up through memory that they share."""
import glob
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from core.cpu import kernels
from core.ranks import shared_memory
from core.ranks.shared_memory import SharedMemory, offer

compiled = pytest.mark.skipif(not kernels.library(), reason='the kernels are not compiled on this machine')
ADDRESSES = ['127.0.0.1:1', '127.0.0.1:2']
VECTORS = [np.random.RandomState(rank).randn(10007).astype(np.float32) for rank in range(3)]


def exchanged(offered, rank, ranks, results):
    """Exchanges of two vectors, one of them in three parts, by a rank that is a thread with a graph of its own."""
    with tf.Graph().as_default() as graph:
        memory, step = SharedMemory(offered, rank, ranks, kernels.shared_all_reduce()), tf.placeholder(tf.float32, [])
        vector = tf.constant(VECTORS[rank]) * step
        parts = memory.all_reduce([vector[:1], tf.reshape(vector[1:6001], [2, 3000]), vector[6001:]], 1, False)
        totals = [tf.concat([tf.reshape(part, [-1]) for part in parts], 0),
                  memory.all_reduce([vector[:2]], 2, True)[0]]
        if rank % 2:
            totals[0], totals[1] = totals[1], totals[0]
        with tf.Session(graph=graph) as session:
            results[rank] = [session.run(totals, {step: number})[::-1 if rank % 2 else 1] for number in (1, 2, 3)]


@compiled
@pytest.mark.parametrize('ranks', [2, 3])
def test_every_rank_gets_the_sum_and_the_mean_in_every_step_and_no_file_is_left(ranks):
    offered, results = offer(ADDRESSES, True), {}
    threads = [threading.Thread(target=exchanged, args=(offered, rank, ranks, results)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, step in enumerate((1, 2, 3)):
        total, mean = results[0][number]
        np.testing.assert_allclose(total, step * sum(VECTORS[:ranks]), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mean, step * sum(VECTORS[:ranks])[:2] / ranks, rtol=1e-5, atol=1e-5)
        for rank in range(1, ranks):
            np.testing.assert_array_equal(results[rank][number][0], total)
            np.testing.assert_array_equal(results[rank][number][1], mean)
    assert glob.glob('/dev/shm/training-ranks-%d-%d-*' % tuple(offered[:2])) == []


@compiled
def test_what_has_no_room_or_another_type_is_left_to_other_ways():
    with tf.Graph().as_default():
        memory = SharedMemory([os.getpid(), 1, 2 * 4 * 100], 0, 2, kernels.shared_all_reduce())
        assert memory.all_reduce([tf.zeros([60], tf.int64)], 1, False) == []
        assert len(memory.all_reduce([tf.zeros([20]), tf.zeros([40])], 2, False)) == 2
        assert memory.all_reduce([tf.zeros([60])], 3, False) == []


def test_ranks_of_several_servers_and_ranks_without_kernels_share_no_memory():
    assert offer(['192.0.2.1:1', '192.0.2.2:1'], True) == [0, 0, 0]
    assert offer(ADDRESSES, False) == [0, 0, 0]


@compiled
def test_files_of_killed_processes_are_removed_and_those_of_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, 'DIRECTORY', str(tmp_path))
    dead, alive = (tmp_path / ('training-ranks-%d-7-3' % process) for process in (2 ** 22 + 1, os.getpid()))
    for file in (dead, alive):
        file.write_text('')
    assert offer(ADDRESSES, True)[2] > 0
    assert not dead.exists() and alive.exists()
