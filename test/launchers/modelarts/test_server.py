"""launchers/modelarts/server.py: the boot file once per card, with fake_python.py as the trainers."""
import fcntl
import json
import os
import re
import signal
import sys
import threading

import pytest
from launching import PATIENCE, ROOT, free_ports, is_running, until
from modelarts_job import CONTENTS, boot, contents, ended, has_line

from core.errors import InputError, RankLost
from launchers.modelarts import arguments, job as modelarts, server as server_module
from launchers.modelarts.server import BootProcesses


def boots(workdir, ranks, *flags, **environment):
    """The boot processes of so many cards of a server."""
    return [boot(workdir, *flags, RANK_ID=str(n), RANK_SIZE=str(ranks), ASCEND_DEVICE_ID=str(n), **environment)
            for n in range(ranks)]


def log_of(workdir, rank):
    return workdir / 'cache' / 'result' / str(rank) / ('train_%d.log' % rank)


def trainer(workdir, rank):
    """Waits until the FAKE_TRAINER=stop or wait rank is ready; returns its process id."""
    log = log_of(workdir, rank)
    return int(until(lambda: log.exists() and re.search(r'^ready (\d+)$', log.read_text(), re.M)).group(1))


@pytest.mark.slow
def test_each_card_trains_its_rank_and_the_lowest_copies_the_data_and_the_results_also_on_s3(workdir, server):
    server.copy(workdir / 'data', 's3://bucket/cards')
    jobs = boots(workdir, 3, '--data_url=s3://bucket/cards', '--train_url=s3://bucket/of cards', **server.environment)
    outcomes = [ended(job) for job in jobs]
    assert [(status, stderr) for status, _, stderr in outcomes] == [(0, '')] * 3, outcomes
    for line in 'copying s3://bucket/cards to', 'results are in':
        assert [stdout.count(line) for _, stdout, _ in outcomes] == [1, 0, 0]
    for rank in 1, 2:
        assert 'rank %d: the boot process of rank 0 copies the data and the results' % rank in outcomes[rank][1]
    assert contents(workdir / 'cache' / 'dataset') == CONTENTS
    meetings = set()
    for rank in range(3):
        lines = log_of(workdir, rank).read_text().splitlines()
        assert {'ASCEND_DEVICE_ID=%d' % rank, 'RANK_ID=%d' % rank, 'RANK_SIZE=3'} <= set(lines)
        meetings.update(line for line in lines if line.startswith('RANKS_DIRECTORY='))
        assert not any(server.facts['secret'] in line for line in lines)
    assert len(meetings) == 1 and not (workdir / 'cache' / 'boot' / 'meeting').exists()
    server.copy('s3://bucket/of cards', workdir / 'there')
    assert set(contents(workdir / 'there')) == {name for name in contents(workdir / 'cache' / 'result')
                                                if '.lock' not in name}
    for rank in range(3):
        case_log = workdir / 'there' / str(rank) / 'CSPNet_ID0840_for_TensorFlow_bs64_3p_perf.log'
        assert 'RankSize = 3' in case_log.read_text() and 'ActualFPS = 3750' in case_log.read_text()


@pytest.mark.slow
def test_a_rank_that_fails_ends_all_with_its_status_and_each_names_it(workdir):
    jobs = boots(workdir, 2, FAKE_TRAINER='stop,1:wait die')
    trainers = [trainer(workdir, rank) for rank in range(2)]
    os.kill(trainers[1], signal.SIGUSR1)
    outcomes = [ended(job) for job in jobs]
    assert [status for status, _, _ in outcomes] == [137, 137]
    failure = 'rank 1 of 2 ended with status 137 (killed, as when memory runs out)'
    assert outcomes[0][2] == '%s; its log is in %s\n' % (failure, workdir / 'cache' / 'result')
    assert outcomes[1][2].splitlines()[-2:] == [
        'the last words', '%s; the lines above end its log, %s' % (failure, log_of(workdir, 1))]
    assert 'checkpoint saved after signal 15' in log_of(workdir, 0).read_text()
    assert 'the last words' in (workdir / 'out' / '1' / 'train_1.log').read_text()


@pytest.mark.slow
def test_all_ranks_are_started_again_together(workdir):
    jobs = boots(workdir, 2, '--max_restarts=1', FAKE_TRAINER='stop once,1:wait die once', RESTART_SECONDS='0')
    trainers = [trainer(workdir, rank) for rank in range(2)]
    os.kill(trainers[1], signal.SIGUSR1)
    outcomes = [ended(job) for job in jobs]
    assert [(status, stderr) for status, _, stderr in outcomes] == [(0, '')] * 2
    for rank, (_, stdout, _) in enumerate(outcomes):
        assert 'restart 1 of 1: rank 1 of 2 ended with status 137' in stdout
        assert log_of(workdir, rank).read_text().count('RANK_ID=%d\n' % rank) == 2


