"""test/train_*_8p.sh: many ranks as one run, with fake_python.py as the trainers."""
import json
import os
import re
import signal

import pytest

from launching import fake, free_ports, is_running, launch, start, tree, until

CASE = 'CSPNet_ID0840_for_TensorFlow_bs64_%dp_perf'
PERFORMANCE = {'script': 'train_performance_8p.sh', 'device': None}
TABLE = {
    'server_count': '2', 'status': 'completed', 'version': '1.0',
    'server_list': [
        {'server_id': '192.0.2.1', 'device': [
            {'device_id': str(n), 'device_ip': '192.168.100.%d' % (101 + n), 'rank_id': str(n)} for n in range(2)]},
        {'server_id': '192.0.2.2', 'device': [
            {'device_id': '4', 'device_ip': '192.168.100.103', 'rank_id': '2'},
            {'device_id': '3', 'device_ip': '192.168.100.104', 'rank_id': '3'}]}]}
TRUSTED = '--trusted_network=192.0.2.1,192.0.2.2'


def log_of(workdir, device):
    return workdir / 'output' / str(device) / ('train_%d.log' % device)


def environment_of_rank(workdir, device):
    """The environment and the cores of the rank on `device`, as it tells them in its log."""
    return json.loads(re.search(r'^started (.*)$', log_of(workdir, device).read_text(), re.M).group(1))


def processes(workdir, device):
    """Waits until the FAKE_TRAINER=stop or hang rank on `device` is ready; returns its process ids."""
    log = log_of(workdir, device)
    ready = until(lambda: log.exists() and re.search(r'ready ([\d ]+)\n', log.read_text()))
    return [int(pid) for pid in ready.group(1).split()]


def case_log(workdir, device, name):
    lines = (workdir / 'output' / str(device) / (name + '.log')).read_text().splitlines()
    return dict(line.split(' = ') for line in lines)


@pytest.mark.slow
def test_eight_ranks_run_each_with_its_own_device_log_and_directory(workdir):
    status, stdout, stderr = launch(workdir, **PERFORMANCE)
    assert (status, stderr) == (0, '')
    ranks = [environment_of_rank(workdir, device) for device in range(8)]
    assert [rank['ASCEND_DEVICE_ID'] for rank in ranks] == [rank['RANK_ID'] for rank in ranks] == list('01234567')
    assert {rank['RANK_SIZE'] for rank in ranks} == {'8'} and {rank['JOB_ID'] for rank in ranks} == {'10087'}
    assert {rank['RANK_ADDRESSES'] for rank in ranks} == {''}
    (meeting,) = {rank['RANKS_DIRECTORY'] for rank in ranks}
    assert not os.path.exists(meeting)
    (table,) = {rank['RANK_TABLE_FILE'] for rank in ranks}
    assert table == str(workdir / 'output' / '0' / 'rank_table.json')
    with open(table) as generated:
        assert len(json.load(generated)['server_list'][0]['device']) == 8
    assert stdout.splitlines()[1:9] == [
        '### get your log here : %s' % log_of(workdir, device) for device in range(8)]


def test_the_case_log_has_the_speed_of_all_ranks_together(workdir):
    status, stdout, _ = launch(workdir, '--rank_size=2', **PERFORMANCE)
    figures = case_log(workdir, 0, CASE % 2)
    assert status == 0 and 'Final Performance images/sec : 2500\n' in stdout
    assert (figures['RankSize'], figures['BatchSize'], figures['CaseName']) == ('2', '64', CASE % 2)
    assert (figures['ActualFPS'], figures['TrainingTime']) == ('2500', '51.2')
    assert (figures['TrainAccuracy'], figures['ActualLoss']) == ('0.6605', '1.2345678')
    losses = [path for path in tree(workdir / 'output') if path.endswith('_loss.txt')]
    assert losses == ['0/%s_loss.txt' % (CASE % 2)]


def test_a_full_run_is_named_so(workdir):
    launch(workdir, '--rank_size=2', script='train_full_8p.sh', device=None)
    assert case_log(workdir, 0, 'CSPNet_ID0840_for_TensorFlow_bs64_2p_acc')['RankSize'] == '2'


def test_one_rank_is_the_one_device_run(workdir):
    assert launch(workdir, '--rank_size=1', **dict(PERFORMANCE, device='3'))[0] == 0
    assert case_log(workdir, 3, CASE % 1)['ActualFPS'] == '1250'
    assert environment_of_rank(workdir, 3)['cores'] == sorted(os.sched_getaffinity(0))


