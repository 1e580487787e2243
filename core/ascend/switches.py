"""From the switches to NpuOptimizer options and to the session's ConfigProto (docs/vendor-contract.md section 4)."""
import json
import os
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from core.ascend import machine, option_kinds
from core.ascend.option_table import RAW, REHEARSED, fault, parse_option, parse_raw, without_effect
from core.errors import InputError
from core.run import Options
from core.settings import paths
from core.settings.config import Config, idle, typed
from core.settings.rules import is_on
from core.settings.table import NPU_ONLY, SWITCHES


class _Set(NamedTuple):
    flag: str      # what the user typed, such as '--over_dump=True'
    value: object  # typed


def switch_options(config: Config) -> Dict[str, Any]:
    """{key: typed value} of every NpuOptimizer option that the command line sets.

    The directories that --over_dump, --data_dump_flag and --profiling write to need not be there yet.
    Raises InputError naming flag, value and what is allowed, or a variable of the environment.
    """
    machine.check_environment(os.environ)
    settings = {}
    for flag, key, value in list(_of_switches(config)) + list(_of_npu_option(config)):
        if key in settings:
            raise InputError('%s: %s is already set by %s' % (flag, key, settings[key].flag))
        settings[key] = _Set(flag, value)
    options = {key: setting.value for key, setting in settings.items()}
    broken = fault(options, lambda: _chip(config))
    if broken:
        key, message = broken
        raise InputError('%s: %s' % (settings[key].flag, message))
    for key in 'dump_path', 'work_path':
        if os.path.islink(options.get(key, '')):
            raise InputError('%s: %s is a link, which the adapter takes for no directory; give the directory itself' % (
                settings[key].flag, options[key]))
    _check_chip(config, options)
    return options


def _chip(config):
    return config.emulate_chip or ('950' if machine.family() == '950' else machine.like())


def _check_chip(config, options):
    """Raises InputError for what the chip, where it is known, lacks; fault() checks the options."""
    tuning = os.environ.get('AOE_MODE')
    lacking = [
        ('910', config.npu_sat_mode == 1, '--npu_sat_mode=1', 'a 910 always saturates'),
        ('910', config.enable_hf32 is True, '--enable_hf32=True', 'a 910 has no HF32'),
        ('910B', tuning == '1', 'AOE_MODE=1 (environment)', 'an A2 or A3 does not tune subgraphs; use 2 or 4')]
    for name, is_asked, what, why in lacking:
        if is_asked and _chip(config) == name:
            raise InputError('%s: %s' % (what, why))
    if tuning and 'dynamic_dims' in options:
        raise InputError('AOE_MODE=%s (environment): not together with dynamic_dims; unset it' % tuning)


def options(config: Config) -> Options:
    """Device.options: switch_options(), and what several ranks need."""
    chosen = switch_options(config)
    if config.ranks > 1:
        chosen.setdefault('hcom_parallel', True)  # the all-reduces overlap with the backward pass
    return chosen


def session_config(options: Dict[str, Any]) -> tf.ConfigProto:
    """The tf.ConfigProto with these NpuOptimizer options {key: typed value}, on every device.

    TensorFlow skips a custom optimizer that is not registered; off an NPU the entry shows what an NPU would get.
    """
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    rewrites = config.graph_options.rewrite_options
    rewrites.remapping = RewriterConfig.OFF
    # MANUAL has the number of OFF, 2. The adapter needs this value, and its own helpers write it too.
    rewrites.memory_optimization = RewriterConfig.MANUAL
    entry = rewrites.custom_optimizers.add(name='NpuOptimizer')
    for key, value in dict({'use_off_line': True}, **options).items():
        parameter = entry.parameter_map[key[len(RAW):] if key.startswith(RAW) else key]
        if isinstance(value, str):
            parameter.s = tf.compat.as_bytes(value)
        else:
            setattr(parameter, 'b' if isinstance(value, bool) else 'i', value)
    return config


def npu_optimizer(config: tf.ConfigProto) -> Any:
    """The entry with the options in what session_config() has made."""
    return config.graph_options.rewrite_options.custom_optimizers[0]


def output_directories(options: Dict[str, Any]) -> List[str]:
    """Device.output_directories: of dumps, profiles and tuning."""
    folders = options.get('dump_path'), profile_folder(options), options.get('work_path')
    return [folder for folder in folders if folder]


def profile_folder(options: Dict[str, Any]) -> Optional[str]:
    """The folder that profiles go to, as msprof chooses it where the options do not say; None without profiling."""
    if not options.get('profiling_mode'):
        return None
    output = json.loads(options.get('profiling_options') or '{}').get('output')
    return output or os.environ.get('ASCEND_WORK_PATH') or os.curdir


