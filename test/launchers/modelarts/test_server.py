"""launchers/modelarts/server.py: the boot file once per card, with fake_python.py in the trainers' place."""
import json
import os
import re
import signal
import sys

import pytest
from launching import free_ports, is_running, until
from modelarts_job import CONTENTS, boot, contents, ended

pytestmark = pytest.mark.slow


def boots(place, ranks, *flags, first=0, size=None, **environment):
    """The boot processes of so many cards of a server."""
    return [boot(place, *flags, RANK_ID=str(first + n), RANK_SIZE=str(size or ranks), ASCEND_DEVICE_ID=str(n),
                 **environment) for n in range(ranks)]


def log_of(place, rank):
    return place / 'cache' / 'result' / str(rank) / ('train_%d.log' % rank)


def pid_of_trainer(place, rank):
    log = log_of(place, rank)
    return int(until(lambda: log.exists() and re.search(r'^ready (\d+)$', log.read_text(), re.M)).group(1))


def test_each_card_trains_its_rank_and_one_copies_the_data_and_the_results_also_on_s3(place, server):
    server.copy(place / 'data', 's3://bucket/cards')
    jobs = boots(place, 4, '--data_url=s3://bucket/cards', '--train_url=s3://bucket/of cards', **server.environment)
    outcomes = [ended(job) for job in jobs]
    assert [(status, stderr) for status, _, stderr in outcomes] == [(0, '')] * 4, outcomes
    stdout = ''.join(stdout for _, stdout, _ in outcomes)
    assert stdout.count('copying s3://bucket/cards to') == stdout.count('results are in') == 1
    assert stdout.count('another boot process of this server copies the data and the results') == 3
    assert contents(place / 'cache' / 'dataset') == CONTENTS
    for rank, job in enumerate(jobs):
        lines = log_of(place, rank).read_text().splitlines()
        # StopWithoutLauncher watches the boot process.
        assert {'LAUNCHER_PID=%d' % job.pid, 'ASCEND_DEVICE_ID=%d' % rank, 'RANK_ID=%d' % rank} <= set(lines)
        assert not any(server.facts['secret'] in line for line in lines)
    server.copy('s3://bucket/of cards', place / 'there')
    assert set(contents(place / 'there')) == {name for name in contents(place / 'cache' / 'result')
                                              if '.lock' not in name}
    assert 'RankSize = 4' in (place / 'there' / '0' / 'CSPNet_ID0840_for_TensorFlow_bs64_4p_perf.log').read_text()


def test_a_rank_that_fails_ends_all_boot_processes_with_its_status(place):
    assert [ended(job)[0] for job in boots(place, 2, FAKE_TRAINER='stop,1:die')] == [137, 137]


def test_ranks_are_started_again_by_their_own_boot_processes(place):
    jobs = boots(place, 2, '--max_restarts=1', FAKE_TRAINER='stop once,1:die once', RESTART_SECONDS='0')
    assert [ended(job)[0] for job in jobs] == [0, 0]
    assert log_of(place, 1).read_text().count('LAUNCHER_PID=%d' % jobs[1].pid) == 2


@pytest.mark.parametrize('killed', [0, 1])
def test_when_a_boot_process_is_killed_all_end_and_no_trainer_is_left(place, killed):
    jobs = boots(place, 2, FAKE_TRAINER='hang', STOP_SECONDS='1')
    trainers = [pid_of_hanging(place, rank) for rank in range(2)]
    jobs[killed].kill()
    assert ended(jobs[1 - killed])[0] not in (0, None)
    jobs[killed].communicate()
    until(lambda: not any(map(is_running, trainers)))


def pid_of_hanging(place, rank):
    log = log_of(place, rank)
    return int(until(lambda: log.exists() and re.search(r'^ready (\d+) \d+$', log.read_text(), re.M)).group(1))


def test_a_signal_to_any_boot_process_reaches_its_trainer_and_ends_all(place):
    jobs = boots(place, 2, FAKE_TRAINER='stop')
    for rank in range(2):
        pid_of_trainer(place, rank)
    jobs[1].send_signal(signal.SIGTERM)
    assert [ended(job)[0] for job in jobs] == [143, 143]
    assert 'checkpoint saved after signal 15' in log_of(place, 1).read_text()


