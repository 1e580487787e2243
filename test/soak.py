"""Repeats train, SIGKILL at random moments, resume on 1 and 2 ranks.

    bash test/soak.sh MINUTES [--kill_seed=N] [trainer flag...]
    bash test/soak.sh --restarts=KILLS [--kill_seed=N] [trainer flag...]

After every kill each checkpoint that the state file names must load; at the end of every round the last
loss and every variable must be those of a run that nothing happened to. Half of the kills take all
processes, half one rank. Prints a line a round; the status is 0 if all was well.

With --restarts the launcher itself starts the ranks again (--max_restarts) until so many ranks were killed; the losses
of the case, all of them, must then be those of the undisturbed run, too.
"""
import argparse
import glob
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
FLAGS = ['--network=swa', '--train_epochs=100', '--save_interval=5', '--keep_history=0']
PATIENCE = 300                 # seconds until a launcher that does not end is a fault


class Fault(Exception):
    """What must never happen has happened."""


def start(ranks, output, *flags):
    """Starts the launcher, and so all of its processes, in a session of their own."""
    script = 'train_full_%s.sh' % ('1p' if ranks == 1 else '8p')
    size = [] if ranks == 1 else ['--rank_size=%d' % ranks]
    log = open(output + '.log', 'a')
    with log:
        return subprocess.Popen(['bash', os.path.join(HERE, script), '--output_path=' + output] + size + list(flags),
                                env=dict(os.environ, ASCEND_DEVICE_ID='0', CUDA_VISIBLE_DEVICES=''),
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def end(launcher):
    """Its status, once it has ended by itself."""
    try:
        return launcher.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        kill_all(launcher)
        raise Fault('the launcher has not ended after %d seconds' % PATIENCE)


def processes(launcher):
    """{process id: command line} of the launcher's session; one that is ending has no command line any more."""
    found = {}
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % entry) as stat, open('/proc/%s/cmdline' % entry) as command:
                line = command.read().replace('\0', ' ')
                if line and int(stat.read().rsplit(')', 1)[1].split()[3]) == launcher.pid:
                    found[int(entry)] = line
        except OSError:  # it has ended meanwhile
            continue
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_all(launcher):
    """As when the machine goes down: not even the launcher can clean up."""
    while set(processes(launcher)) - {launcher.pid} or launcher.poll() is None:
        kill(processes(launcher))
        time.sleep(.05)


def kill_a_rank(launcher, draw):
    """As when memory runs out: the launcher has to stop the other ranks, and itself."""
    ranks = [pid for pid, command in processes(launcher).items()
             if 'launchers/train.py' in command]
    if not ranks:  # they have not started yet
        return kill_all(launcher)
    kill([draw.choice(ranks)])
    end(launcher)
    if processes(launcher):
        raise Fault('left behind: %s' % processes(launcher))


def load_named(directory):
    """Loads every checkpoint that the state file of `directory` names."""
    if os.path.exists(os.path.join(directory, 'checkpoint')):
        state = tf.train.get_checkpoint_state(directory)
        if state is None:
            raise Fault('%s: the state file cannot be read' % directory)
        for path in state.all_model_checkpoint_paths:
            variables(path)


def variables(path):
    """{name: value}; reading them checks their checksums."""
    try:
        reader = tf.train.load_checkpoint(path)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError) as error:
        raise Fault('%s does not load: %s' % (path, error))


def newest(output):
    """The checkpoint that the state file names as the last one, None without any."""
    return tf.train.latest_checkpoint(os.path.join(output, '0', 'ckpt'))


def last_loss(output):
    """The last line of the launcher's file of losses, None if it did not live to write one."""
    for losses in glob.glob(os.path.join(glob.escape(output), '0', '*_loss.txt')):
        with open(losses) as lines:
            return lines.read().split()[-1]


def compare(output, expected):
    """Fault unless the run in `output` ended as the one in `expected`."""
    loss, wanted = last_loss(output), last_loss(expected)
    if loss not in (None, wanted):
        raise Fault('the last loss is %s, undisturbed %s' % (loss, wanted))
    found, wanted = variables(newest(output)), variables(newest(expected))
    other = [name for name in sorted(wanted) if not np.array_equal(found.get(name), wanted[name])]
    if other:
        raise Fault('%d variables differ from the undisturbed run\'s: %s' % (len(other), ', '.join(other[:3])))


def undisturbed(ranks, output, flags):
    """(its last checkpoint's name, its seconds) of a run that nothing happens to."""
    began = time.time()
    if end(start(ranks, output, *flags)):
        raise Fault('the undisturbed run failed')
    return os.path.basename(newest(output)), time.time() - began


