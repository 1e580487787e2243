"""Notices that a run does not get on: python3 -m launchers stalls SECONDS RANK:PID:LOG ...

launchers/shell/ranks.sh starts it beside the trainers of this server, which write down what they do
(core/progress.py). The rank that is behind has a limit for its present work, and SECONDS (--stall_seconds) where its
process is stopped. Then a line on the screen and in every log names it; after as long again the exit status is
FIRST_STATUS + its index. The launcher then ends the trainers. Where the launcher was killed, this process does so.
"""
import contextlib
import os
import signal
import sys
import time
from typing import Dict, List, Mapping, NamedTuple, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'stalls'] + sys.argv[1:])

from core.progress import START_SECONDS, STEP

FIRST_STATUS = 64              # ranks.sh has the same number
_POLL_SECONDS = .5
_BUSY = .5                     # of a core
_STOPPED = 'Tt'                # the letters of /proc/PID/stat for a process that a signal or a debugger has stopped


class Trainer(NamedTuple):
    """A trainer of this server."""
    rank: str
    pid: int
    log: str


class RankState(NamedTuple):
    """What a trainer is doing."""
    step: int
    reached: int                   # exchanges with other ranks
    count: int                     # changes with every thing that it begins
    limit: float                   # seconds
    what: str
    letter: str                    # of /proc/PID/stat; '' when the process has ended
    ticks: int                     # of CPU time

    @property
    def position(self) -> Sequence[int]:
        """It changes when the trainer gets on, and is lower for a rank that others wait for."""
        return self.step, self.reached, self.count


def state_of(trainer: Trainer, directory: str) -> RankState:
    """What the trainer does now, by its file in `directory` and the kernel."""
    try:
        with open('/proc/%d/stat' % trainer.pid) as file:
            letter, *numbers = file.read().rpartition(')')[2].split()
        ticks = int(numbers[10]) + int(numbers[11])
    except OSError:
        letter, ticks = '', 0
    try:
        with open(os.path.join(directory, 'progress-' + trainer.rank)) as file:
            count, step, reached, limit, what = file.read().rstrip().split(' ', 4)
        return RankState(int(step), int(reached), int(count), float(limit), what, letter.strip('ZX'), ticks)
    except (OSError, ValueError):      # it has not begun to train
        return RankState(-1, 0, 0, START_SECONDS, 'starts', letter.strip('ZX'), ticks)


class Stalls:
    """Looks at the trainers again and again: look() is to be called every _POLL_SECONDS.

    seconds: --stall_seconds. Only time in which this process runs counts, so that a machine may sleep.
    """

    def __init__(self, trainers: Sequence[Trainer], directory: str, seconds: float):
        self._trainers, self._directory, self._seconds = trainers, directory, seconds
        self._states: Dict[Trainer, RankState] = {}
        self._still = dict.fromkeys(trainers, 0.)      # seconds since the last change
        self._warned = None                            # Trainer and its limit, from the line on until it gets on

    def look(self, elapsed: float) -> List[str]:
        """The lines about what has been found in the last `elapsed` seconds."""
        before, self._states = self._states, {
            trainer: state_of(trainer, self._directory) for trainer in self._trainers}
        for trainer, state in self._states.items():
            is_same = trainer in before and before[trainer].position == state.position
            self._still[trainer] = self._still[trainer] + elapsed if is_same else 0.
        running = [trainer for trainer in self._trainers if self._states[trainer].letter]
        if not running:
            return []
        behind = min(self._states[trainer].position[:2] for trainer in running)
        last = [trainer for trainer in running if self._states[trainer].position[:2] == behind]
        worst = next((trainer for trainer in last if self._is_stopped(trainer)), last[0])
        limit = self._seconds if self._is_stopped(worst) else self._states[worst].limit
        if self._warned:
            if self._still[self._warned[0]] < self._warned[1]:
                self._warned = None
                return ['the run gets on again']
            return []
        judged = [worst] if self._is_stopped(worst) else last
        if all(self._still[trainer] >= (limit if trainer is worst else self._states[trainer].limit)
               for trainer in judged):
            self._warned = worst, limit
            return ['no progress for %.0f seconds: %s; after as many again the run ends (--stall_seconds)' % (
                limit, self._described(worst, before.get(worst), len(last) > 1))]
        return []

    @property
    def stalled(self) -> int:
        """The index of the trainer that has not got on for twice its limit, -1 without one."""
        if self._warned and self._still[self._warned[0]] >= 2 * self._warned[1]:
            return self._trainers.index(self._warned[0])
        return -1

    @property
    def all_ended(self) -> bool:
        """Whether no trainer runs any more."""
        return not any(state.letter for state in self._states.values())

    def _is_stopped(self, trainer):
        return self._states[trainer].letter in _STOPPED

    def _described(self, trainer, before, are_several):
        state = self._states[trainer]
        if state.letter in _STOPPED:
            why = 'its process is stopped (kill -CONT %d lets it go on)' % trainer.pid
        elif before and state.ticks - before.ticks > _BUSY * _POLL_SECONDS * os.sysconf('SC_CLK_TCK'):
            why = 'its process computes'
        elif state.letter == 'D':
            why = 'it waits for a disk or a network file system'
        elif not state.what.startswith(STEP):
            why = 'it waits for a file or a device'
        elif are_several:
            why = 'like others it waits for its input, its device or another rank'
        else:
            why = 'it waits for its input or its device'
        return 'rank %s (process %d) is behind, %s: %s' % (trainer.rank, trainer.pid, state.what, why)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status; 0 when all trainers have ended."""
    seconds, *words = arguments
    trainers = [Trainer(rank, int(pid), log) for rank, pid, log in (word.split(':', 2) for word in words)]
    stalls, launcher = Stalls(trainers, environ['RANKS_DIRECTORY'], float(seconds)), int(environ['LAUNCHER_PID'])
    before = time.monotonic()
    while True:
        time.sleep(_POLL_SECONDS)
        if launcher and os.getppid() != launcher:
            launcher = 0
            _leave_screen()
        now = time.monotonic()
        for line in stalls.look(min(now - before, 2 * _POLL_SECONDS)):
            _tell(line, trainers)
        before = now
        if stalls.all_ended:
            if not launcher:
                _remove_meeting(environ['RANKS_DIRECTORY'], trainers)
            return 0
        if stalls.stalled < 0:
            continue
        if launcher:
            return FIRST_STATUS + stalls.stalled
        for trainer in trainers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(trainer.pid, signal.SIGKILL)


def _leave_screen():
    """Closes the launcher's output, so that its reader comes to the end of it."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)


def _remove_meeting(directory, trainers):
    """What the launcher would have removed, unless ranks of another launcher are in there."""
    with contextlib.suppress(OSError):
        for trainer in trainers:
            os.remove(os.path.join(directory, 'progress-' + trainer.rank))
        os.rmdir(directory)


def _tell(line, trainers):
    for path in ['/dev/stdout'] + [trainer.log for trainer in trainers]:
        with contextlib.suppress(OSError):     # a screen that is gone, a disk that is full
            with open(path, 'a') as file:
                file.write(line + '\n')
