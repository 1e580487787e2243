"""Trains networks on crops of photographs and compares what they reach with thresholds: see test/accuracy.sh.

A check names the flags of a run, what to read in its log and the threshold, and a fault that the threshold is there to
find. The thresholds lie between what a sound network and a faulty one were measured to reach, with a margin on both
sides.
"""
import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import time
from typing import Any, Callable, List, NamedTuple
from unittest import mock

import photographs

sys.path.insert(0, photographs.ROOT)

from core.training import statistics  # noqa: E402
from data import cutmix  # noqa: E402
from launchers import command, train  # noqa: E402
from launchers.networks import alexnet  # noqa: E402
from nets import cspdarknet53, layers  # noqa: E402


class Check(NamedTuple):
    """One network's run and what it must reach."""
    flags: List[str]
    figure: Callable       # figure(log) -> what the run reached
    threshold: float
    sign: int              # 1: the figure must not be below the threshold, -1: not above
    write: Callable        # write(folder, seed): the data set
    fault: Any             # a context manager under which the network is faulty, or flags that make it so


class Copy(io.StringIO):
    """Keeps a log and shows it on standard error at once."""

    def write(self, text):
        sys.stderr.write(text)
        return super().write(text)


def last(pattern: str) -> Callable:
    """figure() that reads the number in the last match of a regular expression."""
    return lambda log: float(re.findall(pattern, log, re.M)[-1])


def difference(pattern: str) -> Callable:
    """figure() of the last match of a regular expression: its first number minus its second."""
    def figure(log):
        first, second = re.findall(pattern, log, re.M)[-1]
        return float(first) - float(second)
    return figure


def error_of_the_published_method(log: str) -> float:
    """SESEMI's error where an epoch is a pass over the labelled images; 1 where it is not, because the error of a short
    run is the same for both methods."""
    return last(r'^classification error rate: (\S+)')(log) if re.search(r'^25/25 ', log, re.M) else 1.


def small_cifar10(train_count: int, test_count: int) -> Callable:
    """write() of a CIFAR-10 of so many crops."""
    return lambda folder, seed: photographs.write_cifar10(folder, train_count, test_count, seed)


def he_initialisation():
    """cspdarknet53 as it was: He's initialisation at the learning rate of another one."""
    return mock.patch.object(cspdarknet53, 'INITIAL', layers.HE_NORMAL)


def labels_not_mixed():
    """CutMix that pastes pixels and leaves the labels alone."""
    def mix(images, labels, cut, mix=cutmix.mix):
        return mix(images, labels, cut)[0], labels
    return mock.patch.object(cutmix, 'mix', mix)


def statistics_not_renewed():
    """An average of weights that keeps the batch-norm statistics of the last iterate."""
    def over(renewal, session, first, count, over=statistics.Renewal.over):
        if first:                      # the pass for the average begins with the first batch
            over(renewal, session, first, count)
    return mock.patch.object(statistics.Renewal, 'over', over)


def a_tenth_of_the_updates():
    """AlexNet with one crop of each photograph an epoch."""
    return mock.patch.object(alexnet.data, 'CROPS_AN_EPOCH', 1)


CHECKS = {
    # The vendor's loss, which has the weight decay in it: 2.8 before training. With He's initialisation the network
    # learns these few textures, too, but its weight decay is 17 times the vendor's and stays so.
    'cspnet': Check(['--network=cspnet', '--train_epochs=2'],
                    last(r'Loss: (\S+) Training accuracy'), 4., -1, small_cifar10(800, 200), he_initialisation),
    # Test images are easier than mixed ones, whose loss is the entropy of their labels at least.
    'cutmix': Check(['--network=cutmix', '--train_epochs=8'],
                    difference(r' - loss: (\S+) - accuracy: \S+ - val_loss: (\S+)'), 0.48, 1,
                    small_cifar10(1600, 500), labels_not_mixed),
    'sesemi': Check(['--network=sesemi', '--trunk=nin', '--labels=100', '--batch_size=4', '--train_steps=40'],
                    error_of_the_published_method, 0.6, -1, small_cifar10(1600, 500), ['--unlabeled=all']),
    # The accuracy of the last iterate minus that of the average. In a deep network the errors of the statistics add up.
    'swa': Check(['--network=cspnet', '--train_epochs=5', '--swa_start_epoch=3'],
                 difference(r'accuracy (\S+) for the last iterate, (\S+) for the average'), 0.08, -1,
                 small_cifar10(1600, 500), statistics_not_renewed),
    'alexnet': Check(['--network=alexnet', '--train_epochs=3', '--batch_size=20'],
                     last(r'^train accuracy (\S+)'), 68., 1,
                     lambda folder, seed: photographs.write_cats_dogs(folder, 100, seed=seed), a_tenth_of_the_updates),
}