@pytest.mark.slow
@pytest.mark.parametrize('disturbed, number, statuses', [
    (0, signal.SIGKILL, [-9, 143]), (1, signal.SIGKILL, [143, -9]), (1, signal.SIGTERM, [143, 143])])
def test_when_a_boot_process_is_killed_or_stopped_all_ranks_save_and_end(workdir, disturbed, number, statuses):
    jobs = boots(workdir, 2, '--max_restarts=3', FAKE_TRAINER='stop')
    trainers = [trainer(workdir, rank) for rank in range(2)]
    jobs[disturbed].send_signal(number)
    assert [ended(job)[0] for job in jobs] == statuses
    until(lambda: not any(map(is_running, trainers)))
    for rank in range(2):
        assert 'checkpoint saved after signal 15' in log_of(workdir, rank).read_text()


@pytest.mark.slow
def test_a_launcher_that_cannot_start_ends_the_other_ranks(workdir):
    (workdir / 'cache' / 'result').mkdir(parents=True)
    (workdir / 'cache' / 'result' / '1').write_text('no directory')
    outcomes = [ended(job) for job in boots(workdir, 2, FAKE_TRAINER='stop')]
    assert outcomes[1][0] != 0
    assert outcomes[0][0] == outcomes[1][0] and 'rank 1 ended with status' in outcomes[0][2]


@pytest.mark.slow
def test_several_servers_do_the_same_each_with_results_in_its_place(workdir, tmp_path):
    table = {'status': 'initializing', 'group_count': '1', 'group_list': [{
        'group_name': 'job', 'device_count': '1', 'instance_count': '2', 'instance_list': [
            {'pod_name': 'pod-%d' % n, 'server_id': '127.0.0.%d' % (n + 1),
             'devices': [{'device_id': '0', 'device_ip': '192.168.100.10%d' % n}]} for n in range(2)]}]}
    path = tmp_path / 'jobstart_hccl.json'
    flags = ['--base_port=%d' % free_ports(2), '--data_url=%s' % (workdir / 'data'),
             '--trusted_network=127.0.0.1,127.0.0.2']
    jobs = [boot(workdir, *flags, '--cache_dir=%s' % (workdir / ('cache%d' % n)), RANK_ID=str(n), RANK_SIZE='2',
                 ASCEND_DEVICE_ID='0', RANK_TABLE_FILE=str(path)) for n in range(2)]
    until(has_line(jobs[0].stderr, 'the rank table is missing: waiting up to'))
    path.write_text(json.dumps(dict(table, status='completed')))
    assert [ended(job)[0] for job in jobs] == [0, 0]
    for n, results in enumerate([workdir / 'out', workdir / 'out' / 'from-rank-1']):
        assert 'RANK_ID=%d' % n in (results / '0' / 'train_0.log').read_text().splitlines()
        assert contents(workdir / ('cache%d' % n) / 'dataset') == CONTENTS


@pytest.mark.parametrize('environment, words', [
    (dict(RANK_ID='5'), 'RANK_ID=5 (environment): no such rank in RANK_SIZE=2'),
    (dict(RANK_ID='x'), 'RANK_ID=x (environment): must be a whole number'),
    (dict(RANK_ID='1', RANK_SIZE='99999999999'), 'RANK_SIZE=99999999999 (environment): must be'),
    (dict(RANK_ID='1', ASCEND_DEVICE_ID='3'),
     'ASCEND_DEVICE_ID=3 (environment): rank 1 is on device 1 in the rank table'),
])
def test_a_rank_that_does_not_fit_is_refused(capfd, environment, words):
    assert modelarts.run(['--train_url=out', '--network=cspnet'], dict({'RANK_SIZE': '2'}, **environment)) == 2
    error = capfd.readouterr().err
    assert error.startswith(words) and error.count('\n') == 1


@pytest.fixture
def locks(tmp_path):
    directory = tmp_path / 'boot'
    directory.mkdir()
    return str(directory)


def test_a_rank_that_does_not_come_is_refused_by_name(locks):
    lowest = BootProcesses(locks, 8, [8, 9, 10])
    assert lowest.copies
    other = BootProcesses(locks, 10, [8, 9, 10])
    assert not other.copies
    with pytest.raises(InputError, match='has not started the boot file for rank 9 of this server within 0 sec'):
        lowest.gather(0)
    other.gather(0)                    # it needs the lowest alone


def test_two_boot_processes_of_one_rank_are_refused_and_one_that_has_ended_is_not_in_the_way(locks):
    first = BootProcesses(locks, 1, [0, 1])
    with pytest.raises(InputError, match='RANK_ID=1: another boot process of this rank works in '):
        BootProcesses(locks, 1, [0, 1])
    first._lock.close()                # as when it is killed
    BootProcesses(locks, 1, [0, 1])


def test_a_process_that_looks_at_a_lock_is_waited_for_however_long_it_takes(locks):
    with open(os.path.join(locks, 'rank-1'), 'w') as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        thread, raised = waiting(lambda: BootProcesses(locks, 1, [0, 1]))
        thread.join(.3)
        assert thread.is_alive() and not raised
    thread.join()
    assert not raised


