"""Trains, kills, resumes, and damages checkpoints; the end must be as if nothing had happened.

    bash test/soak.sh [--kills=300] [--damages=1000] [--networks=cutmix,swa,cspnet] [--ranks=1,2,4]
                      [--parents=launcher,boot] [--kill_seed=N]

A round is one network on one number of ranks, started by a launcher or by a boot process of ModelArts for each rank. It
is killed some times and then left to its end: a rank (the launcher starts all ranks again), the launcher, a boot
process, or all processes at once (the run is resumed); a third of the kills come while a checkpoint is written. At the
end of a round every variable must be that of a run that nothing happened to, and no process, meeting directory or
unfinished checkpoint may be left. Checkpoints of the first round are then damaged. A line a round, a line for each kind
of kill; the status is 0 if all was well.
"""
import argparse
import collections
import contextlib
import ctypes
import glob
import io
import itertools
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [ROOT, os.path.join(HERE, 'helpers')]

import cifar_pickles  # noqa: E402
from core.training import checkpoints  # noqa: E402

# Runs of some checkpoints, as short as they can be; the batch is that of all ranks, the data are IMAGES.
RUNS = {'cutmix': (8, ['--train_steps=40', '--save_steps=2', '--val_epoch=100']),
        'swa': (16384, ['--train_epochs=40', '--save_interval=2']),
        'cspnet': (8, ['--train_steps=12', '--save_steps=2', '--val_epoch=100'])}
COMMON = ['--keep_history=0', '--max_restarts=1000']
IMAGES = 8                     # of each of the five files of CIFAR-10 for training, and of the one for tests
KILLS = 24                     # at most in a round
PATIENCE = 600                 # seconds until something that does not end is a fault
POLL_SECONDS = .02
IN_WRITE = 'in a write'
IN_CREATE = 0x100              # of inotify(7)


class Fault(Exception):
    """What must never happen has happened."""


class Job:
    """One run of a round in the directory `output`; its processes are those with `output` in their environment."""

    def __init__(self, network, ranks, output, by_boot, resume):
        self.output = output
        directory = os.path.dirname(output)
        batch, flags = RUNS[network]
        flags = ['--network=' + network, '--batch_size=%d' % (batch // ranks)] + flags + COMMON
        environment = dict(os.environ, SOAK=output, CUDA_VISIBLE_DEVICES='', TMPDIR=directory, RESTART_SECONDS='0',
                           STOP_SECONDS='1')
        if resume:
            flags.append('--resume=True')
        if not by_boot:
            script = 'train_full_%s.sh' % ('1p' if ranks == 1 else '8p')
            size = [] if ranks == 1 else ['--rank_size=%d' % ranks]
            command = ['bash', os.path.join(HERE, script), '--output_path=' + self.results,
                       '--data_path=' + os.path.join(directory, 'data')] + size + flags
            self.parents = [self._start(command, dict(environment, ASCEND_DEVICE_ID='0'))]
            return
        command = [sys.executable, os.path.join(HERE, os.pardir, 'launchers', 'boot_modelarts.py'), '--case=full',
                   '--data_url=' + os.path.join(directory, 'data'), '--cache_dir=' + output,
                   '--train_url=' + output + '-there'] + flags
        self.parents = [self._start(command, dict(environment, ASCEND_DEVICE_ID=str(rank), RANK_ID=str(rank),
                                                  RANK_SIZE=str(ranks))) for rank in range(ranks)]

    @property
    def results(self):
        return os.path.join(self.output, 'result')

    @property
    def checkpoints(self):
        return os.path.join(self.results, '0', 'ckpt')

    def _start(self, command, environment):
        with open(self.output + '.log', 'a') as log:
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True)

    def processes(self, word='', variable=''):
        """The ids of its processes with the word in their command lines and the variable in their environments."""
        found, tags = [], [('%s\0' % tag).encode() for tag in ('SOAK=' + self.output, variable) if tag]
        for entry in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open('/proc/%s/environ' % entry, 'rb') as environ, open('/proc/%s/cmdline' % entry) as command:
                    variables = environ.read() + b'\0'
                    if all(tag in variables for tag in tags) and word in command.read():
                        found.append(int(entry))
            except OSError:
                continue
        return found

    def victims(self, what):
        """The ids of those of its processes that a kill of the kind may hit."""
        trainer = ROOT + '\0train\0'
        return self.processes(*{'rank': [trainer], 'writer': [trainer, 'RANK_ID=0'],
                                'launcher': ['/train_full_'], 'boot': ['boot_modelarts'], 'all': []}[what])

    def is_running(self):
        return any(parent.poll() is None for parent in self.parents)

    def await_end(self):
        """Its statuses; Fault for what stays."""
        deadline = time.monotonic() + PATIENCE
        while self.is_running() or self.processes():
            if time.monotonic() > deadline:
                left = self.processes()
                kill(left)
                raise Fault('processes %s have not ended after %d seconds' % (left, PATIENCE))
            time.sleep(.2)
        return [parent.returncode for parent in self.parents]

    def has_trained(self):
        """Whether it found a step to do; it has ended."""
        with open(self.output + '.log') as log:
            return 'has already done' not in log.read().splitlines()[-1]

    def unfinished(self):
        """The checkpoints that are there in part."""
        return glob.glob(os.path.join(glob.escape(self.results), '*', 'ckpt', '*tempstate*'))


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def watched(directory):
    """A context with a descriptor that has something to read when a file is made in the directory."""
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), IN_CREATE) < 0:
            raise Fault('%s cannot be watched' % directory)
        yield descriptor
    finally:
        os.close(descriptor)


