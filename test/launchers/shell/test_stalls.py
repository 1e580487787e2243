"""A run that does not get on is noticed, named and ended: stopped processes, a file system that hangs."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from launching import HELPERS, ROOT, is_running, workdir_with, start, until

from launchers import stalls
from launchers.stalls import Stalls, Trainer

SECONDS = 4                    # twice as many end a run, and no load makes a step of the toy take so long


@pytest.fixture
def trainers(tmp_path):
    """write(rank, count, step, reached, limit) for two live processes, and their Trainers."""
    processes = [subprocess.Popen(['sleep', '600']) for _ in range(2)]
    found = [Trainer(str(rank), process.pid, str(tmp_path / 'log')) for rank, process in enumerate(processes)]

    def write(rank, count, step, reached, limit, what='computes step 7'):
        (tmp_path / ('progress-%d' % rank)).write_text('%d %d %d %g %s   ' % (count, step, reached, limit, what))
    yield found, write
    for process in processes:
        process.kill()
        process.wait()


def test_the_rank_that_others_wait_for_is_named_and_no_other(trainers, tmp_path):
    found, write = trainers
    watch = Stalls(found, str(tmp_path), 60)
    write(0, 9, 7, 21, 60)
    write(1, 9, 7, 20, 100)
    assert watch.look(0) == [] and watch.look(99) == []
    (line,) = watch.look(1)
    assert line == ('no progress for 100 seconds: rank 1 (process %d) is behind, computes step 7: it waits for its '
                    'input or its device; after as many again the run ends (--stall_seconds)' % found[1].pid)
    assert watch.look(99) == [] and watch.stalled == -1
    assert watch.look(1) == [] and watch.stalled == 1


def test_a_rank_that_gets_on_again_is_not_ended(trainers, tmp_path):
    found, write = trainers
    watch = Stalls(found, str(tmp_path), 60)
    write(0, 1, 7, 1, 60)
    write(1, 1, 7, 1, 60)
    watch.look(0)
    (line,) = watch.look(60)
    assert 'like others it waits' in line
    write(0, 2, 7, 1, 60)
    assert watch.look(59) == ['the run gets on again'] and watch.stalled == -1
    assert watch.look(59) == [] and watch.stalled == -1


def test_what_is_done_for_the_first_time_has_the_longer_limit_that_it_wrote_down(trainers, tmp_path):
    found, write = trainers
    watch = Stalls(found, str(tmp_path), 60)
    write(0, 1, 1, 0, 1836)
    write(1, 1, 1, 1, 60)
    watch.look(0)
    assert watch.look(1835) == [] and len(watch.look(1)) == 1


def test_a_stopped_process_is_named_whatever_it_does(trainers, tmp_path):
    found, write = trainers
    watch = Stalls(found, str(tmp_path), 60)
    write(0, 1, 7, 1, 1836)                            # rank 1 has not written anything yet
    os.kill(found[1].pid, signal.SIGSTOP)
    until(lambda: stalls.state_of(found[1], str(tmp_path)).letter == 'T')
    watch.look(0)
    (line,) = watch.look(60)
    assert 'rank 1 (process %d) is behind, starts: its process is stopped' % found[1].pid in line


def test_the_watch_leaves_the_screen_of_a_launcher_that_was_killed(trainers, tmp_path):
    found, _ = trainers
    watch = subprocess.Popen([sys.executable, ROOT, 'stalls', '600'] + ['%s:%d:%s' % trainer for trainer in found],
                             stdout=subprocess.PIPE, env=dict(os.environ, RANKS_DIRECTORY=str(tmp_path),
                                                              LAUNCHER_PID=str(found[0].pid)))
    try:
        assert watch.stdout.read() == b'' and watch.poll() is None
    finally:
        watch.kill()
        watch.wait()


def processes_of(launcher, workdir, ranks):
    """[process id] of the launcher's trainers by rank, once they train."""
    log = workdir / 'output' / '0' / 'train_0.log'
    until(lambda: log.exists() and '\nstep 12 ' in log.read_text())
    found = {}
    for entry in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            command, environ, stat = ((pathlib.Path('/proc') / entry / name).read_text()
                                      for name in ('cmdline', 'environ', 'stat'))
            parent = int(stat.rpartition(')')[2].split()[1])
            if parent == launcher.pid and re.search('%s\0(plan|train)\0' % ROOT, command):
                found[int(re.search('(?:^|\\0)RANK_ID=(\\d+)', environ).group(1))] = int(entry)
    return [found[rank] for rank in range(ranks)]