def waiting(act):
    """A thread in which act() runs, and the list of what it raised."""
    raised = []

    def run():
        try:
            act()
        except (InputError, RankLost) as error:
            raised.append(str(error))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def test_the_others_wait_for_the_data_and_what_an_earlier_job_left_counts_for_nothing(locks):
    os.makedirs(os.path.join(locks, 'meeting'))
    with open(os.path.join(locks, 'meeting', 'end-0'), 'w') as file:
        file.write('TERM\n')
    lowest, other = BootProcesses(locks, 0, [0, 1]), BootProcesses(locks, 1, [0, 1])
    lowest.gather(PATIENCE)
    thread, raised = waiting(other.await_data)
    thread.join(.1)
    assert thread.is_alive()
    lowest.share_data()
    thread.join()
    assert not thread.is_alive() and not raised
    meeting = other.variables['RANKS_DIRECTORY']
    assert os.listdir(meeting) == [] and os.stat(meeting).st_mode & 0o777 == 0o700
    other.give_up(7)
    lowest.give_up(8)
    with open(os.path.join(meeting, 'end-0')) as file:
        assert file.read() == '7 rank 1 ended with status 7\n'      # the first counts
    thread, _ = waiting(lowest.await_ends)
    thread.join(.1)
    assert thread.is_alive()
    other._lock.close()
    thread.join()
    assert not thread.is_alive() and not os.path.exists(meeting)


def test_a_boot_process_that_ends_before_the_data_is_there_is_named_to_those_that_wait(locks):
    lowest, other = BootProcesses(locks, 0, [0, 1]), BootProcesses(locks, 1, [0, 1])
    thread, raised = waiting(other.await_data)
    lowest._lock.close()
    lowest._data.close()
    thread.join()
    assert raised == ['the boot process of rank 0, which copies the data, has ended; see its log']
    other._lock.close()
    with pytest.raises(RankLost, match='the boot process of rank 1 has ended; see its log'):
        BootProcesses(locks, 0, [0, 1]).share_data()


@pytest.mark.parametrize('plant', [os.mkfifo, lambda path: os.symlink('elsewhere', path)])
def test_what_another_user_put_in_a_locks_place_is_refused_and_not_waited_for(locks, plant):
    plant(os.path.join(locks, 'rank-1'))
    with pytest.raises(InputError, match='--cache_dir: .*rank-1: .*; remove it'):
        BootProcesses(locks, 1, [0, 1])
    assert not os.path.exists(os.path.join(locks, 'elsewhere'))


def test_bash_reads_every_variable_that_a_launcher_gets_from_its_boot_process(locks):
    assert set(BootProcesses(locks, 1, [0, 1]).variables) == set(server_module.VARIABLES)
    with open(os.path.join(ROOT, 'launchers', 'shell', 'ranks.sh')) as file:
        text = file.read()
    assert all('$' + name in text or '${' + name in text for name in server_module.VARIABLES)


@pytest.mark.slow
def test_arguments_that_the_platform_adds_are_told_and_ignored(workdir):
    status, stdout, stderr = ended(boot(workdir, '--num_gpus=1', '--obs_thing', 'some value',
                                        FAKE_CALLS=str(workdir / 'calls')))
    assert (status, stderr) == (0, '') and '--num_gpus --obs_thing: unknown here and ignored' in stdout.splitlines()
    assert not any('num_gpus' in word or 'some' in word for word in json.loads((workdir / 'calls').read_text()))


@pytest.mark.slow
def test_tuning_and_ge_graphs_go_out_with_the_results(workdir):
    for name in ('tuned', 'bank', 'ge'):
        (workdir / name).mkdir()
        (workdir / name / 'file').write_text(name)
    environment = dict(TUNE_BANK_PATH=str(workdir / 'bank'), DUMP_GE_GRAPH='2', DUMP_GRAPH_PATH=str(workdir / 'ge'))
    job = arguments.parse(['--train_url=out', '--npu_option=work_path=%s' % (workdir / 'tuned')], environment)
    assert {name: job.folders[str(workdir / name)] for name in ('tuned', 'bank', 'ge')} == {
        'tuned': 'out/tuning', 'bank': 'out/tuning_bank', 'ge': 'out/ge_graph'}
    assert ended(boot(workdir, **environment))[0] == 0
    assert contents(workdir / 'out' / 'tuning_bank') == {'file': 'bank'}
    assert contents(workdir / 'out' / 'ge_graph') == {'file': 'ge'}
    # Where the user has named no directory for the graphs, they go to the results.
    here = modelarts._child_environ(job, {'DUMP_GE_GRAPH': '1'})
    assert here['DUMP_GRAPH_PATH'] == os.path.join(job.result, 'ge_graph') and here['PYTHON'] == sys.executable
