"""The loss of each network after some training steps in every emulated precision mode: see test/precision.sh.

Every run of a network has the same initial weights and the same synthetic batches, so what differs is the rounding.
"""
import argparse
import contextlib
import os
import sys
from typing import Iterator, Tuple

import tensorflow as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from core import recipe as recipes  # noqa: E402
from launchers.devices import CPU  # noqa: E402
from core.ascend import switches  # noqa: E402
from core.run import Communicator, Step  # noqa: E402
from core.settings import config, flags  # noqa: E402
from core.training import step  # noqa: E402
from launchers.networks.registry import recipe_of  # noqa: E402

# Small batches, so that an emulated step takes seconds at most.
BATCHES = {'cspnet': 4, 'alexnet': 4, 'sesemi': 4, 'swa': 64, 'cutmix': 16}
MODES = [  # (chip, mode); the names of --precision_mode_v2 are other words for these
    ('910', 'must_keep_origin_dtype'), ('910', 'force_fp32'), ('910', 'allow_fp32_to_fp16'),
    ('910', 'allow_mix_precision'), ('910', 'force_fp16'),
    ('910B', 'allow_mix_precision'), ('910B', 'force_fp16'), ('910B', 'allow_fp32_to_bf16'),
    ('910B', 'allow_mix_precision_bf16')]


@contextlib.contextmanager
def training(network: str, steps: int, *switch: str) -> Iterator[Tuple[Step, tf.train.SingularMonitoredSession]]:
    """The step of a training of so many `steps`, and a session in which it begins; `switch`: further flags of the run.
    """
    recipe, given = recipe_of(flags.parse([
        '--network=' + network, '--case=performance', '--train_steps=%d' % steps,
        '--batch_size=%d' % BATCHES[network], *switch]), {})
    data, settled = recipes.load(recipe, config.resolve(recipe, given, {}))
    options = switches.switch_options(settled)
    with tf.Graph().as_default():
        tf.set_random_seed(settled.seed)
        train_input = recipe.train_input(data, settled)
        with CPU.graph(settled, options):
            built = step.build(recipe, settled, CPU, Communicator(), train_input.batch, steps, train_input.batches,
                               options)
        with tf.train.SingularMonitoredSession(config=CPU.session_config(options, settled)) as session:
            train_input.initialize(session.raw_session())
            yield built, session


def loss_after(network: str, steps: int, *switch: str) -> float:
    """The loss of the batch of step number `steps`, before its update; `switch`: further flags of the run."""
    with training(network, steps, *switch) as (built, session):
        for _ in range(steps):
            loss, _ = session.run([built.loss, built.train_op])
        return loss


def main() -> None:
    """Prints a row of the table for each network and mode."""
    parser = argparse.ArgumentParser()
    parser.add_argument('network', nargs='*', default=list(BATCHES), metavar='NETWORK')
    parser.add_argument('--steps', type=int, default=20)
    asked = parser.parse_args()
    if not set(asked.network) <= set(BATCHES):
        parser.error('NETWORK must be one of ' + ', '.join(BATCHES))
    sys.stdout, log = sys.stderr, sys.stdout       # what the runs say
    for network in asked.network:
        plain = loss_after(network, asked.steps)
        rows = [('', 'none', plain)] + [(chip, mode, loss_after(
            network, asked.steps, '--emulate_chip=' + chip, '--precision_mode=' + mode)) for chip, mode in MODES]
        for chip, mode, loss in rows:
            print('| %s | %s | %s | %.6f | %+.1e |' % (network, chip, mode, loss, loss - plain), file=log, flush=True)


if __name__ == '__main__':
    main()
