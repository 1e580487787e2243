"""What the NPU switches do on a machine without an NPU: each one rehearses there what it will do on the NPU.

The GPU and CPU Devices (devices.py) use these functions: graph() changes the operators, hooks() watches the steps.
"""
import contextlib
import json
import os
from typing import Iterator, List, Optional, Tuple

import tensorflow as tf

from core.device import Hooks
from core.ascend.diagnostics import operator_profile, overflow_search, random_errors, tensor_dump
from core.ascend.emulation import emulation, on_chip, precision_rules, underflow, unmatched
from core.log import say
from core.ascend import machine, operator_information, switches
from core.run import Options, Run
from core.settings.config import Config
from core.settings.table import OWN_PRECISION

_EMULATION = 'emulation'       # graph collection that holds the Emulation
_OLD_OVERFLOW_FORM = '910'     # chip whose Opdebug files have the old form


def chip_of(config: Config, options: Options) -> str:
    """The chip that is emulated: --emulate_chip; unset: a 910, or a 910B for what no 910 has."""
    if config.enable_hf32 and not config.emulate_chip:
        return '910B'
    asked = options.get('precision_mode') or options.get('precision_mode_v2') or ''
    return config.emulate_chip or ('910B' if precision_rules.MODES.get(asked, (None, None))[1] == 'bfloat16' else '910')


def saturates(config: Config, chip: str) -> bool:
    """Whether the emulated chip saturates at an overflow: as --npu_sat_mode sets it, else as by default."""
    return chip == '910' if config.npu_sat_mode is None else config.npu_sat_mode == 0


def changes_operators(config: Config, options: Options) -> bool:
    """Whether the emulation does anything to the graph's operators, which then have to be the NPU's own."""
    rules = rules_of(config, options)
    return rules is not None and not rules.changes_nothing


def rules_of(config: Config, options: Options) -> Optional[precision_rules.Rules]:
    """What the emulation does to the graph; None without emulation, or in a mode that is not emulated."""
    chip = chip_of(config, options)
    mode = _mode(options, chip)
    if not config.emulate_precision or mode not in precision_rules.MODES:
        return None
    return precision_rules.rules(mode, chip, saturates(config, chip), options.get('modify_mixlist'),
                                 options.get('customize_dtypes'), machine.enables_hf32(config, os.environ),
                                 operator_information.read(os.environ, chip))


@contextlib.contextmanager
def emulated(config: Config, options: Options) -> Iterator[None]:
    """The context in which a graph is built that then computes in the precision of the emulated chip."""
    yield
    if not config.emulate_precision:
        return
    graph, chip = tf.get_default_graph(), chip_of(config, options)
    mode = _mode(options, chip)
    rules = rules_of(config, options)
    if rules is None:
        say('precision_mode_v2=%s is not emulated off an NPU: this run computes in float32' % mode)
        return
    train_op = next(reversed(graph.get_collection(tf.GraphKeys.TRAIN_OP)), None)  # after the optimizer's own
    done = emulation.emulate(graph, rules, train_op)
    graph.add_to_collection(_EMULATION, done)
    say(_notice(chip, mode, done))
    for line in unmatched.lines(graph, options):
        say(line)
    if rules.action == precision_rules.PLAIN:
        _warn_of_missing_kernels(graph, rules, mode)


def of_graph() -> emulation.Emulation:
    """What the emulation has done to the default graph."""
    return next(iter(tf.get_collection(_EMULATION)), emulation.NO_EMULATION)


def _mode(options, chip):
    return options.get('precision_mode') or options.get('precision_mode_v2') or OWN_PRECISION[chip]


def precision(config: Config, options: Options) -> str:
    """The precision that a run computes in, in words."""
    chip, rules = chip_of(config, options), rules_of(config, options)
    if rules is None:
        return 'float32'
    return 'emulated %s of a %s%s' % (_mode(options, chip), chip, ' with HF32' * bool(
        not rules.changes_nothing and rules.action == precision_rules.PLAIN))