def await_write(job, what, writes):
    """The victims at the beginning of the last of so many writes, [] when the job has ended before."""
    while not os.path.isdir(job.checkpoints):
        if not job.is_running():
            return []
        time.sleep(POLL_SECONDS)
    found = []
    with watched(job.checkpoints) as made:
        while writes > 0 or not found:
            if not select.select([made], [], [], 1)[0]:
                if not job.is_running():
                    return []
                continue
            writes -= b'.data-00000-of-00001.tempstate' in os.read(made, 1 << 16)
            if writes <= 0 and found:
                break
            found = job.victims(what)  # before the write in question, because the search takes longer than a write
    return found


def disturb(job, seconds, in_write, by_boot, draw):
    """Kills something of the job when the moment has come; returns (what, when), or None if the job has ended."""
    rank = 'writer' if in_write else 'rank'
    what = draw.choice([rank, rank, 'all', 'boot' if by_boot else 'launcher'])
    moment = time.monotonic() + draw.uniform(0, seconds)
    if in_write:
        victims = await_write(job, what, draw.randint(2, 3))
    else:
        while time.monotonic() < moment and job.is_running():
            time.sleep(POLL_SECONDS)
        victims = job.victims(what)
    if not victims and job.is_running():
        what, victims = 'all', job.victims('all')
    if not victims:
        return None
    while what == 'all' and victims:   # a process may have started another meanwhile
        kill(victims)
        victims = job.victims('all')
    kill(victims and [draw.choice(victims)])
    hits_writer = what in ('writer', 'all')
    when = IN_WRITE if in_write and (not hits_writer or job.unfinished()) else 'at any time'
    return 'rank' if what == 'writer' else what, when


def newest(job):
    """The newest checkpoint, None without any."""
    return next(iter(checkpoints.paths(job.checkpoints)), None)


def variables(path):
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def compare(job, last, expected):
    path = newest(job)
    if os.path.basename(path or '') != last:
        raise Fault('%s is the last checkpoint, not %s' % (path, last))
    found = variables(path)
    other = [name for name in sorted(expected) if not np.array_equal(found.get(name), expected[name])]
    if other or len(found) != len(expected):
        raise Fault('%d variables differ from the undisturbed run\'s: %s' % (len(other), ', '.join(other[:3])))


def undisturbed(network, ranks, directory):
    """(the name of the last checkpoint, its variables, seconds) of a run that nothing happens to."""
    began, job = time.monotonic(), Job(network, ranks, os.path.join(directory, 'undisturbed'), False, False)
    if job.await_end() != [0]:
        raise Fault('the undisturbed run failed')
    facts = os.path.basename(newest(job)), variables(newest(job)), time.monotonic() - began
    shutil.rmtree(job.output)
    return facts


def soak_round(network, ranks, output, by_boot, facts, kills, draw):
    """Trains to the last checkpoint through so many kills at most; returns the job and a Counter of (what, when)."""
    last, expected, seconds = facts
    table, job = collections.Counter(), None
    while True:
        if job is None:
            job = Job(network, ranks, output, by_boot, resume=bool(table))
        writes = sum(count for (_, when), count in table.items() if when == IN_WRITE)
        count = sum(table.values())
        killed = disturb(job, seconds, 3 * writes <= count, by_boot, draw) if count < kills else None
        if killed:
            table[killed] += 1
        if not killed or killed[0] != 'rank':
            statuses = job.await_end()
            if by_boot:
                shutil.rmtree(output + '-there', ignore_errors=True)   # resumed from here; storage has its own tests
            if not killed and any(status not in (0, 3) for status in statuses):
                raise Fault('it ended by itself with %s' % statuses)
            if not killed:
                break
            job = None
    compare(job, last, expected)
    left = job.unfinished()
    if job.has_trained():              # else the next one that does removes the meeting directory of a killed one
        left += glob.glob(os.path.join(os.path.dirname(output), 'training-ranks-*'))
    if left:
        raise Fault('left behind: %s' % left)
    return job, table