@pytest.fixture
def train(tmp_path):
    """train(flag..., NAME=value...) -> a launcher of ranks that train toy.py in tmp_path, whose limit is SECONDS."""
    launchers = []

    def act(*flags, **environment):
        workdir = workdir_with(tmp_path, sys.executable, os.path.join(HELPERS, 'toy_python.py'))
        launchers.append(start(workdir, '--stall_seconds=%d' % SECONDS, *flags, script='train_performance_8p.sh',
                               device=None, environment=environment))
        return launchers[-1]
    yield act
    for launcher in launchers:
        launcher.kill()
    for entry in filter(str.isdigit, os.listdir('/proc')):     # after a test that has failed
        with contextlib.suppress(OSError):
            if str(tmp_path) in (pathlib.Path('/proc') / entry / 'cmdline').read_text():
                os.kill(int(entry), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize('ranks, stopped', [(1, 0), (2, 1)])
def test_a_rank_stopped_while_it_trains_is_named_on_the_screen_and_in_every_log_and_the_run_ends(
        train, tmp_path, ranks, stopped):
    launcher = train('--train_epochs=1000000', '--rank_size=%d' % ranks)
    pids = processes_of(launcher, tmp_path, ranks)
    os.kill(pids[stopped], signal.SIGSTOP)
    stdout, stderr = launcher.communicate()
    line = re.search(r'^no progress for %d seconds: rank %d \(process %d\) is behind, .*: its process is stopped .*$'
                     % (SECONDS, stopped, pids[stopped]), stdout, re.M).group(0)
    assert launcher.returncode == 1 and '(it did not get on)' in stderr.splitlines()[-1]
    for rank in range(ranks):
        assert line in (tmp_path / 'output' / str(rank) / ('train_%d.log' % rank)).read_text().splitlines()
    assert not any(map(is_running, pids))


@pytest.mark.slow
def test_a_stopped_trainer_whose_launcher_was_killed_does_not_stay(train, tmp_path):
    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    launcher = train('--train_epochs=1000000', '--rank_size=2', TMPDIR=str(temporary))
    pids = processes_of(launcher, tmp_path, 2)
    os.kill(pids[1], signal.SIGSTOP)
    launcher.kill()
    until(lambda: not any(map(is_running, pids)))
    until(lambda: not list(temporary.glob('training-ranks-*')))


@pytest.mark.slow
def test_a_file_system_that_hangs_is_named_by_its_rank_and_a_restart_helps(train, tmp_path):
    fifo = tmp_path / 'fifo'
    os.mkfifo(str(fifo))
    launcher = train('--train_steps=30', '--rank_size=2', '--max_restarts=3', TOY_FIFO='1:%s' % fifo,
                     RESTART_SECONDS='0')
    stdout, stderr = launcher.communicate()
    line = ''.join(re.findall('^no progress for .*$', stdout, re.M))
    assert 'rank 1 ' in line and ': it waits for ' in line, stdout + stderr
    assert 'restart 1 of 3: ' in stdout, stderr
    assert '\nstep 30 ' in (tmp_path / 'output' / '0' / 'train_0.log').read_text()


def test_both_sides_know_the_same_status():
    with open(os.path.join(ROOT, 'launchers', 'shell', 'ranks.sh')) as file:
        assert 'STATUS_STALLED=%d ' % stalls.FIRST_STATUS in file.read()
