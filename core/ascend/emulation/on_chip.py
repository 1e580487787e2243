"""What the report of a rehearsed run shows of the chip: types and reasons, roofline times, fusions.

They follow from the graph, so they are written once, before the first step, into report/chip.json of the results. What
gradients lose is in the record, a point for each evaluation.
"""
import collections
import json
import os
from typing import Any, Dict, List, Sequence

import tensorflow as tf

from core import operators
from core.ascend.chip_operators import Forms, chip_type
from core.ascend.diagnostics import fusions, roofline, step_graph
from core.ascend.emulation.emulation import Emulation
from core.reporting import record
from core.reporting.record import save
from core.run import Run

_TYPES = 12                    # of the roofline that are shown
_NAMED = 12                    # surprising operators that are named
_LINES = 3                     # of code for each reason of a fusion that is missed


class OnChip(tf.train.SessionRunHook):
    """Writes the file; run: of rank 0; mode: in words; done: what the emulation has made."""

    def __init__(self, run: Run, mode: str, done: Emulation):
        self._run, self._mode, self._done = run, mode, done

    def begin(self) -> None:       # while the graph has the chip's operators
        ops = step_graph.operators([self._run.step.train_op])
        self._facts = facts(ops, self._done, self._mode, self._run.config.batch_size)

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        directory = record.directory(self._run.config.run_dir)
        os.makedirs(directory, exist_ok=True)
        save(os.path.join(directory, record.CHIP), json.dumps(self._facts, ensure_ascii=False))


def facts(ops: Sequence[tf.Operation], done: Emulation, mode: str, batch_size: int) -> Dict[str, Any]:
    """The contents of the file, for the operators of a training step."""
    chosen = [op for op in ops if op in done.choices]
    costs = roofline.costs(ops, Forms(ops[0].graph, done.types, done.wide))
    found = fusions.find(ops, lambda op: op.outputs[0] in done.types)
    return dict(mode=mode, narrow=done.rules.narrow, types=_types(chosen, done), surprising=_surprising(chosen, done),
                roofline=[_chip(costs, chip, batch_size) for chip in roofline.PEAKS],
                padding=_padding(costs), fusions=[_fusion(one) for one in found])


def _types(ops, done) -> List[List[Any]]:
    """[class of the reason, operators with a narrow result, operators in float32] of each class."""
    counts = collections.Counter()
    for op in ops:
        choice = done.choices[op]
        counts[choice.reason.partition(',')[0], choice.takes or choice.gives] += 1
    return [[reason, counts[reason, True], counts[reason, False]] for reason in sorted({key[0] for key in counts})]


def _surprising(ops, done) -> List[List[str]]:
    """[name, type, kind]: kind is unlisted, no_kernel or mixed."""
    found = []
    for op in ops:
        choice = done.choices[op]
        if op.type not in operators.table():
            found.append([op.name, chip_type(op.type), 'unlisted'])
        elif 'no float32 kernel' in choice.reason:
            found.append([op.name, chip_type(op.type), 'no_kernel'])
        elif choice.reason.startswith('gray, after') and not choice.takes and any(
                tensor in done.types for tensor in op.inputs):
            found.append([op.name, chip_type(op.type), 'mixed'])
    return found[:_NAMED]


def _chip(costs, chip, batch_size) -> Dict[str, Any]:
    total = roofline.total(costs, chip)
    return dict(chip=chip, milliseconds=1e3 * total.seconds, images_per_second=batch_size / total.seconds,
                parts={part: seconds / total.seconds for part, seconds in total.parts.items()},
                source=roofline.PEAKS[chip].source,
                types=[[name, len(some), 1e3 * sum(one.seconds[chip] for one in some), some[0].bound[chip]]
                       for name, some in roofline.by_type(costs, chip)[:_TYPES]])


def _padding(costs) -> List[Any]:
    """[factor, the operator that costs most, its line]; the factor alone where nothing is padded."""
    worst = roofline.most_padded(costs, '910')
    factor = roofline.total(costs, '910').padding
    return [factor] + ([worst.op.name, step_graph.line_of(worst.op)] if worst else [])


def _fusion(fusion: fusions.Fusion) -> List[Any]:
    """[name, what it makes, hits, misses, [[reason, count, lines of code]]]."""
    reasons = [[why, len(sites), list(dict.fromkeys(step_graph.line_of(one.broken_by) for one in sites))[:_LINES]]
               for why, sites in fusions.by_reason(fusion.misses)]
    return [fusion.name, fusion.makes, len(fusion.hits), len(fusion.misses), reasons]
