"""Turns: how the benchmark makes a worker, which is a process of its own, take training steps in bursts.

The driver writes commands to the worker's standard input and reads answers from its standard output, a JSON object a
line each. Between two bursts the worker is stopped (SIGSTOP), so that none of its threads computes or spins while
another worker is timed. This file runs in TensorFlow's Python and in PyTorch's.
"""
import ctypes
import glob
import json
import os
import signal
import subprocess
import sys
import time

READY = 'ready'                # the first answer of a worker: {'ready': facts}
PDEATHSIG = 1                  # the option of prctl(2): the signal that a process gets when its parent ends
TICKS = os.sysconf('SC_CLK_TCK')


class WorkerFailed(Exception):
    """A worker ended, with an exit status, where it should have answered."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


class Turns:
    """The worker's side. From its making on, what else is printed goes to standard error."""

    def __init__(self):
        self._answers = os.fdopen(os.dup(1), 'w')
        os.dup2(2, 1)
        end_with_parent()

    def begin(self, peak=None, **facts):
        """Says that the worker is ready, and waits for the first burst.

        peak() -> GFLOP/s of a large matrix product, for workers that measure it.
        """
        self._peak = peak
        self._answer({READY: facts})
        self._wait()

    def stepped(self):
        """After every step: notes the seconds since the one before; at the end of a burst waits for the next one."""
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now
        if len(self._seconds) >= self._burst['steps'] or sum(self._seconds) >= self._burst['seconds']:
            self._answer({'seconds': self._seconds})
            self._wait()

    def _wait(self):
        """Obeys commands up to the next burst. The driver ends the worker."""
        while True:
            command = json.loads(sys.stdin.readline())
            if command['do'] == 'burst':
                break
            self._answer({'peak': self._peak()})
        self._burst, self._seconds, self._last = command, [], time.perf_counter()

    def _answer(self, answer):
        self._answers.write(json.dumps(answer) + '\n')
        self._answers.flush()


def end_with_parent():
    """Lets this process end when its parent does, which it would not see while it is stopped."""
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)


class Worker:
    """The driver's side of a process that is started, asked and killed here, with what it starts itself."""

    def __init__(self, name, command, environment, log):
        """log: path of the file for what the worker prints."""
        self.name, self._log = name, log
        self._others = self._core_seconds = 0.
        with open(log, 'wb') as file:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
                                             env=environment, universal_newlines=True, start_new_session=True)

    def ready(self):
        """Waits until the worker is built; returns its facts."""
        facts = self._read()[READY]
        self._stop()
        return facts

    def burst(self, steps, seconds):
        """The seconds of each of up to `steps` steps; the burst ends early after `seconds`, but not before a step.

        """
        started, others = time.perf_counter(), self._seconds_of_others()
        answer = self._ask(do='burst', steps=steps, seconds=seconds)['seconds']
        self._core_seconds += os.cpu_count() * (time.perf_counter() - started)
        self._others += self._seconds_of_others() - others
        return answer

    @property
    def cpu_seconds(self):
        """What the process and all that it has started have computed so far."""
        ticks = 0
        for path in glob.glob('/proc/[0-9]*/stat'):
            try:
                with open(path) as line:
                    fields = line.read().rpartition(')')[2].split()
            except OSError:    # it has ended
                continue
            if int(fields[2]) == self._process.pid:    # its process group
                ticks += sum(map(int, fields[11:13]))
        return ticks / TICKS

    @property
    def disturbance(self):
        """The part of the machine's cores that other processes used during the bursts so far."""
        return min(max(self._others / self._core_seconds, 0.), 1.)

    def peak(self):
        """GFLOP/s of a large matrix product in this worker."""
        return self._ask(do='peak')['peak']

    def peak_memory(self):
        """The largest resident memory so far, in bytes."""
        with open('/proc/%d/status' % self._process.pid) as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))

    def kill(self):
        """Ends the worker and everything it has started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def _seconds_of_others(self):
        """The seconds that the cores have computed, or were kept from it, for other processes than this worker."""
        with open('/proc/stat') as lines:
            user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / TICKS - self.cpu_seconds

    def _ask(self, **command):
        self._process.stdin.write(json.dumps(command) + '\n')
        self._process.stdin.flush()
        os.killpg(self._process.pid, signal.SIGCONT)
        answer = self._read()
        self._stop()
        return answer

    def _stop(self):
        """Returns when the process has stopped, or ended."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _read(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        with open(self._log, errors='replace') as lines:
            last = [text.strip() for text in lines if text.strip()][-1:]
        raise WorkerFailed('%s: ended with status %d: %s' % (
            self.name, self._process.returncode, ''.join(last) or 'it printed nothing'), self._process.returncode)