def test_the_ranks_share_the_cores_evenly(workdir):
    launch(workdir, '--rank_size=2', **PERFORMANCE)
    usable = sorted(os.sched_getaffinity(0))
    half = len(usable) // 2
    assert environment_of_rank(workdir, 0)['cores'] == (usable[:half] or usable)
    assert environment_of_rank(workdir, 1)['cores'] == usable[half:]


@pytest.mark.slow
def test_without_taskset_the_ranks_are_not_bound_and_that_is_said(workdir):
    bin_dir = workdir / 'bin'
    bin_dir.mkdir()
    for folder in os.environ['PATH'].split(os.pathsep):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name != 'taskset' and not (bin_dir / name).exists():
                (bin_dir / name).symlink_to(os.path.join(folder, name))
    status, _, stderr = launch(workdir, '--rank_size=2', environment={'PATH': str(bin_dir)}, **PERFORMANCE)
    assert (status, stderr) == (0, 'taskset is not installed: the ranks are not bound to cores of their own\n')
    assert environment_of_rank(workdir, 1)['cores'] == sorted(os.sched_getaffinity(0))


@pytest.mark.slow
def test_a_server_of_several_starts_its_own_ranks_only(workdir):
    table, port = workdir / 'table.json', free_ports(2)
    table.write_text(json.dumps(TABLE))
    status, stdout, stderr = launch(workdir, '--rank_table=table.json', '--server_id=192.0.2.2',
                                    '--base_port=%d' % port, TRUSTED, **PERFORMANCE)
    assert (status, stderr) == (0, '') and 'Ports %d to %d of this machine are open' % (port, port + 1) in stdout
    assert sorted(path.name for path in (workdir / 'output').iterdir()) == sorted(
        ['.lock-%d%s' % (device, owner) for device in (3, 4) for owner in ('', '.%d' % os.getuid())] + ['3', '4'])
    rank = environment_of_rank(workdir, 3)
    assert (rank['RANK_ID'], rank['RANK_SIZE'], rank['RANK_TABLE_FILE']) == ('3', '4', str(table))
    assert rank['RANK_ADDRESSES'] == ','.join(
        '192.0.2.%d:%d' % (server, port + i) for server in (1, 2) for i in range(2))
    assert float(case_log(workdir, 4, CASE % 4)['ActualFPS']) == 1250 * 4


def test_a_wrong_rank_table_is_refused_by_name_and_nothing_is_touched(workdir):
    (workdir / 'table.json').write_text(json.dumps(dict(TABLE, server_count='1')))
    status, stdout, stderr = launch(workdir, '--rank_table=table.json', **PERFORMANCE)
    assert (status, stdout) == (2, '') and not (workdir / 'output').exists()
    assert stderr == 'table.json: not a rank table: server_count is 1, but server_list has 2\n'


def test_when_a_rank_fails_the_others_are_stopped_and_its_log_and_status_shown(workdir):
    status, stdout, stderr = launch(workdir, '--rank_size=3', **dict(PERFORMANCE, **fake('stop,1:die')))
    lines = stderr.splitlines()
    assert status == 128 + signal.SIGKILL and 'Final result' not in stdout
    assert lines[0] == 'line 81'      # without the start-up line of TensorFlow
    assert lines[-2] == 'the last words' and len(lines) == 21
    assert lines[-1] == ('rank 1 of 3 ended with status 137 (killed, as when memory runs out); the lines above end '
                         'its log, %s' % log_of(workdir, 1))
    assert not list((workdir / 'output').rglob('*_perf*'))


def test_a_rank_killed_from_outside_ends_the_run(workdir):
    launcher = start(workdir, '--rank_size=2', **dict(PERFORMANCE, **fake('stop')))
    (first,), (second,) = processes(workdir, 0), processes(workdir, 1)
    os.kill(second, signal.SIGKILL)
    stderr = launcher.communicate()[1]
    assert launcher.returncode == 137 and 'rank 1 of 2 ended' in stderr and not is_running(first)
    assert 'checkpoint saved after signal %d' % signal.SIGTERM in log_of(workdir, 0).read_text()