def test_several_servers_do_the_same_each_with_results_in_its_place(place, tmp_path):
    table = {'status': 'initializing', 'group_count': '1', 'group_list': [{
        'group_name': 'job', 'device_count': '1', 'instance_count': '2', 'instance_list': [
            {'pod_name': 'pod-%d' % n, 'server_id': '127.0.0.%d' % (n + 1),
             'devices': [{'device_id': '0', 'device_ip': '192.168.100.10%d' % n}]} for n in range(2)]}]}
    path = tmp_path / 'jobstart_hccl.json'
    path.write_text(json.dumps(table))
    flags = ['--base_port=%d' % free_ports(2), '--data_url=%s' % (place / 'data'),
             '--trusted_network=127.0.0.1,127.0.0.2']
    jobs = [boot(place, *flags, '--cache_dir=%s' % (place / ('cache%d' % n)), RANK_ID=str(n), RANK_SIZE='2',
                 ASCEND_DEVICE_ID='0', RANK_TABLE_FILE=str(path)) for n in range(2)]
    assert 'waiting until the platform has completed' in jobs[0].stdout.readline()
    path.write_text(json.dumps(dict(table, status='completed')))
    assert [ended(job)[::2] for job in jobs] == [(0, '')] * 2
    for n, results in enumerate([place / 'out', place / 'out' / 'from-rank-1']):
        assert 'RANK_ID=%d' % n in (results / '0' / 'train_0.log').read_text().splitlines()
        assert contents(place / ('cache%d' % n) / 'dataset') == CONTENTS


@pytest.mark.parametrize('environment, words', [
    (dict(RANK_ID='0'), 'RANK_ID: the platform has not started the boot file for rank 1 of this server within 1 sec'),
    (dict(RANK_ID='5'), 'RANK_ID=5 (environment): this server has the ranks 0 1'),
    (dict(RANK_ID='x'), 'RANK_ID=x (environment): must be a whole number'),
    (dict(RANK_ID='1', ASCEND_DEVICE_ID='3'),
     'ASCEND_DEVICE_ID=3 (environment): rank 1 is on device 1 in the rank table'),
])
def test_a_rank_that_does_not_come_or_fit_is_refused(place, environment, words):
    status, _, stderr = ended(boot(place, '--connect_timeout=1', RANK_SIZE='2', **environment))
    assert status == 2 and stderr.startswith(words) and stderr.count('\n') == 1


def test_arguments_that_the_platform_adds_are_told_and_ignored(place):
    status, stdout, stderr = ended(boot(place, '--num_gpus=1', '--obs_thing', 'some value',
                                        FAKE_CALLS=str(place / 'calls')))
    assert (status, stderr) == (0, '') and '--num_gpus --obs_thing: unknown here and ignored' in stdout.splitlines()
    assert not any('num_gpus' in word or 'some' in word for word in json.loads((place / 'calls').read_text()))


def test_tuning_and_ge_graphs_go_out_with_the_results(place):
    for name in ('tuned', 'bank', 'ge'):
        (place / name).mkdir()
        (place / name / 'file').write_text(name)
    environment = dict(TUNE_BANK_PATH=str(place / 'bank'), DUMP_GE_GRAPH='2', DUMP_GRAPH_PATH=str(place / 'ge'))
    from launchers.modelarts import arguments, job as modelarts
    job = arguments.parse(['--train_url=out', '--npu_option=work_path=%s' % (place / 'tuned')], environment)
    assert {name: job.folders[str(place / name)] for name in ('tuned', 'bank', 'ge')} == {
        'tuned': 'out/tuning', 'bank': 'out/tuning_bank', 'ge': 'out/ge_graph'}
    assert ended(boot(place, **environment))[0] == 0
    assert contents(place / 'out' / 'tuning_bank') == {'file': 'bank'}
    assert contents(place / 'out' / 'ge_graph') == {'file': 'ge'}
    # Where the user has named no place for the graphs, they go to the results.
    here = modelarts._child_environ(job, {'DUMP_GE_GRAPH': '1'})
    assert here['DUMP_GRAPH_PATH'] == os.path.join(job.result, 'ge_graph') and here['PYTHON'] == sys.executable