# Of the check `precision`: the run and the precisions in which it is made, all from the same weights. Mixed precision
# has to end as near as NEAR to the accuracy of float32; the training loss of float16 alone has to be FAR times that of
# float32 at least.
PRECISION_RUN = ['--network=cutmix', '--cutmix_alpha=0', '--train_epochs=5', '--swa_start_epoch=2']
FLOAT32, MIXED, FLOAT16 = 'float32', 'mixed precision', 'force_fp16'
PRECISION = {FLOAT32: [], MIXED: ['--precision_mode=allow_mix_precision', '--loss_scale=True'],
             FLOAT16: ['--precision_mode=force_fp16']}
NEAR, FAR = 0.01, 1.2


def precision_holds(seed: int) -> bool:
    """Prints what the runs of PRECISION reach; whether mixed precision is near float32 and float16 alone is not."""
    logs = {mode: log_of(PRECISION_RUN + flags, small_cifar10(1600, 500), seed) for mode, flags in PRECISION.items()}
    accuracy = {mode: last(r'(\S+) for the average of')(log) for mode, log in logs.items()}
    loss = {mode: last(r'- loss: (\S+) - accuracy')(log) for mode, log in logs.items()}
    is_near, is_far = abs(accuracy[MIXED] - accuracy[FLOAT32]) <= NEAR, loss[FLOAT16] >= FAR * loss[FLOAT32]
    print('precision, seed %d: %s; %s is %snear float32, %s is %sfar from it' % (
        seed, ', '.join('%s accuracy %.4f, loss %.4f' % (mode, accuracy[mode], loss[mode]) for mode in PRECISION),
        MIXED, '' if is_near else 'not ', FLOAT16, '' if is_far else 'not '), flush=True)
    return is_near and is_far


def measure(name: str, seed: int, faulty: bool) -> float:
    """The figure that a run of the check reaches."""
    check = CHECKS[name]
    flags, context = check.flags, contextlib.nullcontext()
    if faulty and callable(check.fault):
        context = check.fault()
    elif faulty:
        flags = flags + check.fault
    with context:
        return check.figure(log_of(flags, check.write, seed))


def log_of(flags: List[str], write: Callable, seed: int) -> str:
    """The log of a run with these flags, which is shown on standard error, too."""
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(Copy()) as log:
        data = os.path.join(directory, 'data')
        write(data, seed)
        status = command.run(train.act, [
            *flags, '--val_epoch=1000', '--save_interval=1000', '--seed=%d' % (seed + 1), '--data_path=' + data,
            '--output_path=' + os.path.join(directory, 'out')], {})
    assert status == 0, 'the run with %s ended with status %d' % (' '.join(flags), status)
    return log.getvalue()


def main() -> int:
    """Prints a line for each network; 0 when all are as they should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument('network', nargs='*', default=list(CHECKS), metavar='NETWORK')
    parser.add_argument('--fault', action='store_true')
    parser.add_argument('--seed', type=int, default=0)
    asked = parser.parse_args()
    if not set(asked.network) <= {'precision', *CHECKS}:
        parser.error('NETWORK must be precision or one of ' + ', '.join(CHECKS))
    wrong = 0
    for name in asked.network:
        if name == 'precision':
            wrong += not precision_holds(asked.seed)
            continue
        check, started = CHECKS[name], time.time()
        figure = measure(name, asked.seed, asked.fault)
        passes = check.sign * figure >= check.sign * check.threshold
        wrong += passes == asked.fault
        relation = {(True, 1): 'at least', (False, 1): 'below', (True, -1): 'at most', (False, -1): 'above'}
        print('%s%s, seed %d: %.4f, which is %s %.4g; %d s' % (
            name, ' with its fault' if asked.fault else '', asked.seed, figure, relation[passes, check.sign],
            check.threshold, time.time() - started), flush=True)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