def test_ranks_deaf_to_the_stop_are_killed_with_all_that_they_started(workdir):
    environment = {'FAKE_TRAINER': 'hang,1:stop', 'STOP_SECONDS': '0.2'}
    launcher = start(workdir, '--rank_size=2', environment=environment, **PERFORMANCE)
    deaf, (other,) = processes(workdir, 0), processes(workdir, 1)
    os.kill(other, signal.SIGKILL)
    assert 'rank 1 of 2 ended' in launcher.communicate()[1] and launcher.returncode == 137
    until(lambda: not any(map(is_running, deaf)))


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_every_rank_save_and_leaves_no_process_behind(workdir, number):
    launcher = start(workdir, '--rank_size=3', **dict(PERFORMANCE, **fake('stop')))
    ranks = [processes(workdir, device)[0] for device in range(3)]
    launcher.send_signal(number)
    launcher.communicate()
    assert launcher.returncode == 143 and not any(map(is_running, ranks))
    for device in range(3):
        assert log_of(workdir, device).read_text().count('checkpoint saved after signal %d\n' % number) == 1


def test_after_a_signal_a_deaf_rank_is_killed_in_the_end(workdir):
    environment = {'FAKE_TRAINER': 'stop,0:hang', 'SAVE_SECONDS': '0.2'}
    launcher = start(workdir, '--rank_size=2', environment=environment, **PERFORMANCE)
    deaf = processes(workdir, 0)
    processes(workdir, 1)
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate()
    assert launcher.returncode == 143
    until(lambda: not any(map(is_running, deaf)))


@pytest.mark.slow
def test_a_device_in_use_is_named_and_the_other_ranks_do_not_start(workdir):
    first = start(workdir, '--rank_size=1', **dict(PERFORMANCE, device='1', **fake('stop')))
    (trainer,) = processes(workdir, 1)
    status, stdout, stderr = launch(workdir, '--rank_size=2', **PERFORMANCE)
    os.kill(trainer, signal.SIGTERM)
    first.communicate()
    assert (status, stdout) == (1, '') and stderr.startswith('ASCEND_DEVICE_ID=1 is in use')
    assert not log_of(workdir, 0).exists()


@pytest.mark.slow
def test_the_previous_run_of_every_device_is_moved_to_the_history(workdir):
    for _ in range(2):
        assert launch(workdir, '--rank_size=2', **PERFORMANCE)[0] == 0
    archives = sorted(path.name[0] for path in (workdir / 'output' / 'history').iterdir())
    assert archives == ['0', '1']


def test_a_finished_run_of_several_servers_is_no_failure_when_resumed(workdir):
    (workdir / 'table.json').write_text(json.dumps(TABLE))
    flags = ['--rank_table=table.json', '--server_id=192.0.2.2', '--base_port=%d' % free_ports(2), TRUSTED, '--resume']
    status, stdout, stderr = launch(workdir, *flags, **dict(PERFORMANCE, **fake('done')))
    assert (status, stderr) == (0, '') and 'already done 3 steps of 3' in stdout.splitlines()[-1]


def test_where_the_ranks_meet_is_removed_even_after_all_processes_of_a_launcher_were_killed(workdir, tmp_path):
    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    (temporary / ('training-ranks-%d.theirs' % os.getuid())).symlink_to(workdir)
    (temporary / 'training-ranks-1.others').mkdir()
    options = dict(PERFORMANCE, environment={'FAKE_TRAINER': 'stop', 'TMPDIR': str(temporary)})
    launcher = start(workdir, '--rank_size=2', **options)
    trainers = [processes(workdir, device)[0] for device in range(2)]
    (left,) = [path for path in temporary.iterdir() if not path.name.endswith(('theirs', 'others'))]
    assert left.stat().st_mode & 0o777 == 0o700
    (left / 'rank-0').write_text('')
    launcher.kill()
    launcher.wait()
    other = workdir / 'other'
    options['environment']['FAKE_TRAINER'] = ''
    assert launch(workdir, '--rank_size=2', '--output_path=%s' % other, **options)[0] == 0
    assert left.exists()                               # its trainers live
    for trainer in trainers:
        os.kill(trainer, signal.SIGKILL)
    until(lambda: not any(map(is_running, trainers)))
    # A run that starts before the last process of the killed one has ended leaves the directory to the next run.
    until(lambda: launch(workdir, '--rank_size=2', '--output_path=%s' % other, **options)[0] == 0 and not left.exists())
    assert (workdir / 'python').exists() and sorted(path.name for path in temporary.iterdir()) == sorted(
        ['training-ranks-%d.theirs' % os.getuid(), 'training-ranks-1.others'])


