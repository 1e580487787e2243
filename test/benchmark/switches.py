"""What a switch costs off an NPU: a step of the trainer under it beside a plain one."""
import os
import time
from statistics import median

import results
from turns import WorkerFailed

PLAIN, DUMP = 'plain', 'data_dump_flag'
MANY = 10 ** 6
_MODES = {mode: ['--precision_mode=' + mode] for mode in ('allow_mix_precision', 'force_fp16')}
FLAGS = {
    **_MODES, **{mode + ', loss_scale': flags + ['--loss_scale=True'] for mode, flags in _MODES.items()},
    # Without the recipe's precision mode, which over_dump would emulate, too.
    'over_dump': ['--over_dump=True', '--emulate_precision=False'],
    DUMP: ['--data_dump_flag=True', '--data_dump_step=1-%d'],      # the last step
    'profiling': ['--profiling=True', '--profiling_steps=1-%d' % MANY]}
WARMUP_STEPS = 2               # each of another graph; where it is dumped or profiled, the second is the first that is
CHUNK = bytes(2 ** 24)         # of what is written to see how fast the disk is


def measure(start, warm_up, repeats, seconds):
    """{switch: its figures, which text() shows}, of bursts that take turns with bursts of plain steps.

    start(name, flags) -> a Worker that is ready; its files lie in the directory `worker.output`.
    warm_up: (steps, seconds) of the first burst; seconds: of each other one.
    """
    found = {}
    plain = start(PLAIN, [])
    try:
        plain.burst(*warm_up)
        for name, flags in FLAGS.items():
            burst = (1, MANY) if name == DUMP else (MANY, seconds)      # a step of it leaves much behind
            try:
                worker = start(name, [flag % (repeats + 1) if '%' in flag else flag for flag in flags])
            except WorkerFailed as failure:    # such as a dump that has no room on the disk
                found[name] = dict(failure=str(failure))
                continue
            try:
                worker.burst(WARMUP_STEPS, MANY)
                if name != DUMP:
                    worker.burst(*warm_up)
                rounds = [(median(plain.burst(MANY, seconds)), median(worker.burst(*burst))) for _ in range(repeats)]
                found[name] = dict(
                    plain=median(each for each, _ in rounds), seconds=median(under for _, under in rounds),
                    ratio=results.spread(rounds, lambda pair: pair[1] / pair[0]),
                    disturbance=max(plain.disturbance, worker.disturbance))
            finally:
                worker.kill()
            if name == DUMP:
                found[name]['disk'] = _disk(worker.output, repeats + 1, found[name]['seconds'])
        return found
    finally:
        plain.kill()


def _disk(directory, steps, seconds):
    """(bytes of a dump, bytes a second that dumping them is, bytes a second that the disk takes when it gets as many).

    Until they are on the disk: the system itself takes them at the speed of its memory, but only a few dumps.
    """
    size = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(
        os.path.join(directory, 'data_dump')) for name in names) / steps
    started = time.perf_counter()
    with open(os.path.join(directory, 'written'), 'wb') as file:
        for _ in range(int(size / len(CHUNK)) + 1):
            file.write(CHUNK)
        written = file.tell()
        os.fsync(file.fileno())
    return size, size / seconds, written / (time.perf_counter() - started)


def text(measured):
    """Lines about a network for a terminal."""
    known = [each for each in measured['switches'].values() if 'failure' not in each]
    lines = ['%s: a plain step takes %.4g ms; a step under a switch, and how many times as long it is' % (
        measured['network'], 1000 * median(each['plain'] for each in known))]
    for name, each in measured['switches'].items():
        if 'failure' in each:
            lines.append('  %-32s %s' % (name, each['failure']))
            continue
        least, middle, most = each['ratio']
        lines.append('  %-32s %9.1f ms   %.2f (%.2f-%.2f)' % (name, 1000 * each['seconds'], middle, least, most))
        if 'disk' in each:
            size, dumped, written = (number / 1e6 for number in each['disk'])
            lines[-1] += ': %.0f MB, %.0f MB/s; the disk %.0f MB/s' % (size, dumped, written)
    disturbance = max(each['disturbance'] for each in known)
    return '\n'.join(lines + results.disturbed(disturbance))
