"""Which type each operator has in a precision mode on a chip, and why: python3 -m launchers precision --network=cspnet
--precision_mode=allow_mix_precision --emulate_chip=910B [--use_mixlist=True --mixlist_file=FILE.json].

Takes the switches of training, builds the training step without running it, and prints how many operators of each type
have which operands and result, then every operator. --graph=FILE: where the chip of a real run gave other types.
--search: what has to stay in float32.
"""
import collections
import os
import sys
from typing import Any, Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'precision'] + sys.argv[1:])

import tensorflow as tf

from core import operators
from core.ascend.chip_operators import chip_type
from core.ascend.diagnostics import chip_graph
from core.ascend.diagnostics.step_graph import operators as computed_by
from core.ascend.emulation import disagreement, rehearsal
from core.ascend.emulation.emulation import Emulation
from core.errors import InputError
from core.recipe import Recipe, load
from core.settings import kinds
from core.settings.config import Config
from core.settings.table import Switch
from launchers import command, search
from launchers.devices import CPU
from launchers.rehearsed import training_step

_OWN = (
    Switch('precision', 'graph', kinds.file_path(), None,
           'graph of a real run, ge_proto_..._Build.txt or atc\'s JSON of it: print where its types differ; exit '
           'status 1 when one does'),
    Switch('precision', 'search', kinds.boolean(), False,
           'find the fewest operators that have to stay in float32, and write the files that keep them there'),
    Switch('precision', 'closeness', kinds.number(above=0), .1,
           'of --search: the largest relative difference of loss and gradients from float32 that is near enough'),
    Switch('precision', 'search_steps', kinds.whole(least=1, most=1000), 2, 'of --search: steps that are compared'),
    Switch('precision', 'search_minutes', kinds.number(above=0), None,
           'of --search: after so many minutes it writes what is enough so far; unset: until nothing can be left out'),
    Switch('precision', 'search_output', kinds.path(), '.', 'of --search: directory for the files'))
USAGE = command.Usage(
    'python3 -m launchers precision --network=NAME --precision_mode=MODE --emulate_chip=CHIP [--flag=value ...]',
    'Prints the type of each operator of a training step in a precision mode on a chip, and why. All flags of training '
    'are taken.', _OWN, (
        'network', 'precision_mode', 'precision_mode_v2', 'emulate_chip', 'use_mixlist', 'mixlist_file', 'npu_option',
        'batch_size', 'task', 'trunk', 'data_path'))
_OF_SEARCH = 'closeness', 'search_steps', 'search_minutes', 'search_output'
_LINE = '%-32s %-10s %-10s %-44s %s'
DIFFERENT = 1                  # exit status when the chip gave an operator another type


def act(recipe: Recipe, config: Config, **given: Any) -> int:
    """Prints the table of a training step on this machine, whatever device it has, or what the flags choose."""
    asked = {row.name: given.get(row.name, row.default) for row in USAGE.own}
    for name in given:
        if name in _OF_SEARCH and not asked['search']:
            raise InputError('--%s: needs --search' % name)
        if name == 'graph' and asked['search']:
            raise InputError('--graph: not together with --search')
    config = config._replace(emulate_precision=True)
    options = CPU.options(config)
    rules = rehearsal.rules_of(config, options)
    if rules is None or rules.changes_nothing:
        raise InputError('--precision_mode: this mode %s; choose another one' % (
            'is not emulated' if rules is None else 'leaves every operator as it is'))
    chip = chip_graph.read(asked['graph']) if asked['graph'] else None
    print('types and kernels: %s' % (', '.join(rules.cann.paths) if rules.cann else operators.TABLE))
    data, config = load(recipe, config)
    if asked['search']:
        return search.run(recipe, config, options, data, rules, search.Asked(
            asked['closeness'], asked['search_steps'], asked['search_minutes'], asked['search_output']))
    with training_step(recipe, config, options, data, rules) as rehearsed:
        done = rehearsed.emulation
        ops = [op for op in computed_by([rehearsed.step.train_op]) if op in done.choices]
        if chip:
            rows, missing = disagreement.rows(done, ops, chip)
            print('\n'.join(disagreement.lines(rows, missing)))
            return DIFFERENT if not all(row.agrees for row in rows) else 0
        _print_table(ops, done)
    return 0


def _print_table(ops: Sequence[tf.Operation], done: Emulation) -> None:
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
    return chip_type(op.type), operands, result, why, op.name


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the command; returns its exit status."""
    return command.run(act, argv, environ, USAGE)
