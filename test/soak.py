"""Trains, kills, resumes, and damages checkpoints; the end must be as if nothing had happened.

    bash test/soak.sh [--kills=300] [--damages=1000] [--networks=cutmix,swa,cspnet] [--ranks=1,2,4] [--kill_seed=N]

A round is one network on one number of ranks, started by a launcher or by a boot process of ModelArts for each rank. It
is killed until it gets to its end, each time resumed: a rank, the launcher, a boot process or all processes at once; a
third of the kills come while a checkpoint is written. At the end of a round every variable must be that of a run that
nothing happened to, and no process, shared memory, meeting directory or unfinished checkpoint may be left. A line a
round; the status is 0 if all was well.
"""
import argparse
import collections
import glob
import itertools
import os
import random
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
sys.path.insert(0, ROOT)

from core.training import checkpoints  # noqa: E402

# Runs of some checkpoints, as short as they can be; the batch is that of all ranks.
RUNS = {'cutmix': (128, ['--train_epochs=3']), 'swa': (16384, ['--train_epochs=24']),
        'cspnet': (512, ['--train_epochs=2'])}
COMMON = ['--save_interval=1', '--keep_history=0', '--data_path=synthetic', '--eval_static=False']
PATIENCE = 300                 # seconds until something that does not end is a fault
POLL_SECONDS = .01


class Fault(Exception):
    """What must never happen has happened."""


class Job:
    """One run of a round in the directory `output`; its processes are those with `output` in their environment."""

    def __init__(self, network, ranks, output, by_boot, resume):
        self.output, self.ranks = output, ranks
        batch, flags = RUNS[network]
        flags = ['--network=' + network, '--batch_size=%d' % (batch // ranks)] + flags + [
            flag for flag in COMMON if network == 'cutmix' or not flag.startswith('--eval')]
        environment = dict(os.environ, SOAK=output, CUDA_VISIBLE_DEVICES='', TMPDIR=os.path.dirname(output))
        if resume:
            flags.append('--resume=True')
        if not by_boot:
            script = 'train_full_%s.sh' % ('1p' if ranks == 1 else '8p')
            size = [] if ranks == 1 else ['--rank_size=%d' % ranks]
            command = ['bash', os.path.join(HERE, script), '--output_path=' + self.results] + size + flags
            self.parents = [self._start(command, dict(environment, ASCEND_DEVICE_ID='0'))]
            return
        command = [sys.executable, os.path.join(HERE, os.pardir, 'launchers', 'boot_modelarts.py'), '--case=full',
                   '--cache_dir=' + output, '--train_url=' + output + '-there'] + flags
        self.parents = [self._start(command, dict(environment, ASCEND_DEVICE_ID=str(rank), RANK_ID=str(rank),
                                                  RANK_SIZE=str(ranks))) for rank in range(ranks)]

    @property
    def results(self):
        return os.path.join(self.output, 'result')

    def _start(self, command, environment):
        with open(self.output + '.log', 'a') as log:
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True)

    def processes(self, word=''):
        """The ids of its processes with the word in their command lines."""
        found, tag = [], ('SOAK=%s\0' % self.output).encode()
        for entry in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open('/proc/%s/environ' % entry, 'rb') as environ, open('/proc/%s/cmdline' % entry) as command:
                    if tag in environ.read() + b'\0' and word in command.read():
                        found.append(int(entry))
            except OSError:
                continue
        return found

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
            time.sleep(.05)
        return [parent.returncode for parent in self.parents]

    def writes_a_checkpoint(self):
        """Whether a checkpoint is there in part."""
        return any(glob.glob(os.path.join(glob.escape(self.results), '*', 'ckpt', '*tempstate*')))


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def disturb(job, seconds, in_write, draw):
    """Kills something of the job when the moment has come; returns what, or None when the job has ended before."""
    moment = time.monotonic() + draw.uniform(0, seconds)
    while time.monotonic() < moment or in_write and not job.writes_a_checkpoint():
        if not job.is_running():
            return None
        time.sleep(0 if in_write and time.monotonic() >= moment else POLL_SECONDS)
    what = draw.choice(['rank', 'launcher', 'boot', 'all'])
    chosen = job.processes({'rank': ROOT + '\0train\0', 'launcher': '/train_full_', 'boot': 'boot_modelarts',
                            'all': ''}[what])
    if not chosen:
        what, chosen = 'all', job.processes()
    while what == 'all' and chosen:
        kill(chosen)
        chosen = job.processes()
    kill(chosen and [draw.choice(chosen)])
    return what


def newest(job):
    """The newest checkpoint, None without any."""
    return next(iter(checkpoints.paths(os.path.join(job.results, '0', 'ckpt'))), None)


