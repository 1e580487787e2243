"""How much of the gradients a narrow type loses: what becomes 0, what leaves the range, and the loss scale that helps.

The gradient of a variable passes the narrow type in several tensors: the gradient itself, and what the operator that
makes it gets of the backward pass. The tensor that loses most counts. Shares are of the values that are not 0.
"""
import math
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set

import numpy as np
import tensorflow as tf

from core.ascend.diagnostics import step_graph
from core.ascend.emulation import gradients
from core.ascend.emulation.emulation import Emulation
from core.device import KEEP_DTYPE
from core.log import say
from core.operators import EXCHANGE, NO_TASK, row
from core.run import Run

# Bits of the exponent of the largest value that becomes 0 when it is rounded (2^-25 of float16, half its smallest one).
_LOST = {'float16': -25}
_BIAS, _EXPONENTS = 127, 256   # of a float32
MATTERS = .05                  # share that is a line of the log
ENOUGH = .001                  # share that the recommended scale lets become 0
ROOM = 8                       # limit / largest value under the recommended scale, for what grows in training


class Counts(NamedTuple):
    """The values of a tensor before it is rounded."""
    exponents: np.ndarray          # [256]: how many have each exponent, as a float32 holds it; [0]: those that are 0
    lost: int                      # that become 0 without being 0
    beyond: int                    # that leave the range, or are not finite

    @property
    def nonzero(self) -> int:
        """How many are not 0."""
        return max(int(self.exponents[1:].sum()), self.lost)   # some that are lost may have the exponent 0

    def lost_at(self, shift: int, lowest: int) -> float:
        """The share that would become 0 if all were 2^shift times as large; lowest: see _LOST."""
        return self.exponents[1:max(_BIAS + lowest - shift, 1)].sum() / max(self.nonzero, 1)


class Found(NamedTuple):
    """What a step loses."""
    lost: Dict[str, float]         # {variable: share that became 0}
    beyond: Dict[str, float]       # {variable: share that left the range}
    scale: Optional[float]         # the recommended static loss scale; None: none is needed


class Gradients:
    """The tensors to look at in a graph; made when the step is complete and emulated."""

    def __init__(self, loss: tf.Tensor, done: Emulation):
        forward = set(step_graph.operators([loss.op]))
        self._limits, self._narrow = done.limits, done.rules.narrow
        self.of_variables = {variable.op.name: list(self._roundings(gradient, forward))
                             for variable, gradient in gradients.of_graph(loss.graph)}
        self._tensors = list(dict.fromkeys(one for tensors in self.of_variables.values() for one in tensors))
        step = {op for _, gradient in gradients.of_graph(loss.graph)
                for op in step_graph.operators([getattr(gradient, 'values', gradient).op])}
        backward = [one for one in done.limits if one.op in step - forward and _is_outside(one)]
        with loss.graph.as_default(), tf.name_scope(step_graph.ROUNDING + 'underflow'):
            self.fetches = ([self._counted(one) for one in self._tensors],
                            [_exponents(one) for one in backward])

    def _roundings(self, gradient: Any, forward: Set[tf.Operation]) -> Iterable[tf.Tensor]:
        """The tensors of the backward pass that are rounded last on the way to a gradient."""
        waiting, seen = [(getattr(gradient, 'values', gradient), False)], set()
        while waiting:
            tensor, is_operand = waiting.pop()
            tensor = step_graph.before_rounding(tensor)
            if tensor.op in forward or tensor.dtype != tf.float32 or (tensor, is_operand) in seen:
                continue
            seen.add((tensor, is_operand))
            if tensor in self._limits and _is_outside(tensor):
                yield tensor
            if _passes(tensor.op):
                waiting += [(operand, is_operand) for operand in tensor.op.inputs]
            elif not is_operand:
                waiting += [(operand, True) for operand in tensor.op.inputs]

    def _counted(self, tensor):
        size = tf.abs(tensor)
        beyond = tf.logical_or(size > self._limits[tensor], tf.is_nan(tensor))
        lost = tf.logical_and(size > 0, size <= np.float32(2. ** _LOST.get(self._narrow, -200)))
        return _exponents(tensor), _count(tf.cast(lost, tf.int32), 2), _count(tf.cast(beyond, tf.int32), 2)

    def found(self, fetched: Any, scale: float) -> Found:
        """What a step with these values loses; scale: its loss scale, 1 without one."""
        counted, backward = fetched
        counts = dict(zip(self._tensors, (Counts(exponents, int(lost[1]), int(beyond[1]))
                                          for exponents, lost, beyond in counted)))
        of_variables = {name: [counts[one] for one in tensors]
                        for name, tensors in self.of_variables.items() if tensors}

        def worst(share):
            return {name: max(share(one) / max(one.nonzero, 1) for one in some) for name, some in of_variables.items()}
        return Found(worst(lambda one: one.lost), worst(lambda one: one.beyond), recommended(
            [one for some in of_variables.values() for one in some], max(map(_largest, backward), default=0.), scale,
            _LOST.get(self._narrow, -200), min(self._limits.values(), default=math.inf)))