def soak_round(ranks, output, flags, last, seconds, draw):
    """Trains to the checkpoint `last`, however often killed; returns the number of kills."""
    kills, resume = 0, []
    while True:
        launcher = start(ranks, output, *flags + resume)
        try:
            launcher.wait(draw.uniform(0, seconds))
            if launcher.returncode:
                raise Fault('the launcher ended by itself with status %d' % launcher.returncode)
        except subprocess.TimeoutExpired:
            kills += 1
            if draw.random() < .5:
                kill_all(launcher)
            else:
                kill_a_rank(launcher, draw)
        load_named(os.path.join(output, '0', 'ckpt'))
        if os.path.basename(newest(output) or '') == last:
            return kills
        if launcher.returncode == 0:
            raise Fault('the launcher ended well before the run did')
        resume = ['--resume=True']


def restarted_round(output, flags, most, seconds, draw):
    """Trains on 2 ranks that the launcher starts again after each of at most `most` kills; returns their number."""
    launcher, kills = start(2, output, *flags, '--max_restarts=%d' % most), 0
    while launcher.poll() is None:
        try:
            launcher.wait(draw.uniform(0, seconds) if kills < most else PATIENCE)
        except subprocess.TimeoutExpired:
            ranks = [pid for pid, command in processes(launcher).items() if 'launchers/train.py' in command]
            if kills == most or not ranks:
                continue
            kill([draw.choice(ranks)])
            kills += 1
            await_restart(launcher, output, kills)
    if launcher.returncode:
        raise Fault('the launcher ended with status %d after %d kills' % (launcher.returncode, kills))
    return kills


def await_restart(launcher, output, number):
    """Returns when the launcher has started the ranks so many times again, or has ended."""
    deadline = time.time() + PATIENCE
    while launcher.poll() is None:
        with open(output + '.log') as log:
            if '\nrestart %d of ' % number in log.read():
                return
        if time.time() > deadline:
            raise Fault('no restart for %d seconds after a kill' % PATIENCE)
        time.sleep(.05)


def all_losses(output):
    """The launcher's file of losses, None if there is none."""
    for losses in glob.glob(os.path.join(glob.escape(output), '0', '*_loss.txt')):
        with open(losses) as lines:
            return lines.read()


def soak_restarts(place, flags, kills, draw):
    """Rounds with restarts until so many ranks were killed; returns the number of rounds."""
    expected, rounds, killed = os.path.join(place, 'undisturbed'), 0, 0
    _, seconds = undisturbed(2, expected, flags)
    while killed < kills:
        output = os.path.join(place, 'restarted-%d' % rounds)
        more = restarted_round(output, flags, min(kills - killed, 10), seconds, draw)
        compare(output, expected)
        if all_losses(output) not in (None, all_losses(expected)):
            raise Fault('the losses of the case differ from the undisturbed run\'s')
        rounds, killed = rounds + 1, killed + more
        print('round %d: %d ranks killed, %d in all; losses and variables as if undisturbed' % (rounds, more, killed),
              flush=True)
    return rounds


def soak_minutes(place, flags, minutes, draw):
    """Rounds of kills and resumes for some minutes; yields the numbers of rounds and of kills after each."""
    expected = {ranks: os.path.join(place, 'undisturbed-%d' % ranks) for ranks in (1, 2)}
    facts = {ranks: undisturbed(ranks, expected[ranks], flags) for ranks in (1, 2)}
    rounds, kills, end_time = 0, 0, time.time() + 60 * minutes
    while time.time() < end_time:
        ranks, output = 1 + rounds % 2, os.path.join(place, 'round-%d' % rounds)
        killed = soak_round(ranks, output, flags, *facts[ranks], draw)
        compare(output, expected[ranks])
        rounds, kills = rounds + 1, kills + killed
        print('round %d, %d rank(s): killed %d times, ended as if undisturbed' % (rounds, ranks, killed), flush=True)
        shutil.rmtree(output)
        yield rounds, kills


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('minutes', type=float, nargs='?', default=10.)
    parser.add_argument('--restarts', type=int, help='kill so many ranks, which the launcher starts again')
    parser.add_argument('--kill_seed', type=int, help='of the moments and kinds of the kills')
    arguments, given = parser.parse_known_args()
    seed = arguments.kill_seed
    if seed is None:
        seed = random.SystemRandom().randrange(2 ** 31)
    place, flags, draw = tempfile.mkdtemp(prefix='soak-'), FLAGS + given, random.Random(seed)
    print('--kill_seed=%d, %s, in %s' % (seed, ' '.join(flags), place), flush=True)
    rounds = kills = 0
    try:
        if arguments.restarts:
            os.environ['RESTART_SECONDS'] = '0'
            rounds, kills = soak_restarts(place, flags, arguments.restarts, draw), arguments.restarts
        else:
            for rounds, kills in soak_minutes(place, flags, arguments.minutes, draw):
                pass
    except Fault as fault:
        print('FAULT after %d rounds and %d kills: %s; everything is in %s' % (rounds, kills, fault, place))
        return 1
    shutil.rmtree(place)
    print('%d rounds, %d kills, no fault' % (rounds, kills))
    return 0


if __name__ == '__main__':
    sys.exit(main())