def variables(path):
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def compare(job, expected):
    found = variables(newest(job))
    other = [name for name in sorted(expected) if not np.array_equal(found.get(name), expected[name])]
    if other:
        raise Fault('%d variables differ from the undisturbed run\'s: %s' % (len(other), ', '.join(other[:3])))


def undisturbed(network, ranks, place):
    """(the name of the last checkpoint, its variables, seconds) of a run that nothing happens to."""
    began, job = time.monotonic(), Job(network, ranks, os.path.join(place, 'undisturbed'), False, False)
    if job.await_end() != [0]:
        raise Fault('the undisturbed run failed')
    facts = os.path.basename(newest(job)), variables(newest(job)), time.monotonic() - began
    shutil.rmtree(job.output)
    return facts


def soak_round(network, ranks, output, by_boot, facts, table, draw):
    """Trains to the last checkpoint, however often killed; counts the kills in `table`."""
    last, expected, seconds = facts
    shared, resume = set(os.listdir('/dev/shm')), False
    while True:
        job = Job(network, ranks, output, by_boot, resume)
        in_write = sum(table.values()) % 3 == 0
        what = disturb(job, seconds * (.5 if in_write else 1.2), in_write, draw)
        statuses = job.await_end()
        if what is None and any(status not in (0, 3) for status in statuses):
            raise Fault('it ended by itself with %s' % statuses)
        if what is not None:
            table[what, 'in a write' if in_write else 'any time'] += 1
        if by_boot:
            shutil.rmtree(output + '-there', ignore_errors=True)   # what is here goes on; storage has tests of its own
        resume = True
        if newest(job) and os.path.basename(newest(job)) == last and what is None:
            break
    compare(job, expected)
    left = [path for path in glob.glob(os.path.join(os.path.dirname(output), 'training-ranks-*'))
            + glob.glob(os.path.join(job.results, '*', 'ckpt', '*tempstate*'))]
    left += sorted(set(os.listdir('/dev/shm')) - shared)
    if left:
        raise Fault('left behind: %s' % left)
    return job


def damage(job, count, draw):
    """Damages the newest of two checkpoints `count` times: the one before has to be found, or the values be right."""
    directory = os.path.join(job.output, 'damaged')
    kept = checkpoints.paths(os.path.join(job.results, '0', 'ckpt'))[:2]
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
        path, reader = checkpoints.newest_whole(directory)
        if path is None:
            raise Fault('%s of %s: no checkpoint was found' % (way, victim))
        index = [os.path.basename(one) for one in kept].index(os.path.basename(path))
        passed_over += index
        for name, value in expected[index].items():
            if not np.array_equal(reader.get_tensor(name), value):
                raise Fault('%s of %s was read as something else: %s' % (way, victim, name))
    return passed_over


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('--kills', type=int, default=300)
    parser.add_argument('--damages', type=int, default=1000)
    parser.add_argument('--networks', default='cutmix,swa,cspnet')
    parser.add_argument('--ranks', default='1,2,4')
    parser.add_argument('--kill_seed', type=int, help='of the moments and kinds of the kills')
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2 ** 31) if given.kill_seed is None else given.kill_seed
    place, draw, table = tempfile.mkdtemp(prefix='soak-'), random.Random(seed), collections.Counter()
    print('--kill_seed=%d, in %s' % (seed, place), flush=True)
    facts, damages = {}, given.damages
    kinds = list(itertools.product(given.networks.split(','), map(int, given.ranks.split(',')), (False, True)))
    try:
        for number in itertools.count():
            network, ranks, by_boot = kinds[number % len(kinds)]
            if (network, ranks) not in facts:
                facts[network, ranks] = undisturbed(network, ranks, place)
            before = sum(table.values())
            job = soak_round(network, ranks, os.path.join(place, 'round-%d' % number), by_boot, facts[network, ranks],
                             table, draw)
            print('round %d, %s, %d rank(s), %s: %d kills, as if undisturbed' % (
                number, network, ranks, 'boot' if by_boot else 'launcher', sum(table.values()) - before), flush=True)
            if damages and network == 'swa':
                print('%d damages, %d of them passed over' % (damages, damage(job, damages, draw)), flush=True)
                damages = 0
            shutil.rmtree(job.output)
            if sum(table.values()) >= given.kills and not (damages and 'swa' in given.networks):
                break
    except Fault as fault:
        print('FAULT after %d kills: %s; everything is in %s' % (sum(table.values()), fault, place))
        return 1
    shutil.rmtree(place)
    for (what, when), count in sorted(table.items()):
        print('%-10s %-12s %d' % (what, when, count))
    print('%d kills, no fault' % sum(table.values()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
