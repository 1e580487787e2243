"""Where a chip gave operators other types than the rehearsal does: GE's graph of a real run beside the emulation."""
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow as tf

from core.ascend.chip_operators import chip_type
from core.ascend.diagnostics.chip_graph import ChipOperator
from core.ascend.emulation.emulation import Emulation

_FLOATING = ('float32', 'float16', 'bfloat16')


class Disagreement(NamedTuple):
    """An operator that both have."""
    op: tf.Operation
    chip: ChipOperator
    rehearsed: Tuple[Optional[str], Optional[str]]     # types of the first operand and of the first result
    on_chip: Tuple[Optional[str], Optional[str]]       # None: has none, or fusion has hidden it

    @property
    def agrees(self) -> bool:
        """Whether the chip and the rehearsal give what is visible of it the same types."""
        return all(there in (None, here) for here, there in zip(self.rehearsed, self.on_chip))


def rows(done: Emulation, ops: Iterable[tf.Operation], chip: Sequence[ChipOperator]) -> Tuple[List[Disagreement], int]:
    """(a Disagreement for each of `ops` with a choice that the chip's graph has, how many it lacks).

    Of operators that were fused into one the first shows its operands and the last its results.
    """
    by_original = {name: one for one in chip for name in one.originals}
    by_original.update({one.name: one for one in chip if one.name not in by_original})
    found, missing = [], 0
    for op in ops:
        if op not in done.choices:
            continue
        one = by_original.get(op.name)
        if one is None:
            missing += 1
            continue
        choice = done.choices[op]
        rehearsed = tuple(done.rules.narrow if narrow else 'float32' for narrow in (choice.takes, choice.gives))
        takes = _first(one.operands) if op.name == one.originals[0] else None
        gives = _first(one.results) if op.name == one.originals[-1] else None
        found.append(Disagreement(op, one, rehearsed, (takes, gives)))
    return found, missing


def lines(found: Sequence[Disagreement], missing: int) -> List[str]:
    """The comparison in words, the types of operators that differ most often first."""
    apart = [row for row in found if not row.agrees]
    said = ['%d operators are in both graphs; the chip gave %d of them other types than the rehearsal does; %d are not '
            'in the graph of the chip (fused, folded or renamed)' % (len(found), len(apart), missing)]
    groups = {}
    for row in apart:
        groups.setdefault((chip_type(row.op.type), row.rehearsed, row.on_chip), []).append(row.op.name)
    for (name, rehearsed, on_chip), names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0][0])):
        said.append('%-28s rehearsal %s -> %s, chip %s -> %s: %d operators, %s' % (
            name, *rehearsed, *(one or '(hidden)' for one in on_chip), len(names),
            ', '.join(names[:3]) + (', ...' if names[3:] else '')))
    return said


def _first(dtypes: Sequence[str]) -> Optional[str]:
    return next((dtype for dtype in dtypes if dtype in _FLOATING), None)
