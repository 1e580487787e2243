"""Several ranks on this machine: the same training as one rank's, and what becomes of it when one fails.

The networks are those of toy.py, in processes with the environment that the 8p launchers give.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile

import exchange
import numpy as np
import pytest
import tensorflow as tf
import toy
from launching import HELPERS, free_ports
from prefork import Forked

from core.errors import InputError, NothingLeft, RankLost
from core.ranks import buckets
from core.servers import collectives
from core.settings import config
from launchers import evaluate


def addresses(ranks):
    """Free addresses of this machine, joined by commas."""
    first = free_ports(ranks)
    return ','.join('127.0.0.1:%d' % (first + rank) for rank in range(ranks))


class Ranks:
    """A job of `ranks` processes of script(flag...); their output is in directory/log0, error0, log1...

    others: addresses of ranks on another server, which makes this a job of several servers; None: of one server.
    """

    def __init__(self, ranks, directory, script, flags, start=None, others=None):
        self._directory = directory
        meeting = tempfile.mkdtemp(dir=str(directory))
        shared = dict(os.environ, RANK_SIZE=str(ranks), JOB_ID='10087', RANKS_DIRECTORY=meeting, RANK_ADDRESSES='')
        if others is not None:
            shared.update(RANK_ADDRESSES=addresses(start or ranks) + others)
        self._processes = []
        for rank in range(ranks if start is None else start):
            outputs = [directory / (name + str(rank)) for name in ('log', 'error')]
            self._processes.append(Forked(
                [os.path.join(HELPERS, script)] + [flag.replace('RANK', str(rank)) for flag in flags], *outputs,
                env=dict(shared, RANK_ID=str(rank), ASCEND_DEVICE_ID=str(rank))))

    def log(self, rank):
        text = (self._directory / ('log%d' % rank)).read_text()
        return text[:text.rfind('\n') + 1]

    def last_error(self, rank):
        return (self._directory / ('error%d' % rank)).read_text().splitlines()[-1]

    def signal_at(self, marker, rank, signum):
        """Sends `signum` to one rank when rank 0's log has `marker`."""
        self.await_line(marker)
        self._processes[rank].send_signal(signum)

    def pids(self):
        return [process.pid for process in self._processes]

    def await_line(self, marker):
        """Returns when rank 0's log has `marker`."""
        while marker not in self.log(0):
            assert self._processes[0].poll() is None, self.last_error(0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[0].wait(.05)

    def statuses(self):
        return [process.wait() for process in self._processes]

    def kill(self):
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def start(tmp_path):
    """start(ranks, flag...) -> the Ranks of toy.py, with results in tmp_path/RANK."""
    started = []

    def act(ranks, *flags, script='toy.py', number=None, others=None):
        started.append(Ranks(ranks, tmp_path, script, flags or ['--output_path=%s' % tmp_path], number, others))
        return started[-1]
    yield act
    for ranks in started:
        ranks.kill()


def losses(log):
    return {int(step): rest for step, rest in re.findall(r'^step (\d+) (.*)$', log, re.M)}


def checkpoint(directory, step):
    reader = tf.train.NewCheckpointReader(str(directory / 'ckpt' / ('model.ckpt-%d' % step)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if not name.startswith('run_facts')}


def newest_step(directory):
    return max(int(path.suffixes[-2].split('-')[-1]) for path in (directory / 'ckpt').glob('*.index'))


@pytest.mark.slow
@pytest.mark.parametrize('size, others', [(2, None), (2, ''), (4, '')])
def test_ranks_exchange_what_numpy_computes(start, tmp_path, size, others):
    ranks = start(size, str(tmp_path / 'RANK.npz'), script='exchange.py', others=others)
    assert ranks.statuses() == [0] * size
    results = [np.load(str(tmp_path / ('%d.npz' % rank))) for rank in range(size)]
    with tf.Graph().as_default(), tf.Session() as session:
        firsts = []
        for rank in range(size):
            with tf.variable_scope('rank%d' % rank):
                firsts.append(exchange.variables(rank))
        gradients = tf.gradients(exchange.loss(*firsts[0][:2], *exchange.batch(size)), firsts[0][:2])
        session.run(tf.global_variables_initializer())
        firsts, gradients = session.run((firsts, gradients))
    x, y = exchange.batch(size)
    for result in results:
        rows = np.eye(exchange.WORDS)[y].T @ x / len(y)     # which stayed sparse
        np.testing.assert_allclose(result['table_gradient'], rows, atol=1e-6)
        assert result['sums'].tolist() == [sum(range(size)), 2 * sum(range(size))]
        assert result['means'].tolist() == [np.mean(range(size)), 2 * np.mean(range(size))]
        np.testing.assert_allclose(result['average'], np.mean([first[2] for first in firsts], 0), atol=1e-6)
        for name, index in (('weights', 0), ('bias', 1), ('counter', 3)):
            np.testing.assert_array_equal(result[name], firsts[0][index])
        for name, gradient in zip(('weights_gradient', 'bias_gradient'), gradients):
            np.testing.assert_allclose(result[name], gradient, atol=1e-6)
        # The overflow of one rank is skipped by all.
        np.testing.assert_array_equal(result['weights_after_overflow'], firsts[0][0])


@pytest.mark.slow
def test_ranks_with_a_share_of_the_batch_train_as_one_rank_with_all_of_it(start, tmp_path):
    flags = ['--network=plain', '--train_steps=8']
    assert toy.run(*flags, '--output_path=%s' % (tmp_path / 'one'), '--batch_size=8') == 0
    alone = checkpoint(tmp_path / 'one' / '0', 8)
    for ranks, switch, script, others in (
            (2, '--loss_scale=128', 'toy.py', None), (4, '--loss_scale=False', 'toy.py', None),
            (2, '--loss_scale=False', 'without_kernels.py', None), (2, '--loss_scale=False', 'toy.py', '')):
        output = tmp_path / (script + str(ranks) + str(others))
        job = start(ranks, *flags, switch, '--output_path=%s' % output, '--batch_size=%d' % (8 // ranks),
                    script=script, others=others)
        assert job.statuses() == [0] * ranks
        together = checkpoint(output / '0', 8)
        assert set(alone) == set(together)
        for name in alone:
            np.testing.assert_allclose(together[name], alone[name], atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_all_ranks_log_the_same_and_rank_0_alone_writes(start, tmp_path, capfd):
    ranks = start(2)
    assert ranks.statuses() == [0, 0]
    own = [line for line in ranks.log(0).splitlines() if not line.startswith(('checkpoint saved', 'class '))]
    assert own == ranks.log(1).splitlines() and set(losses(ranks.log(0))) == set(range(1, 11))
    assert newest_step(tmp_path / '0') == 10 and list((tmp_path / '0' / 'summary').iterdir())
    assert [path.name for path in (tmp_path / '1').iterdir()] == ['report']      # its figures
    assert sorted(path.name for path in (tmp_path / '1' / 'report').iterdir()) == ['figures', 'losses']
    # The averaged statistics are in the checkpoint; one process evaluates the whole test set to the same.
    assert toy.run('--data_path=synthetic', '--ckpt_path=%s' % (tmp_path / '0' / 'ckpt'), act=evaluate.act,
                   RANK_SIZE='2', RANK_ID='1') == 0
    accuracy = float(re.findall('test accuracy (.*) loss', ranks.log(0))[-1])
    assert 'Top-1: %.4f' % accuracy in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize('others', [None, ''])
def test_a_killed_rank_ends_the_job_which_resumes_on_all_ranks(start, tmp_path, others):
    ranks = start(2, '--output_path=%s' % tmp_path, '--train_epochs=1000000', others=others)
    ranks.signal_at('\nstep 27 ', 1, signal.SIGKILL)
    assert ranks.statuses() == [1, -signal.SIGKILL]
    assert re.match(r'(rank 1 (\(127.0.0.1:\d+\) )?is gone: |another rank is gone ).*--resume', ranks.last_error(0))
    saved, before = newest_step(tmp_path / '0'), losses(ranks.log(0))
    resumed = start(2, '--output_path=%s' % tmp_path, '--resume', '--train_steps=%d' % (max(before) + 3),
                    others=others)
    assert resumed.statuses() == [0, 0]
    after = [losses(resumed.log(rank)) for rank in range(2)]
    assert after[0] == after[1] and min(after[0]) == saved + 1
    shared = set(before) & set(after[0])
    assert {step: before[step] for step in shared} == {step: after[0][step] for step in shared}


@pytest.mark.slow
def test_variables_that_a_hook_makes_in_begin_are_alike_on_all_ranks_and_are_resumed(start, tmp_path):
    def told(*flags):
        ranks = start(2, '--output_path=%s' % tmp_path, *flags, script='toy_hooked.py')
        assert ranks.statuses() == [0, 0], ranks.last_error(0)
        first, second = (re.search('^counted (.*)$', ranks.log(rank), re.M).group(1) for rank in range(2))
        assert first == second
        return first
    first = told('--train_steps=10')
    assert re.fullmatch('10, drawn .*, local 3', first)
    assert told('--train_steps=20', '--resume') == first.replace('10,', '20,', 1)


@pytest.mark.slow
def test_ranks_that_resume_a_finished_run_all_find_nothing_left(start, tmp_path):
    flags = '--output_path=%s' % tmp_path, '--train_steps=3'
    assert start(2, *flags).statuses() == [0, 0]
    resumed = start(2, *flags, '--resume')
    assert resumed.statuses() == [NothingLeft.status] * 2
    assert ['already done 3 steps of 3' in resumed.last_error(rank) for rank in range(2)] == [True, True]


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_after_the_same_step_with_a_checkpoint(start, tmp_path):
    ranks = start(2, '--output_path=%s' % tmp_path, '--train_epochs=1000000')
    ranks.signal_at('\nstep 13 ', 1, signal.SIGTERM)
    assert ranks.statuses() == [143, 143]
    saved = newest_step(tmp_path / '0')
    assert [max(losses(ranks.log(rank))) for rank in range(2)] == [saved, saved]
    stopped = 'SIGTERM: stopped after step %d; --resume continues' % saved
    assert {ranks.last_error(rank) for rank in range(2)} == {stopped}


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_all_ranks_at_the_same_step(start, tmp_path):
    ranks = start(2, '--output_path=%s' % tmp_path, '--learning_rate=1e30', '--train_epochs=5')
    assert ranks.statuses() == [4, 4]
    assert re.match(r'Loss is (nan|inf) at step \d+: ', ranks.last_error(0))
    assert ranks.last_error(0) == ranks.last_error(1)


@pytest.mark.slow
def test_a_rank_that_never_comes_is_named(start, tmp_path):
    ranks = start(2, '--output_path=%s' % tmp_path, '--connect_timeout=1', number=1, others=',' + addresses(1))
    assert ranks.statuses() == [2]
    assert re.match(r'--connect_timeout=1: no answer from rank 1 \(127.0.0.1:\d+\)', ranks.last_error(0))
    assert not list(tmp_path.glob('*/ckpt/*'))


@pytest.mark.slow
def test_ranks_that_are_to_do_different_things_are_refused(start, tmp_path):
    ranks = start(2, '--output_path=%s' % tmp_path, '--train_steps=1RANK')
    assert ranks.statuses() == [1, 2]
    assert ranks.last_error(1) == '--train_steps=11: rank 0 has another value; give all ranks the same flags'


@pytest.mark.slow
def test_flags_that_may_differ_between_servers_are_places_and_those_of_rank_0_alone(start, tmp_path):
    ranks = start(2, '--output_path=%s/RANK' % tmp_path, '--train_steps=10', '--keep_history=RANK', '--server_id=RANK')
    assert ranks.statuses() == [0, 0]


@pytest.mark.slow
def test_a_rank_that_answers_but_takes_no_part_is_not_waited_for_for_ever(start, tmp_path):
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        ranks = start(2, '--output_path=%s' % tmp_path, '--connect_timeout=3', number=1,
                      others=',127.0.0.1:%d' % other.getsockname()[1])
        assert ranks.statuses() == [1]
    assert re.match(r'--connect_timeout=3: all ranks answer, but one does not take part; .*--server_id',
                    ranks.last_error(0))


@pytest.mark.slow
def test_the_average_of_the_weights_has_the_statistics_of_all_ranks_data(start, tmp_path, capfd):
    ranks = start(2, '--output_path=%s' % tmp_path, '--batch_size=4', '--train_epochs=2', '--swa_start_epoch=1')
    assert ranks.statuses() == [0, 0]
    saved = tmp_path / '0' / 'ckpt' / 'swa'
    average = tf.train.NewCheckpointReader(str(saved / 'model.ckpt-20')).get_tensor
    data = toy.load(config.resolve(toy.RECIPE, {'case': 'performance'}, {})).train.x
    hidden = data @ average('toy/dense/kernel') + average('toy/dense/bias')
    np.testing.assert_allclose(average('toy/batch_norm/moving_mean'), hidden.mean(0), rtol=1e-4, atol=1e-5)
    # All ranks tested the very average that was saved.
    told = [re.search('(.*) for the average of 2', ranks.log(rank)).group(1)[-6:] for rank in range(2)]
    assert toy.run('--ckpt_path=%s' % saved, act=evaluate.act) == 0
    assert 'Top-1: %s' % told[0] in capfd.readouterr().out and told[0] == told[1]


def test_an_error_of_the_network_in_the_middle_of_a_step_is_one_line():
    alone = collectives.Collectives(0, addresses(1).split(','), 0)
    with pytest.raises(RankLost, match='another rank is gone .Socket closed.; --resume continues'):
        with alone.together():
            raise tf.errors.UnavailableError(None, None, 'Socket closed')


@pytest.mark.slow
@pytest.mark.parametrize('ranks, script', [(1, 'toy.py'), (2, 'toy.py'), (2, 'without_kernels.py')])
def test_ranks_of_one_machine_have_no_network_socket_while_they_train(start, tmp_path, ranks, script):
    job = start(ranks, '--output_path=%s' % tmp_path, '--train_epochs=1000000', script=script)
    for marker in ('\nstep 5 ', '\nstep 15 '):       # the second one after an evaluation
        job.await_line(marker)
        for pid in job.pids():
            # The kernel's tables of this network namespace; the sockets of a process are links in its fd/.
            sockets = set()
            for link in pathlib.Path('/proc/%d/fd' % pid).iterdir():
                with contextlib.suppress(FileNotFoundError):   # of a file that was closed meanwhile
                    sockets.add(os.readlink(str(link)))
            for table in ('tcp', 'tcp6', 'udp', 'udp6'):
                lines = pathlib.Path('/proc/%d/net/%s' % (pid, table)).read_text().splitlines()[1:]
                assert not {'socket:[%s]' % line.split()[9] for line in lines} & sockets


def test_several_ranks_need_a_place_to_meet(tmp_path, capfd):
    assert toy.run('--output_path=%s' % tmp_path, RANK_SIZE='2') == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith('RANKS_DIRECTORY= (environment): No such file')


def test_several_ranks_need_an_address_each(tmp_path, capfd):
    assert toy.run('--output_path=%s' % tmp_path, RANK_SIZE='2', RANK_ADDRESSES='127.0.0.1:1') == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith('RANK_ADDRESSES (environment): has 1 addresses for RANK_SIZE=2')


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(('', 0))
        taken.listen()
        address = '127.0.0.1:%d' % taken.getsockname()[1]
        with pytest.raises(InputError, match='rank 0 cannot listen on %s .*--base_port' % address):
            collectives.Collectives(0, [address, '127.0.0.1:1'], 0)


def test_tensors_are_packed_by_type_up_to_the_size_of_a_bucket(monkeypatch):
    monkeypatch.setattr(buckets, 'BUCKET_BYTES', 40)
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = [tf.fill([2, 3], 1.), tf.constant(2, tf.int64), tf.fill([4], 3.), tf.fill([20], 4.), tf.zeros([])]
        assert buckets.buckets(tensors) == [[0, 2], [1], [3], [4]]
        doubled = session.run(buckets.packed(tensors, lambda vector: vector * 2))
        for once, twice in zip(session.run(tensors), doubled):
            np.testing.assert_array_equal(twice, once * 2)


@pytest.mark.slow
def test_ranks_find_each_other_whatever_proxy_there_is(start, tmp_path, monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'no_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    assert start(2, '--output_path=%s' % tmp_path, '--train_steps=1', others='').statuses() == [0, 0]


@pytest.mark.slow
def test_npus_exchange_through_npu_bridge(npu_calls, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv('RANK_SIZE', '2')
    monkeypatch.setenv('RANK_ID', '0')
    monkeypatch.setenv('JOB_ID', '10087')
    monkeypatch.setattr(toy.PLAIN, 'RECIPE', toy.PLAIN.RECIPE._replace(split_strategy=(60, 19, 21)))
    flags = ['--network=plain', '--output_path=%s' % tmp_path]
    assert toy.run(*flags, '--train_steps=2', RANK_SIZE='2') == 0
    names = [call[0] for call in npu_calls]
    assert ('set_split_strategy_by_size', [60, 19, 21], 'hccl_world_group') in npu_calls
    assert names.index('set_split_strategy_by_size') < names.index('NPUDistributedOptimizer') < names.index('broadcast')
    # Each gradient by itself, for the adapter to fuse; losses, statistics and test sums apart from them.
    assert names.count('allreduce') == 6 and 'allreduce alone' in names
    capfd.readouterr()
    assert toy.run(*flags, '--print_config', RANK_SIZE='2') == 0
    assert re.search(r'key: "hcom_parallel"\s+value {\s+b: true', capfd.readouterr().out)