def damage(job, count, draw):
    """Damages the newest of two checkpoints `count` times: the one before has to be found, or the values be right."""
    directory = os.path.join(job.output, 'damaged')
    kept = checkpoints.paths(job.checkpoints)[:2]
    expected = [variables(path) for path in kept]
    passed_over = 0
    for _ in range(count):
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        for prefix in kept:
            for path in glob.glob(glob.escape(prefix) + '.*'):
                shutil.copy(path, directory)
        victim = draw.choice(sorted(glob.glob(os.path.join(glob.escape(directory), os.path.basename(kept[0]) + '.*'))))
        way = draw.choice(['flip', 'cut', 'unreadable'])
        if way == 'unreadable':        # for root, too
            os.remove(victim)
            os.mkdir(victim)
        else:
            with open(victim, 'r+b') as file:
                content = bytearray(file.read())
                position = draw.randrange(len(content))
                content[position] ^= 1 << draw.randrange(8)
                file.seek(0)
                file.truncate(position if way == 'cut' else None)
                file.write(content[:position] if way == 'cut' else content)
        with contextlib.redirect_stdout(io.StringIO()):    # a line for each that is passed over
            path, reader = checkpoints.newest_whole(directory)
        if path is None:
            raise Fault('%s of %s: no checkpoint was found' % (way, victim))
        index = [os.path.basename(one) for one in kept].index(os.path.basename(path))
        passed_over += index
        for name, value in expected[index].items():
            if not np.array_equal(reader.get_tensor(name), value):
                raise Fault('%s of %s was read as something else: %s' % (way, victim, name))
    return passed_over


def write_images(directory):
    """A CIFAR-10 of IMAGES images in each of its files."""
    cifar_pickles.write(pathlib.Path(directory), **{
        name: cifar_pickles.python3(cifar_pickles.record(IMAGES, seed=seed))
        for seed, name in enumerate(cifar_pickles.ROWS)})


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('--kills', type=int, default=300)
    parser.add_argument('--damages', type=int, default=1000)
    parser.add_argument('--networks', default='cutmix,swa,cspnet')
    parser.add_argument('--ranks', default='1,2,4')
    parser.add_argument('--parents', default='launcher,boot')
    parser.add_argument('--kill_seed', type=int, help='of the moments and kinds of the kills')
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2 ** 31) if given.kill_seed is None else given.kill_seed
    directory, draw, total = tempfile.mkdtemp(prefix='soak-'), random.Random(seed), collections.Counter()
    print('--kill_seed=%d, in %s' % (seed, directory), flush=True)
    write_images(os.path.join(directory, 'data'))
    facts = {}
    kinds = list(itertools.product(given.networks.split(','), map(int, given.ranks.split(',')),
                                   given.parents.split(',')))
    try:
        for number in itertools.count():
            network, ranks, parent = kinds[number % len(kinds)]
            if (network, ranks) not in facts:
                facts[network, ranks] = undisturbed(network, ranks, directory)
            began = time.monotonic()
            job, table = soak_round(network, ranks, os.path.join(directory, 'round-%d' % number), parent == 'boot',
                                    facts[network, ranks], min(KILLS, given.kills - sum(total.values())), draw)
            total.update({(network, ranks, parent) + kind: count for kind, count in table.items()})
            print('round %d, %s, %d rank(s), %s: %d kills in %.0f s, as if undisturbed' % (
                number, network, ranks, parent, sum(table.values()), time.monotonic() - began), flush=True)
            if number == 0 and given.damages:
                print('%d damages, %d of them passed over' % (given.damages, damage(job, given.damages, draw)),
                      flush=True)
            shutil.rmtree(job.output)
            if sum(total.values()) >= given.kills:
                break
    except Fault as fault:
        print('FAULT after %d kills: %s; everything is in %s' % (sum(total.values()), fault, directory))
        return 1
    shutil.rmtree(directory)
    for kind, count in sorted(total.items()):
        print('%-7s %d rank(s)  %-9s %-9s %-11s %d' % (kind + (count,)))
    print('%d kills, no fault' % sum(total.values()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
