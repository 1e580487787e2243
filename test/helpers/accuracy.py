"""Trains networks on crops of photographs; a loss of each must fall below half: see test/accuracy.sh.

A check names the flags of a short run, the loss to read in its log, and a fault with which this loss stays above half.
The runs learn a few images by heart, or classes that are easy to tell, so that every sound network gets there.
"""
import argparse
import contextlib
import functools
import io
import math
import os
import re
import sys
import tempfile
import time
from typing import Any, Callable, NamedTuple, Tuple
from unittest import mock

import photographs
import tensorflow as tf

sys.path.insert(0, photographs.ROOT)

from core.training import evaluation  # noqa: E402
from data import cutmix  # noqa: E402
from launchers import command, train  # noqa: E402
from launchers.networks import alexnet  # noqa: E402
from nets import cspdarknet53, layers  # noqa: E402


MOST = 0.5      # of a loss may be left


class Check(NamedTuple):
    """One network's run and what it must reach."""
    flags: Tuple[str, ...]
    left: Callable         # left(log) -> the loss that is left, as a part of the first one or of that of a guess
    write: Callable        # write(folder, seed): the data set
    fault: Any             # a context manager under which the network is faulty, or flags that make it so


class Copy(io.StringIO):
    """Keeps a log and shows it on standard error at once."""

    def write(self, text):
        sys.stderr.write(text)
        return super().write(text)


def last(pattern: str) -> Callable:
    """read(log) -> the number in the last match of a regular expression."""
    return lambda log: float(re.findall(pattern, log, re.M)[-1])


def of_the_first(first: str, pattern: str) -> Callable:
    """left() that divides the last match of a regular expression by the first match of another."""
    return lambda log: last(pattern)(log) / float(re.findall(first, log, re.M)[0])


def of_a_guess(classes: int, pattern: str) -> Callable:
    """left() that divides the last match of a regular expression by the loss of a guess among so many classes."""
    return lambda log: last(pattern)(log) / math.log(classes)


def of_the_published_method(log: str) -> float:
    """What is left of SESEMI's supervised loss; 1 where an epoch is not a pass over the labelled images, because the
    losses of a short run are the same for both methods."""
    pattern = r'^5/5 .* super_clf_loss: (\S+)'
    return of_the_first(pattern, pattern)(log) if re.search(pattern, log, re.M) else 1.


def small_cifar10(train_count: int, test_count: int) -> Callable:
    """write() of a CIFAR-10 of so many crops."""
    return lambda folder, seed: photographs.write_cifar10(folder, train_count, test_count, seed)


def pages_and_galaxies(folder: str, seed: int) -> None:
    """write() of 20 JPEG files of two classes."""
    photographs.write_cats_dogs(folder, 20, seed=seed, cats=['page.png'], dogs=['hubble_deep_field.jpg'])


def he_initialisation():
    """cspdarknet53 as it was: He's initialisation at the learning rate of another one."""
    return mock.patch.object(cspdarknet53, 'INITIAL', layers.HE_NORMAL)


def labels_of_the_partner():
    """CutMix whose labels are mixed the wrong way round: lambda is the part of the box, not of what stays."""
    def mix(images, labels, cut, mix=cutmix.mix):
        mixed, shares = mix(images, labels, cut)
        return mixed, labels + tf.gather(labels, cut.partner) - shares
    return mock.patch.object(cutmix, 'mix', mix)


def statistics_not_renewed():
    """An evaluation with the moving averages of batch-norm statistics, which lag behind."""
    return mock.patch.object(evaluation.Renewal, 'over', lambda *given: None)


def a_tenth_of_the_updates():
    """AlexNet with one crop of each photograph an epoch."""
    return mock.patch.object(alexnet.data, 'CROPS_AN_EPOCH', 1)


# 30 images that are learned by heart, and the average of the last weights.
BY_HEART = ('--network=cspnet', '--batch_size=30', '--learning_rate=0.005', '--train_epochs=18', '--swa_start_epoch=14',
            '--display_step=1')
