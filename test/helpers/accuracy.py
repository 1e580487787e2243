"""Trains networks on crops of photographs and compares what they reach with thresholds: see test/accuracy.sh.

A check names the flags of a run, what to read in its log and the threshold, and a fault that the threshold is there to
find. The thresholds were set from three seeds, with a margin, between what a sound network and a faulty one reach.
"""
import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
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
    figure: str            # regular expression with a group; of its matches the last one counts
    threshold: float
    sign: int              # 1: the figure must not be below the threshold, -1: not above
    write: Callable        # write(folder, seed): the data set
    fault: Any             # a context manager under which the network is faulty, or flags that make it so


class Copy(io.StringIO):
    """Keeps a log and shows it on standard error at once."""

    def write(self, text):
        sys.stderr.write(text)
        return super().write(text)


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
    return mock.patch.object(alexnet, 'CROPS_AN_EPOCH', 1)


AVERAGE = r'([\d.]+) for the average of'   # the accuracy of averaged weights

CHECKS = {
    'cspnet': Check(['--train_epochs=10', '--val_epoch=10'], r'^Validation accuracy: (\S+)', 0.9, 1,
                    small_cifar10(3200, 1000), he_initialisation),
    'cutmix': Check(['--train_epochs=15', '--val_epoch=15'], r' - val_loss: (\S+) - val_accuracy', 0.5, -1,
                    small_cifar10(1600, 500), labels_not_mixed),
    'sesemi': Check(['--trunk=nin', '--labels=100', '--batch_size=4', '--train_epochs=10'],
                    r'^classification error rate: (\S+)', 0.4, -1,
                    small_cifar10(1600, 500), ['--unlabeled=all', '--train_steps=250']),
    'swa': Check(['--network=cutmix', '--train_epochs=6', '--val_epoch=6', '--swa_start_epoch=2'],
                 AVERAGE, 0.6, 1, small_cifar10(1600, 500), statistics_not_renewed),
    'alexnet': Check(['--train_epochs=4', '--batch_size=20'], r'^progress : .* loss :(\S+)', 0.3, -1,
                     lambda folder, seed: photographs.write_cats_dogs(folder, 100, seed=seed), a_tenth_of_the_updates),
}


# Of the check `precision`: the run, the precisions in which it is made, and how near in accuracy mixed precision has to
# be to float32, and how far below it force_fp16.
PRECISION_RUN = ['--cutmix_alpha=0', '--train_epochs=5', '--val_epoch=5', '--swa_start_epoch=2']
PRECISION = {'float32': [], 'mixed precision': ['--precision_mode=allow_mix_precision', '--loss_scale=True'],
             'force_fp16': ['--precision_mode=force_fp16']}
NEAR, FAR = 0.01, 0.05


def precision_holds(seed: int) -> bool:
    """Prints what the runs of PRECISION reach; whether mixed precision is near float32 and force_fp16 far below it."""
    name, figure, write = 'cutmix', AVERAGE, small_cifar10(1600, 500)
    reached = {mode: train_and_read(name, PRECISION_RUN + flags, figure, write, seed)
               for mode, flags in PRECISION.items()}
    plain, mixed, half = reached.values()
    holds = abs(mixed - plain) <= NEAR and half < plain - FAR
    print('precision, seed %d: %s, which is %sas predicted' % (
        seed, ', '.join('%s %.4f' % item for item in reached.items()), '' if holds else 'not '), flush=True)
    return holds


def measure(network: str, seed: int, faulty: bool) -> float:
    """The figure that a run of the check reaches; its log goes to standard error."""
    check = CHECKS[network]
    flags, context = check.flags, contextlib.nullcontext()
    if faulty and callable(check.fault):
        context = check.fault()
    elif faulty:
        flags = flags + check.fault
    with context:
        return train_and_read(network, flags, check.figure, check.write, seed)


def train_and_read(network: str, flags: List[str], figure: str, write: Callable, seed: int) -> float:
    """The last match of `figure` in the log of a run with these flags."""
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(Copy()) as log:
        data = os.path.join(place, 'data')
        write(data, seed)
        status = command.run(train.act, [
            *(['--network=' + network] if not flags[0].startswith('--network') else []), *flags, '--save_interval=1000',
            '--seed=%d' % (seed + 1), '--data_path=' + data, '--output_path=' + os.path.join(place, 'out')], {})
    found = re.findall(figure, log.getvalue(), re.M)
    assert status == 0 and found, 'the run of %s ended with status %d' % (network, status)
    return float(found[-1])


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
    for network in asked.network:
        if network == 'precision':
            wrong += not precision_holds(asked.seed)
            continue
        check, figure = CHECKS[network], measure(network, asked.seed, asked.fault)
        passes = check.sign * figure >= check.sign * check.threshold
        wrong += passes == asked.fault
        relation = {(True, 1): 'at least', (False, 1): 'below', (True, -1): 'at most', (False, -1): 'above'}
        print('%s%s, seed %d: %.4f, which is %s %.4g' % (
            network, ' with its fault' if asked.fault else '', asked.seed, figure, relation[passes, check.sign],
            check.threshold), flush=True)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
