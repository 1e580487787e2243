"""The search for what has to stay in float32: steps on real batches in candidate precisions beside those in float32."""
import os
import time
from typing import Any, List, NamedTuple, Optional, Sequence

import tensorflow as tf

from core.ascend.diagnostics.step_graph import operators as computed_by
from core.ascend.emulation import search
from core.ascend.emulation.precision_rules import MIXED, Rules
from core.errors import InputError
from core.recipe import Recipe
from core.run import Options
from core.settings.config import Config
from launchers.rehearsed import Rehearsed, training_step

MIXLIST, CUSTOMIZED = 'float32_types.json', 'float32_operators.cfg'


class Asked(NamedTuple):
    """The limits of a search."""
    closeness: float               # the largest relative difference that is near enough
    steps: int                     # that are compared
    minutes: Optional[float]       # after which what is enough so far is written; None: never
    output: str                    # directory of the files


class Trial(NamedTuple):
    """What all candidates are given: a network, its data, and the steps as float32 computes them."""
    recipe: Recipe
    config: Config
    options: Options
    data: Any
    weights: List[List[Any]]       # before each step: values of the network's variables
    steps: List[search.Measured]

    def distance(self, rules: Rules) -> search.Distance:
        """How far the steps under `rules` are from those in float32."""
        with training_step(self.recipe, self.config, self.options, self.data, rules) as rehearsed, \
                _session() as session:
            steps = []
            for number, values in enumerate(self.weights):
                _start(session, rehearsed, values, number)
                steps.append(_measured(rehearsed, session.run(_fetches(rehearsed))))
        return search.distance(steps, self.steps)


def reference(recipe: Recipe, config: Config, options: Options, data: Any, steps: int) -> Trial:
    """The Trial of the first steps of a training in float32."""
    weights, measured = [], []
    with training_step(recipe, config, options, data, None) as rehearsed, _session() as session:
        _start(session, rehearsed, None, 0)
        for _ in range(steps):
            weights.append(session.run(_variables(rehearsed)))
            fetched, _ = session.run([_fetches(rehearsed), rehearsed.step.train_op])
            measured.append(_measured(rehearsed, fetched))
    return Trial(recipe, config, options, data, weights, measured)


def _session() -> tf.Session:
    """A session without Grappler, which takes longer for a graph than the few steps that are computed by it."""
    config = tf.ConfigProto(device_count={'GPU': 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(config=config)


def _variables(rehearsed: Rehearsed) -> List[tf.Variable]:
    return [rehearsed.step.global_step, *rehearsed.step.model_variables]


def _start(session, rehearsed, values, step):
    """Initialises all variables, the network's with `values` where there are any, and goes to a batch."""
    given = {v.initializer.inputs[1]: value for v, value in zip(_variables(rehearsed), values or [])}
    session.run([v.initializer for v in tf.global_variables() + tf.local_variables()], given)
    rehearsed.input.initialize(session, step)


def _fetches(rehearsed):
    return rehearsed.step.loss, [gradient for _, gradient in rehearsed.gradients]


def _measured(rehearsed, fetched):
    loss, gradients = fetched
    return search.Measured(float(loss), {
        variable.op.name: search.dense(gradient, tuple(variable.shape.as_list()))
        for (variable, _), gradient in zip(rehearsed.gradients, gradients)})


def run(recipe: Recipe, config: Config, options: Options, data: Any, rules: Rules, asked: Asked) -> int:
    """Searches, prints what it finds and writes the files; returns 0 when the closeness is reached, else 1."""
    paths = [os.path.join(asked.output, name) for name in (MIXLIST, CUSTOMIZED)]
    taken = [path for path in paths if os.path.lexists(path)]
    if taken:
        raise InputError('%s: is there; choose another --search_output, or move it away' % taken[0])
    started, tried = time.monotonic(), {}
    trial = reference(recipe, config, options, data, asked.steps)
    with training_step(recipe, config, options, data, rules) as rehearsed:
        keeping = search.Keeping(rules, rehearsed.emulation, computed_by([rehearsed.step.train_op]))

    def is_enough(candidate, what):
        if what not in tried:
            tried[what] = trial.distance(candidate)
            print('%5.0f s  %-60s loss %.3g, gradient %.3g (%s)' % (
                time.monotonic() - started, what[:60], *tried[what]), flush=True)
        return tried[what].largest <= asked.closeness

    def is_late():
        return asked.minutes is not None and time.monotonic() - started > 60 * asked.minutes

    if is_enough(rules, 'the mode as it is'):
        print('It is within %g: nothing has to stay in float32' % asked.closeness)
        return 0
    types = keeping.types
    if keeping.stuck:
        print('Without a float32 kernel on this chip, so not tried: %s' % ', '.join(keeping.stuck))
    if not types or not is_enough(keeping.by_types(types), 'float32: ' + ', '.join(types)):
        print('Not even with all of these types in float32 is it within %g: %s' % (asked.closeness, _why(keeping)))
        return 1
    types = search.fewest(types, lambda some: is_enough(keeping.by_types(some), 'float32: ' + ', '.join(some)), is_late)
    every = keeping.scopes(types)
    scopes, chosen = every, keeping.operators(types, every)
    if not is_late() and is_enough(keeping.by_operators(chosen), 'float32 by name: all %d of these' % len(chosen)):
        scopes = search.fewest(every, lambda some: is_enough(
            keeping.by_operators(keeping.operators(types, some)),
            'float32 in ' + ', '.join(one or '(no scope)' for one in some)), is_late)
        chosen = keeping.operators(types, scopes)
    if is_late():
        print('The %g minutes are over: this is enough, and some of it might be left out' % asked.minutes)
    print('The fewest types found: %s (%d operators); within them the fewest scopes: %s (%d operators)' % (
        ', '.join(types), len(keeping.operators(types, every)),
        ', '.join(one or '(no scope)' for one in scopes), len(chosen)))
    _write(paths, rules, types, chosen)
    return 0


def _why(keeping: search.Keeping) -> str:
    """Why even all operators that can be in float32 are not enough, and what to do."""
    if keeping.stuck:
        return 'the rest is %s, which this chip has in float16 alone; try --emulate_chip=910B' % (
            ', '.join(keeping.stuck))
    if keeping.hf32:
        return 'this chip takes float32 operands of convolutions in HF32, with 10 bits of the fraction as float16; ' \
            'try --enable_hf32=False'
    return 'weights or gradients are rounded beside the operators; try a mixed precision mode'


def _write(paths: Sequence[str], rules: Rules, types: Sequence[str], chosen: Sequence[tf.Operation]) -> None:
    os.makedirs(os.path.dirname(paths[0]), exist_ok=True)
    if rules.action == MIXED:
        with open(paths[0], 'w') as file:
            file.write(search.mixlist(types))
        print('%s: use it with --use_mixlist=True --mixlist_file=%s' % (paths[0], paths[0]))
    with open(paths[1], 'w') as file:
        file.write(search.customized(chosen))
    print('%s: use it with --npu_option=customize_dtypes=%s' % (paths[1], paths[1]))
