"""Which type each operator has in a precision mode on a chip, and why: python3 -m launchers precision --network=cspnet
--precision_mode=allow_mix_precision --emulate_chip=910B [--use_mixlist=True --mixlist_file=FILE.json].

Takes the switches of training, builds the training step without running it, and prints how many operators of each type
have which operands and result, then every operator.
"""
import collections
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'precision'] + sys.argv[1:])

import tensorflow as tf

from core import operators
from core.ascend.diagnostics.step_graph import operators as computed_by
from core.ascend.emulation import rehearsal
from core.errors import InputError
from core.ranks.communicator import Communicator
from core.recipe import Recipe, load
from core.settings.config import Config
from core.training import step
from launchers import command
from launchers.devices import CPU

USAGE = command.Usage(
    'python3 -m launchers precision --network=NAME --precision_mode=MODE --emulate_chip=CHIP [--flag=value ...]',
    'Prints the type of each operator of a training step in a precision mode on a chip, and why. All flags of training '
    'are taken.', shared=(
        'network', 'precision_mode', 'precision_mode_v2', 'emulate_chip', 'use_mixlist', 'mixlist_file', 'npu_option',
        'batch_size', 'task', 'trunk', 'data_path'))
_LINE = '%-32s %-10s %-10s %-44s %s'


def act(recipe: Recipe, config: Config) -> None:
    """Prints the table of a training step on this machine, whatever device it has."""
    config = config._replace(emulate_precision=True)
    options = CPU.options(config)
    data, config = load(recipe, config)
    with tf.Graph().as_default():
        train_input = recipe.train_input(data, config)
        with CPU.graph(config, options):
            built = step.build(recipe, config, CPU, Communicator(), train_input.batch, config.train_steps or 1,
                               train_input.batches, options)
        done = rehearsal.of_graph()
        if not done.choices:
            raise InputError('--precision_mode: leaves every operator as it is, or is not emulated; see the line above')
        ops = [op for op in computed_by([built.train_op]) if op in done.choices]
        rows = [_row(op, done) for op in ops]
    counts = collections.Counter(row[:-1] for row in rows)
    print(_LINE % ('type on the chip', 'operands', 'result', 'why', 'operators'))
    for row, count in sorted(counts.items()):
        print(_LINE % (*row, count))
    print()
    print(_LINE % ('type on the chip', 'operands', 'result', 'why', 'operator'))
    for op, row in zip(ops, rows):
        print(_LINE % (*row[:3], done.choices[op].reason, row[-1]))


def _row(op, done):
    """(type on the chip, type of the operands, of the result, the kind of reason, name)."""
    choice = done.choices[op]
    operands, result = (done.rules.narrow if narrow else 'float32' for narrow in (choice.takes, choice.gives))
    kind, after, _ = choice.reason.partition(', after ')
    why = kind + after + ('what is %s' % operands if after else '')
    return operators.row(op.type).chip, operands, result, why, op.name


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status."""
    return command.run(act, argv, environ, USAGE)
