"""NPU: the Device of a machine with an Ascend NPU and npu_bridge."""
import json
import os
from typing import List, Tuple

import tensorflow as tf

from core.device import Device, Hooks, KeptGraphs
from core.ascend.diagnostics import operator_profile, random_errors
from core.errors import InputError
from core.ascend import bridge, graph_cache, hccl, machine, switches
from core.ascend.compiled import CheckCompiled
from core.ascend.switches import session_config
from core.run import Options, Run
from core.settings import paths
from core.settings.config import Config
from core.settings.table import DEVICES_OF_A_SERVER, OWN_PRECISION


class _LoadIterations(tf.train.SessionRunHook):
    """Loads the number of steps into the loop on the NPU, once its variable is initialised."""

    def __init__(self, load, steps):
        self._load, self._steps = load, steps

    def after_create_session(self, session, coord):
        self._load(session, self._steps)


_HCCL_SECONDS = 120, 7200     # the least and the most that HCCL waits for other ranks to connect
# The values of options with which the adapter leaves the whole training to the CPU without a word.
_LEFT_TO_THE_CPU = (('use_off_line', False), ('job', 'ps'), ('job', 'default'))


def _check(config: Config, options: Options) -> None:
    for key, value in _LEFT_TO_THE_CPU:
        if options.get(key) == value:
            raise InputError('--npu_option=%s=%s: the adapter would train on the CPU; leave the option out, or choose '
                             'the CPU with --device=cpu' % (key, value))
    if graph_cache.KEY in options:
        flag = '--output_path' if config.graph_cache else '--npu_option=' + graph_cache.KEY
        paths.check_writable(flag, options[graph_cache.KEY])
    if config.device_id >= DEVICES_OF_A_SERVER and machine.family() in ('910', 'A2'):
        raise InputError('ASCEND_DEVICE_ID=%d: a server of this chip has devices 0 to %d' % (
            config.device_id, DEVICES_OF_A_SERVER - 1))
    if bridge.is_parameter_server(os.environ):
        raise InputError('TF_CONFIG (environment): a task of type ps stays off the NPU; unset the variable')
    if config.ranks > 1:
        bridge.check_environment()
    if config.npu_sat_mode is not None:
        bridge.check_overflow_mode(config.npu_sat_mode)


def _prepare(config: Config, options: Options) -> None:
    if graph_cache.KEY in options:     # CANN does not make it
        os.makedirs(options[graph_cache.KEY], exist_ok=True)
    if config.ranks > 1:               # HCCL's own limit is short for ranks that compile at different speed
        os.environ.setdefault('HCCL_CONNECT_TIMEOUT', str(max(_HCCL_SECONDS[0], min(
            config.connect_timeout, _HCCL_SECONDS[1]))))
    if config.enable_hf32 is not None:
        os.environ['ENABLE_HF32_EXECUTION'] = str(int(config.enable_hf32))
    if config.npu_sat_mode is not None:
        bridge.set_overflow_mode(config.npu_sat_mode)


def _kept_graphs(config: Config, options: Options, session_config: tf.ConfigProto) -> KeptGraphs:
    return graph_cache.GraphCache(config, options, session_config) if config.graph_cache else KeptGraphs()


def _notice(config: Config, options: Options) -> List[str]:
    lines = switches.notices(options)
    if graph_cache.KEY in options and not config.graph_cache:
        lines.append('--npu_option=%s=%s: CANN takes what lies there for the graphs of this run, whatever they are: '
                     'empty it after every change of flags, data, code or CANN, or give --graph_cache instead' % (
                         graph_cache.KEY, options[graph_cache.KEY]))
    return lines


def _loop(train_op: tf.Operation, steps: int) -> Tuple[tf.Operation, Hooks]:
    if steps == 1:
        return train_op, []
    looped_train_op, load = bridge.loop_on_device(train_op)
    return looped_train_op, [_LoadIterations(load, steps)]


def _hooks(run: Run) -> Hooks:
    profile = run.options.get('profiling_options')
    exported = [operator_profile.ExportedProfile(json.loads(profile)['output'])] if profile else []
    return [CheckCompiled(), *random_errors.hooks(run), *exported]


def _precision(config: Config, options: Options) -> str:
    mode = options.get('precision_mode_v2') or options.get('precision_mode') or OWN_PRECISION.get(
        machine.like(), "the adapter's default")
    has_hf32 = machine.like() == '910B' and machine.enables_hf32(config, os.environ) is not False
    return mode + ' with HF32' if mode in ('origin', 'must_keep_origin_dtype') and has_hf32 else mode


NPU = Device(
    name='npu',
    session_config=lambda options, config: session_config(options),
    dropout=lambda config, global_step: lambda x, rate: bridge.dropout(x, 1 - rate),
    hardware=lambda: 'ASCEND_DEVICE_ID=%s' % os.environ.get('ASCEND_DEVICE_ID', '0'),
    precision=_precision,
    options=switches.options,
    optimizer=hccl.optimizer,
    communicator=hccl.communicator,
    notice=_notice,
    output_directories=switches.output_directories,
    software=switches.software,
    check=_check,
    prepare=_prepare,
    graph=lambda config, options: bridge.rank_size_for_optimizers(config.ranks),
    steps_per_run=lambda options: options.get('iterations_per_loop', 1),
    loop=_loop,
    kept_graphs=_kept_graphs,
    hooks=_hooks,
    has_hccl=True,
    is_exclusive=True)
