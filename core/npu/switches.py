"""From the trainer's switches to NpuOptimizer options (docs/vendor-contract.md section 4)."""
import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from core.errors import InputError
from core.npu.options import fault, parse_option
from core.settings.config import Config, idle, typed
from core.settings.rules import is_on
from core.settings.table import NPU_ONLY, SWITCHES


class _Set(NamedTuple):
    flag: str      # what the user typed, such as '--over_dump=True'
    value: object  # typed


def switch_options(config: Config) -> Dict[str, Any]:
    """{key: typed value} of every NpuOptimizer option that the command line sets.

    The folders that --over_dump, --data_dump_flag and --profiling write to need not be there yet: see output_folders().
    Raises InputError naming flag, value and what is allowed.
    """
    settings = {}
    for flag, key, value in list(_of_switches(config)) + list(_of_npu_option(config)):
        if key in settings:
            raise InputError('%s: %s is already set by %s' % (flag, key, settings[key].flag))
        settings[key] = _Set(flag, value)
    options = {key: setting.value for key, setting in settings.items()}
    broken = fault(options)
    if broken:
        key, message = broken
        raise InputError('%s: %s' % (settings[key].flag, message))
    return options


def output_folders(options: Dict[str, Any]) -> List[str]:
    """The folders that dumps and profiles go to, for the caller to create before a session."""
    profile = json.loads(options.get('profiling_options', '{}')).get('output')
    return [folder for folder in (options.get('dump_path'), profile) if folder]


def off_npu(config: Config) -> List[str]:
    """Lines about what the switches of this run do off an NPU."""
    without_effect, lines = [], []
    for row in _in_effect(config):
        value = getattr(config, row.name)
        given = [typed(row.name, one) for one in (value if row.repeated else [value])]
        if row.off_npu == NPU_ONLY:
            without_effect += given
        elif row.off_npu:
            lines.append('Off an NPU, %s: %s' % (' '.join(given), row.off_npu))
    if without_effect:
        lines.insert(0, 'These switches act on an NPU only: ' + ' '.join(without_effect))
    return lines


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
                yield flag, key, other


def _beside(name, config):
    """{key: value} of the further options that a switch needs."""
    def folder(own, place):
        return own or os.path.join(config.data_save_path or config.output_path, place)
    return {
        'over_dump': lambda: {'dump_path': folder(config.over_dump_path, 'overflow_dump'), 'dump_debug_mode': 'all'},
        'data_dump_flag': lambda: {'dump_path': folder(config.data_dump_path, 'data_dump'), 'dump_mode': 'all'},
        'profiling': lambda: {'profiling_options': _profile_everything(
            folder(config.profiling_dump_path, 'profiling'))}}.get(name, dict)()


def _profile_everything(folder):
    return json.dumps({'output': folder, 'training_trace': 'on', 'task_trace': 'on', 'aicpu': 'on',
                       'fp_point': '', 'bp_point': '', 'aic_metrics': 'PipeUtilization'})


def _of_npu_option(config) -> Iterator[Tuple[str, str, Any]]:
    """(flag, key, typed value) of every --npu_option."""
    for assignment in config.npu_option:
        flag = typed('npu_option', assignment)
        key, equals, text = assignment.partition('=')
        if not equals:
            raise InputError(flag + ': must be key=value')
        yield flag, key, parse_option(flag, key, text)