RESTARTS = {'script': 'train_performance_8p.sh', 'device': None}


def restarting(behaviour, **environment):
    return dict(RESTARTS, environment=dict(FAKE_TRAINER=behaviour, RESTART_SECONDS='0', **environment))


def test_after_a_rank_has_died_all_ranks_start_again_with_resume(workdir):
    status, stdout, stderr = launch(workdir, '--rank_size=2', '--max_restarts=2', **restarting('wait once,1:die once'))
    assert (status, stderr) == (0, '')
    line = re.search(r'^restart 1 of 2: rank 1 of 2 ended with status 137 .*; starting again in 0 seconds .*$', stdout,
                     re.M).group(0)
    assert 'Final Performance' in stdout and 'restart 2' not in stdout
    assert (workdir / 'output' / '0' / (CASE % 2 + '_restarts.log')).read_text() == line + '\n'
    for device in range(2):
        text = log_of(workdir, device).read_text()
        assert line in text.splitlines() and text.index(line) < text.index('started {', text.index(line))


@pytest.mark.slow
def test_ranks_that_die_each_time_are_started_again_as_often_as_asked(workdir):
    status, stdout, stderr = launch(workdir, '--rank_size=2', '--max_restarts=3', **restarting('die'))
    assert status == 137 and re.findall(r'^restart (\d) of 3', stdout, re.M) == list('123')
    assert re.search(r'rank [01] of 2 ended with status 137', stderr.splitlines()[-1])


@pytest.mark.parametrize('fault, status', [('exit2', 2), ('exit4', 1)])
def test_bad_input_and_a_bad_loss_are_no_reason_to_restart(workdir, fault, status):
    ended, stdout, _ = launch(workdir, '--rank_size=2', '--max_restarts=3', **restarting('stop,1:' + fault))
    assert ended == status and 'restart 1' not in stdout


def test_a_signal_to_the_launcher_ends_the_restarts(workdir):
    process = start(workdir, '--rank_size=2', '--max_restarts=3',
                    **dict(RESTARTS, environment=dict(FAKE_TRAINER='die', RESTART_SECONDS='600')))
    until(lambda: 'restart 1' in log_of(workdir, 0).read_text() if log_of(workdir, 0).exists() else False)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate()
    assert process.returncode == 137 and 'restart 2' not in stdout


def test_a_launcher_killed_in_the_pause_before_a_restart_leaves_no_process_no_screen_and_no_lock(workdir):
    process = start(workdir, '--rank_size=1', '--max_restarts=3',
                    **dict(RESTARTS, environment=dict(FAKE_TRAINER='die', RESTART_SECONDS='600', TMPDIR=str(workdir))))
    until(lambda: 'restart 1' in log_of(workdir, 0).read_text() if log_of(workdir, 0).exists() else False)
    process.kill()
    process.communicate()                    # until nobody has the other end of the pipes

    def left():
        return [pid for pid in filter(str.isdigit, os.listdir('/proc')) if has_in_environment(pid, str(workdir))]
    until(lambda: not left())
    assert launch(workdir, '--rank_size=1', **PERFORMANCE)[0] == 0


def has_in_environment(pid, text):
    try:
        with open('/proc/%s/environ' % pid, 'rb') as environ:
            return b'TMPDIR=%s\0' % os.fsencode(text) in environ.read()
    except OSError:
        return False


def test_pauses_before_restarts_grow(workdir):
    _, stdout, _ = launch(workdir, '--rank_size=1', '--max_restarts=3',
                          **dict(RESTARTS, environment=dict(FAKE_TRAINER='die', RESTART_SECONDS='0.01')))
    assert re.findall(r'again in ([\d.]+) seconds', stdout) == ['0.01', '0.02', '0.04']


@pytest.mark.slow
def test_on_npus_the_log_says_where_the_device_addresses_are_from(workdir):
    assert launch(workdir, '--rank_size=2', '--device=npu', **PERFORMANCE)[0] == 0
    lines = log_of(workdir, 0).read_text().splitlines()
    assert lines[0].startswith('Rank table: device addresses from ') and not lines[1].startswith('Rank table')
    assert launch(workdir, '--rank_size=2', **PERFORMANCE)[0] == 0
    assert 'Rank table' not in log_of(workdir, 0).read_text()