def recommended(counts: Sequence[Counts], largest: float, scale: float, lowest: int, limit: float) -> Optional[float]:
    """The smallest power of two with which at most ENOUGH of every tensor becomes 0; if none is enough, the largest
    that has ROOM; None where that is not above 1.

    counts, largest: of the values of a step under `scale`, and what none of its whole backward pass exceeds.
    """
    now = math.log2(scale)
    room = 1e30 if not largest else limit / ROOM * scale / largest if math.isfinite(largest) else 1.
    highest = math.floor(math.log2(max(room, 1.)))
    enough = next((power for power in range(max(highest, 0)) if all(
        one.lost_at(round(power - now), lowest) <= ENOUGH for one in counts)), highest)
    return 2. ** enough if enough > 0 else None


def _exponents(tensor: tf.Tensor) -> tf.Tensor:
    """[256] int32: how many values have each exponent."""
    return _count(tf.bitwise.right_shift(tf.bitcast(tf.abs(tensor), tf.int32), 23), _EXPONENTS)


def _count(numbers: tf.Tensor, size: int) -> tf.Tensor:
    """[size] int32: how often each number occurs.

    Not by a reduction over axes: Grappler may give a tensor whose values are all alike fewer axes than the graph has.
    """
    return tf.raw_ops.Bincount(arr=numbers, size=size, weights=tf.constant([], tf.int32))


def _largest(exponents: np.ndarray) -> float:
    """A power of two that no value reaches; infinite where one is not finite."""
    highest = int(np.flatnonzero(exponents)[-1]) if exponents.any() else 0
    return 0. if not highest else math.inf if highest == _EXPONENTS - 1 else 2. ** (highest + 1 - _BIAS)


def _passes(op: tf.Operation) -> bool:
    """Whether an operator hands on its operands, exchanged, added up or scaled back."""
    kind = row(op.type)
    return kind.has('moves') or kind.unit in (NO_TASK, EXCHANGE) or op.type == 'AddN' or KEEP_DTYPE in op.node_def.attr


def _is_outside(tensor: tf.Tensor) -> bool:
    """Whether a tensor can be fetched: it is in no loop and no branch."""
    return tensor.op._get_control_flow_context() is None


class Underflow(tf.train.SessionRunHook):
    """Counts at the first step and at each evaluation, puts the shares into the record and what matters into the log.

    done: what the emulation has made of its graph.
    """

    def __init__(self, run: Run, done: Emulation):
        self._run, self._done = run, done
        self._kept: Set[str] = set()       # names that the record has

    def begin(self) -> None:
        self._gradients = Gradients(self._run.step.loss, self._done)

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs:
        if not self._is_due():
            return tf.train.SessionRunArgs({})
        scale = self._run.step.loss_scale
        return tf.train.SessionRunArgs(dict(counted=self._gradients.fetches, **({} if scale is None else {
            'scale': scale})))

    def after_run(self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues) -> None:
        if not run_values.results:
            return
        scale = float(run_values.results.get('scale', 1.))
        found = self._gradients.found(run_values.results['counted'], scale)
        self._record(found)
        for line in lines(found, self._run.clock.step, scale, self._done.rules.narrow):
            say(line)

    def _is_due(self) -> bool:
        """Whether the next run ends with the first step or with one that is evaluated; a function of the step alone."""
        clock, config = self._run.clock, self._run.config
        before, after = clock.step, clock.step + clock.steps_per_run

        def passes(interval):
            return bool(interval) and after // interval > before // interval
        return before == 0 or after >= clock.steps or passes(config.eval_steps) or passes(
            clock.steps_per_epoch * config.val_epoch)

    def _record(self, found: Found) -> None:
        values = {}
        for kind, shares in (('lost', found.lost), ('beyond', found.beyond)):
            for name, share in shares.items():
                key = 'gradient_%s/%s' % (kind, name)
                if share or key in self._kept:
                    self._kept.add(key)
                    values[key] = 100 * share
        values['recommended_loss_scale'] = found.scale or 1.
        self._run.record(self._run.clock.step, values)


def lines(found: Found, step: int, scale: float, narrow: str) -> List[str]:
    """What matters of it, in words."""
    said = []
    for shares, fate in ((found.lost, 'became 0 in'), (found.beyond, 'left the range of')):
        worst = max(shares, key=shares.get, default=None)
        if worst is None or shares[worst] < (MATTERS if shares is found.lost else ENOUGH):
            continue
        others, percent = sum(share >= MATTERS for share in shares.values()) - 1, 100 * shares[worst]
        said.append('Step %d: %s %% of the gradient of %s %s %s%s: %s' % (
            step, ('%.0f' if percent >= 1 else '%.2g') % percent, worst, fate, narrow,
            ' (and of %d more variables 5 %% or more)' % others if others > 0 else '', _advice(
                found.scale or 1., scale, shares is found.lost)))
    return said


def _advice(recommended_: float, scale: float, has_to_grow: bool) -> str:
    if has_to_grow and recommended_ > scale:
        return 'try --loss_scale=%d' % recommended_
    if not has_to_grow and recommended_ < scale:
        return 'try --loss_scale=%s' % ('False' if recommended_ == 1 else '%d' % recommended_)
    return 'no loss scale helps; python3 -m launchers precision --search finds what has to stay in float32'