def notices(options: Dict[str, Any]) -> List[str]:
    """Lines of the log about options that only the adapter knows, and about options without effect."""
    lines = ['--npu_option=%s=%s: passed on as it is; nothing here checks it' % item for item in options.items()
             if item[0].startswith(RAW)] + without_effect(options)
    if options.get('fusion_switch_file'):
        from core.ascend import fusion_passes      # which few runs need
        lines += fusion_passes.lines(options['fusion_switch_file'], os.environ)
    return lines


def software() -> Dict[str, str]:
    """Device.software: the versions of CANN and of the NPU driver, where they are installed."""
    found = {'CANN': machine.cann(os.environ), 'NPU driver': machine.driver(os.environ)}
    return {name: version for name, version in found.items() if version}


def off_npu(config: Config, options: Options) -> List[str]:
    """Device.notice of other devices: what the switches of this run do off an NPU."""
    npu_only, lines = [], []
    for row in _in_effect(config):
        if row.name in ('precision_mode', 'precision_mode_v2') and config.emulate_precision:
            continue  # the emulation has a line of its own
        value = getattr(config, row.name)
        given = [typed(row.name, one) for one in (value if row.repeated else [value])
                 if row.name != 'npu_option' or one.partition('=')[0] not in REHEARSED]
        if row.off_npu == NPU_ONLY:
            npu_only += given
        elif row.off_npu:
            lines.append('Off an NPU, %s: %s' % (' '.join(given), row.off_npu))
    if npu_only:
        lines.insert(0, 'These switches act on an NPU only: ' + ' '.join(npu_only))
    return notices(options) + lines


def _in_effect(config):
    """The rows of the switches that are on, and not without effect because another switch is off."""
    unused = idle(config)
    return [row for row in SWITCHES if is_on(getattr(config, row.name, None)) and row.name not in unused
            and (getattr(config, row.name) != row.default or row.npu_key)]


def _of_switches(config) -> Iterator[Tuple[str, str, Any]]:
    """(flag, key, typed value) of what each switch sets."""
    for row in _in_effect(config):
        if row.npu_key:
            value = getattr(config, row.name)
            flag = typed(row.name, value)
            yield flag, row.npu_key, value if row.kind.is_boolean else parse_option(flag, row.npu_key, value)
        for key, other in _beside(row.name, config).items():
            yield typed(row.name, getattr(config, row.name)), key, other


def _beside(name, config):
    """{key: value} of the further options that a switch needs."""
    def directory(own, default):
        return own or os.path.join(config.data_save_path or config.output_path, default)
    if name == 'over_dump':
        return {'dump_path': directory(config.over_dump_path, 'overflow_dump'), 'dump_debug_mode': 'all'}
    if name == 'data_dump_flag':
        return {'dump_path': directory(config.data_dump_path, 'data_dump')}
    if name == 'graph_cache':          # each device has its own, because the graphs of ranks differ
        return {'graph_compiler_cache_dir': os.path.join(os.path.abspath(config.output_path), paths.GRAPH_CACHE,
                                                         str(config.device_id))}
    if name == 'aoe_mode':
        return {'work_path': directory(None, 'aoe')}
    if name == 'profiling':
        return {'profiling_options': _profile(directory(config.profiling_dump_path, 'profiling'),
                                              config.profiling_options)}
    return {}


def _profile(folder, asked):
    """The JSON text of the usual profiling options, with --profiling_options=KEY=VALUE,... laid over them."""
    options = {'output': folder, 'training_trace': 'on', 'task_time': 'on', 'hccl': 'on', 'aicpu': 'on',
               'fp_point': '', 'bp_point': '', 'aic_metrics': 'PipeUtilization'}
    flag = typed('profiling_options', asked)
    for assignment in re.split(r',(?=[^,=]*=)', asked) if asked else []:
        key, equals, value = assignment.partition('=')
        if not equals:
            raise InputError('%s: must be KEY=VALUE,KEY=VALUE,...' % flag)
        options[key] = value
        if key == 'task_trace':
            del options['task_time']  # which is its newer name
    text = json.dumps(options)
    try:
        option_kinds.check_profiling(options, len(text.encode()))
    except ValueError as error:
        raise InputError('%s: %s' % (flag, error))
    return text


def _of_npu_option(config) -> Iterator[Tuple[str, str, Any]]:
    """(flag, key, typed value) of every --npu_option."""
    for assignment in config.npu_option:
        flag = typed('npu_option', assignment)
        key, equals, text = assignment.partition('=')
        if not equals:
            raise InputError(flag + ': must be key=value')
        yield flag, key, (parse_raw if key.startswith(RAW) else parse_option)(flag, key, text)