def _notice(chip: str, mode: str, done: emulation.Emulation) -> str:
    hf32 = ('%d cube operators take their float32 operands in HF32 (10 bits of the fraction); --enable_hf32=False '
            'keeps float32' % done.hf32)
    functions = ' (not inside %d operators that run functions: %s)' % (
        len(done.functions), ', '.join(sorted({op.type for op in done.functions}))) if done.functions else ''
    if not done.cube and not done.vector and not done.functions:
        return 'Emulating precision_mode=%s of a %s: %s' % (
            mode, chip, hf32 if done.hf32 else 'it leaves every operator as it is')
    return ('Emulating precision_mode=%s of a %s: %d cube operators with %s operands, %d other operators in %s%s, '
            'overflow becomes %s; each of these tensors is rounded, so a step takes longer; --emulate_precision=False '
            'switches it off'
            % (mode, chip, done.cube, done.rules.narrow, done.vector, done.rules.narrow, functions,
               'the largest value' if done.rules.saturates else 'inf')) + ('; ' + hf32 if done.hf32 else '')


def _warn_of_missing_kernels(graph: tf.Graph, rules: precision_rules.Rules, mode: str) -> None:
    """Logs which operators of the graph stop the NPU in a mode that keeps their type."""
    types = [op.type for op in graph.get_operations() if op.outputs and op.outputs[0].dtype == tf.float32
             and rules.lacks_float32(op.type)]
    if types:
        say('Expect a %s to stop in %s: of this run it has only float16 kernels for %d operators (%s); its own mode is '
            '%s' % (rules.chip, mode, len(types), ', '.join(sorted(set(types))), OWN_PRECISION[rules.chip]))


def hooks(run: Run) -> Hooks:
    """The hooks of the switches that watch training steps."""
    config, options = run.config, run.options
    done = of_graph()
    made: List[tf.train.SessionRunHook] = [underflow.Underflow(run, done)] if done.limits else []
    if done.choices and config.rank == 0:
        made.append(on_chip.OnChip(run, precision(config, options), done))
    if options.get('enable_dump_debug'):
        made.append(overflow_search.OverflowSearch(
            run, os.path.abspath(options['dump_path']), done, config.device_id,
            chip_of(config, options) == _OLD_OVERFLOW_FORM))
    if options.get('enable_dump'):
        request = tensor_dump.DumpRequest(
            os.path.abspath(options['dump_path']), options.get('dump_step', ''), options.get('dump_mode', 'output'),
            options.get('dump_layer', ''), options.get('dump_data', 'tensor'), config.dump_form, config.device_id)
        made.append(tensor_dump.Dump(request, run.clock, _targets(run), run.clock.steps, done))
    if options.get('profiling_mode'):
        asked = json.loads(options.get('profiling_options') or '{}')
        made.append(operator_profile.Profile(run.clock, operator_profile.ProfileRequest(
            switches.profile_folder(options), *profiled_steps(config), config.batch_size * config.ranks,
            chip_of(config, options), asked.get('aic_metrics') or 'PipeUtilization', config.device_id),
            done.types))
    return made + random_errors.hooks(run)


def profiled_steps(config: Config) -> Tuple[int, int]:
    """The first and the last step of --profiling_steps, which is N or A-B."""
    first, _, last = config.profiling_steps.partition('-')
    return int(first), int(last or first)


def _targets(run) -> List[tf.Operation]:
    """What a training step computes: the update, and what is reported of the batch."""
    return [run.step.train_op, *(tensor.op for tensor in run.step.metrics.values())]


class LoopOnHost(tf.train.SessionRunHook):
    """iterations_per_loop off the NPU: each run of the session that hooks see is the last of `steps` training steps."""

    def __init__(self, train_op: tf.Operation, steps: int):
        self._train_op, self._steps = train_op, steps

    def before_run(self, run_context: tf.train.SessionRunContext):
        for _ in range(self._steps - 1):
            run_context.session.run(self._train_op)


def loop(train_op: tf.Operation, steps: int) -> Tuple[tf.Operation, Hooks]:
    """Device.loop for a machine without an NPU."""
    return train_op, [LoopOnHost(train_op, steps)] if steps > 1 else []