THIRTY = small_cifar10(30, 0)
LOSS = r'Loss: (\S+) Training accuracy'

CHECKS = {
    # The vendor's loss, which has the weight decay in it. With He's initialisation the network learns these few
    # images, too, but its weight decay is 17 times the vendor's and stays so.
    'cspnet': Check(BY_HEART, of_the_first(LOSS, LOSS), THIRTY, he_initialisation),
    # The losses of the last iterate and of the average on the same images, the larger one. In a deep network the errors
    # of the statistics add up.
    'swa': Check(BY_HEART, lambda log: max(of_the_first(LOSS, pattern)(log) for pattern in (
        r'; loss (\S+) and', r'; loss \S+ and (\S+)$')), THIRTY, statistics_not_renewed),
    'cutmix': Check(('--network=cutmix', '--train_epochs=8'), of_a_guess(10, r' - val_loss: (\S+)'),
                    small_cifar10(500, 100), labels_of_the_partner),
    # Mixed precision with a dynamic loss scale. A scale that takes every gradient beyond float16 skips all steps.
    'precision': Check(('--network=cutmix', '--cutmix_alpha=0', '--train_epochs=6', '--loss_scale=True',
                        '--precision_mode=allow_mix_precision'), of_a_guess(10, r' - val_loss: (\S+)'),
                       small_cifar10(500, 100), ('--loss_scale=%d' % 2 ** 32,)),
    'sesemi': Check(('--network=sesemi', '--trunk=nin', '--labels=20', '--batch_size=4', '--train_steps=30',
                     '--test_copies=1'), of_the_published_method, small_cifar10(200, 50), ('--unlabeled=all',)),
    # Pages of text against galaxies: with photographs that are harder to tell the loss leaves that of a guess late.
    'alexnet': Check(('--network=alexnet', '--train_epochs=3', '--batch_size=12'), of_a_guess(2, r'  loss :(\S+)'),
                     pages_and_galaxies, a_tenth_of_the_updates),
}


def measure(check: Check, seed: int, faulty: bool) -> float:
    """The part of its loss that a run of the check has left."""
    if not faulty:
        return check.left(log_of(check.flags, check.write, seed))
    with check.fault() if callable(check.fault) else contextlib.nullcontext():
        flags = check.flags + (() if callable(check.fault) else check.fault)
        return check.left(log_of.__wrapped__(flags, check.write, seed))


@functools.lru_cache(None)             # two checks may look at one run
def log_of(flags: Tuple[str, ...], write: Callable, seed: int) -> str:
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
    """Prints a line for each run and a table of the worst of several seeds; 0 when all are as they should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument('check', nargs='*', default=list(CHECKS), metavar='CHECK')
    parser.add_argument('--fault', action='store_true')
    parser.add_argument('--seed', type=int, default=0, help='the first')
    parser.add_argument('--seeds', type=int, default=1, help='how many')
    asked = parser.parse_args()
    if not set(asked.check) <= set(CHECKS):
        parser.error('CHECK must be one of ' + ', '.join(CHECKS))
    wrong, found = 0, {}
    for seed in range(asked.seed, asked.seed + asked.seeds):
        for name in asked.check:
            began = time.process_time()
            left = measure(CHECKS[name], seed, asked.fault)
            found.setdefault(name, []).append(left)
            wrong += (left <= MOST) == asked.fault
            print('%s%s, seed %d: %.3f is left, %g may be; %d s of CPU' % (
                name, ' with its fault' if asked.fault else '', seed, left, MOST,
                time.process_time() - began), flush=True)
    if asked.seeds > 1:
        print('| check | left | worst | best | seeds |\n|---|---|---|---|---|')
        relation, worst, best = ('>', min, max) if asked.fault else ('<=', max, min)
        for name, figures in found.items():
            print('| %s | %s %g | %.3f | %.3f | %d |' % (
                name, relation, MOST, worst(figures), best(figures), len(figures)))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
