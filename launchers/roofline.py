"""What will be slow on the chip: python3 -m launchers roofline --network=cspnet --precision_mode=allow_mix_precision
[--profile=op_summary.csv].

Builds the training step without running it. Prints for a 910 and a 910B the time that each type of operator needs at
best, beside the measured one of a profile; what padding costs the cube; how many images a second the input of this
machine delivers; and which of CANN's fusions the graph hits and misses, with the line of code that breaks the pattern.
"""
import os
import sys
import time
from typing import Any, List, Mapping, Optional, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'roofline'] + sys.argv[1:])

import tensorflow as tf

from core import operators
from core.ascend.chip_operators import Forms
from core.ascend.diagnostics import fusions, profile_files, roofline, step_graph
from core.ascend.emulation import rehearsal
from core.recipe import Recipe, load
from core.run import Input
from core.settings import kinds
from core.settings.config import Config
from core.settings.table import Switch
from launchers import command
from launchers.devices import CPU
from launchers.rehearsed import training_step

USAGE = command.Usage(
    'python3 -m launchers roofline --network=NAME [--precision_mode=MODE] [--profile=FILE] [--flag=value ...]',
    'Prints what each type of operator of a training step needs on a 910 and a 910B at best, and which of CANN\'s '
    'fusions the step hits and misses. All flags of training are taken.', (
        Switch('roofline', 'profile', kinds.file_path(), None,
               'op_summary_*.csv of a profile, of an NPU or of a rehearsal: its times stand beside those of the chips'),
        Switch('roofline', 'input_batches', kinds.whole(least=0, most=10 ** 6), 10,
               'batches that the input is timed with; 0: it is not')),
    ('network', 'precision_mode', 'precision_mode_v2', 'batch_size', 'task', 'trunk', 'data_path'))
_MOST = 20                     # types of operators that are printed


def act(recipe: Recipe, config: Config, **given: Any) -> None:
    """Prints the tables of a training step on this machine, whatever device it has."""
    asked = {row.name: given.get(row.name, row.default) for row in USAGE.own}
    config = config._replace(emulate_precision=True)
    options = CPU.options(config)
    rules = rehearsal.rules_of(config, options)
    measured = profile_files.seconds_by_type(asked['profile']) if asked['profile'] else {}
    data, config = load(recipe, config)
    with training_step(recipe, config, options, data, rules) as rehearsed:
        done = rehearsed.emulation
        ops = step_graph.operators([rehearsed.step.train_op])
        found = roofline.costs(ops, Forms(rehearsed.graph, done.types, done.wide))
        print('\n'.join(_table(found, measured)))
        print('\n'.join(_totals(found, config)))
        if asked['input_batches']:
            print(_input(rehearsed.input, config.batch_size, asked['input_batches'], found))
        print('\nCANN\'s fusions')
        print('\n'.join(fusions.lines(fusions.find(ops, lambda op: done.types.get(op.outputs[0]) is not None))))


def _table(found: Sequence[roofline.Cost], measured: Mapping[str, float]) -> List[str]:
    """A line for each type of operator; the type that takes a 910 longest comes first."""
    chips = list(roofline.PEAKS)
    names = ['%s us' % chip for chip in chips] + ['measured us'] * bool(measured)
    lines = ['%-28s %6s %9s %9s %s  %s' % ('type on the chip', 'count', 'GFLOP', 'MB', ' '.join(
        '%12s' % name for name in names), 'bound by')]
    groups = roofline.by_type(found, chips[0])
    for name, costs in groups[:_MOST]:
        times = [1e6 * sum(one.seconds[chip] for one in costs) for chip in chips]
        times += [1e6 * measured.get(name, 0.)] * bool(measured)
        bounds = sorted({one.bound[chips[0]] for one in costs})
        lines.append('%-28s %6d %9.3f %9.3f %s  %s' % (
            name, len(costs), sum(one.operations for one in costs) / 1e9, sum(one.bytes for one in costs) / 1e6,
            ' '.join('%12.1f' % one for one in times), ', '.join(bounds)))
    return lines + ['and %d more types' % (len(groups) - _MOST)] * (len(groups) > _MOST)


def _totals(found: Sequence[roofline.Cost], config: Config) -> List[str]:
    lines = ['']
    for chip, peaks in roofline.PEAKS.items():
        total = roofline.total(found, chip)
        lines.append(
            '%-5s %.3f ms a step at best, %.0f images/s: %s; cube %.0f %% of it, vector units %.0f %%; %d tasks '
            '(%s)' % (
                chip, 1000 * total.seconds, config.batch_size / total.seconds, ', '.join(
                    '%.0f %% bound by %s' % (100 * seconds / total.seconds, part)
                    for part, seconds in total.parts.items() if seconds),
                *(100 * total.units[unit] / total.seconds for unit in (operators.CUBE, operators.VECTOR)),
                total.tasks, peaks.source))
    worst = roofline.most_padded(found, '910')
    if worst:
        lines.append('channels padded to %d: the cube computes %.2f times what the network asks for, %.1f times in %s, '
                     'made at %s' % (roofline.CHANNELS, total.padding, worst.padded / worst.operations, worst.op.name,
                                     step_graph.line_of(worst.op)))
    return lines


def _input(train_input: Input, batch_size: int, batches: int, found: Sequence[roofline.Cost]) -> str:
    """How fast this machine's input is, beside what the chips take at best."""
    wanted = [tensor.op for tensor in tf.nest.flatten(train_input.batch)]
    with tf.Session() as session:
        train_input.initialize(session)
        session.run(wanted)        # the first batch starts the pipeline
        started = time.monotonic()
        for _ in range(batches):
            session.run(wanted)
        speed = batches * batch_size / (time.monotonic() - started)
    return 'input: %.0f images/s on this machine; %s' % (speed, '; '.join(
        '%s takes up to %.0f: %s' % (chip, taken, 'the input keeps up' if speed >= taken else
                                     'the input is %.1f times too slow for it' % (taken / speed))
        for chip in roofline.PEAKS for taken in [batch_size / roofline.total(found, chip).seconds]))


def main(argv: Sequence[str], environ: Mapping[str, str]) -> Optional[int]:
    """Runs the command; returns its exit status."""
    return command.run(act, argv, environ, USAGE)
