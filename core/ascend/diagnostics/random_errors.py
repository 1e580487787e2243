"""--repeat_step=N: the same step twice from the same state, and the first operator with another result."""
from typing import Dict, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from core.ascend.diagnostics import step_graph
from core.log import say
from core.run import Run


def first_difference(ops: Sequence[tf.Operation], once: Dict[str, List[np.ndarray]],
                     again: Dict[str, List[np.ndarray]]) -> Optional[tf.Operation]:
    """The first of `ops` with outputs that are not bitwise the same in both runs; None when all are."""
    def bits(values):
        return [np.ascontiguousarray(array).tobytes() for array in values]
    return next((op for op in ops if bits(once[op.name]) != bits(again[op.name])), None)


def hooks(run: Run) -> List[tf.train.SessionRunHook]:
    """The hook of --repeat_step, where it is given."""
    return [] if run.config.repeat_step is None else [RepeatStep(run, run.config.repeat_step)]


class RepeatStep(tf.train.SessionRunHook):
    """Runs step `number` (counted from 0) once more than the run needs, and logs what differed.

    run: of the training, for its clock, step and train_input. The run goes on from the state that an undisturbed
    run would have.
    """

    def __init__(self, run: Run, number: int):
        self._run, self._number = run, number

    def begin(self) -> None:
        self._ops = step_graph.computed(step_graph.with_values(step_graph.operators([self._run.step.train_op])))
        self._fetches = step_graph.fetches(self._ops)
        self._replay = step_graph.Replay(self._run.train_input)
        self._once: Optional[Dict[str, List[np.ndarray]]] = None

    def before_run(self, run_context: tf.train.SessionRunContext):
        if step_graph.next_step(self._run.clock) != self._number:
            return None
        session = run_context.session
        state = self._replay.state(session)
        self._once = session.run([self._fetches, self._run.step.train_op])[0]
        self._replay.go_back(session, state, self._number)
        return tf.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context, run_values) -> None:
        if self._once is None or run_values.results is None:
            return
        found = first_difference(self._ops, self._once, run_values.results)
        self._once = None
        if found is None:
            say('Random error detection: step %d, run twice, gave the same bits in all of its %d operators' % (
                self._number, len(self._ops)))
        else:
            say('Random error detection: step %d, run twice, first differs in %s (%s), made at %s' % (
                self._number, found.name, found.type, step_graph.line_of(found)))
