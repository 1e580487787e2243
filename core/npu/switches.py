"""From the trainer's switches to NpuOptimizer options (the end of contract section 4)."""
import json
import os
from typing import NamedTuple

from core.errors import InputError
from core.npu.options import faults, parse_option


class _Set(NamedTuple):
    flag: str      # what the user typed, such as '--over_dump=True'
    value: object  # typed


def switch_options(config, rank_size=1):
    """{key: typed value} of every NpuOptimizer option that the command line sets.

    config: core.config.Config. The folders that --over_dump, --data_dump_flag and --profiling write to need not be
    there yet: see output_folders().
    Raises InputError naming flag, value and what is allowed.
    """
    _check_switches(config)
    settings = {}
    for flag, key, value in list(_own_settings(config)) + list(_typed_settings(config)):
        if key in settings:
            raise InputError('%s: %s is already set by %s' % (flag, key, settings[key].flag))
        settings[key] = _Set(flag, value)
    options = {key: setting.value for key, setting in settings.items()}
    fault = next(faults(options, rank_size), None)
    if fault:
        key, message = fault
        raise InputError('%s: %s' % (settings[key].flag, message))
    return options


def output_folders(options):
    """The folders that dumps and profiles go to, for the caller to create before a session."""
    profile = json.loads(options.get('profiling_options', '{}')).get('output')
    return [folder for folder in (options.get('dump_path'), profile) if folder]


def off_npu_notice(config):
    """One line that says which switches of this run act on an NPU only; None without any."""
    names = ('precision_mode', 'over_dump', 'data_dump_flag', 'data_dump_step', 'profiling',
             'use_mixlist', 'mixlist_file', 'fusion_off_flag', 'fusion_off_file')
    given = ['--%s=%s' % (name, getattr(config, name)) for name in names if getattr(config, name)]
    given += ['--npu_option=' + assignment for assignment in config.npu_option]
    return 'These switches act on an NPU only: ' + ' '.join(given) if given else None


def _check_switches(config):
    """Refuses a switch without its file, a file without its switch, and both kinds of dump."""
    for switch, file in (('use_mixlist', 'mixlist_file'), ('fusion_off_flag', 'fusion_off_file')):
        if getattr(config, switch) and not getattr(config, file):
            raise InputError('--%s=True: needs --%s=FILE' % (switch, file))
    for switch, detail in (('use_mixlist', 'mixlist_file'), ('fusion_off_flag', 'fusion_off_file'),
                           ('data_dump_flag', 'data_dump_step')):
        if getattr(config, detail) and not getattr(config, switch):
            raise InputError('--%s=%s: needs --%s=True' % (detail, getattr(config, detail), switch))
    if config.over_dump and config.data_dump_flag:
        raise InputError('--over_dump=True: not together with --data_dump_flag=True')


def _own_settings(config):
    """(flag, key, typed value) of what a switch sets by itself."""
    def folder(name):
        return os.path.join(config.output_path, name)

    if config.over_dump:
        yield '--over_dump=True', 'enable_dump_debug', True
        yield '--over_dump=True', 'dump_path', folder('overflow_dump')
        yield '--over_dump=True', 'dump_debug_mode', 'all'
    if config.data_dump_flag:
        yield '--data_dump_flag=True', 'enable_dump', True
        yield '--data_dump_flag=True', 'dump_path', folder('data_dump')
        yield '--data_dump_flag=True', 'dump_mode', 'all'
    if config.profiling:
        yield '--profiling=True', 'profiling_mode', True
        yield '--profiling=True', 'profiling_options', _profile_everything(folder('profiling'))


def _profile_everything(folder):
    return json.dumps({'output': folder, 'training_trace': 'on', 'task_trace': 'on', 'aicpu': 'on',
                       'fp_point': '', 'bp_point': '', 'aic_metrics': 'PipeUtilization'})


def _typed_settings(config):
    """(flag, key, typed value) of every value that the user typed, checked against the table."""
    for name, key in (('precision_mode', 'precision_mode'), ('data_dump_step', 'dump_step'),
                      ('mixlist_file', 'modify_mixlist'),
                      ('fusion_off_file', 'fusion_switch_file')):
        text = getattr(config, name)
        if text:
            flag = '--%s=%s' % (name, text)
            yield flag, key, parse_option(flag, key, text)
    for assignment in config.npu_option:
        flag = '--npu_option=' + assignment
        key, equals, text = assignment.partition('=')
        if not equals:
            raise InputError(flag + ': must be key=value')
        yield flag, key, parse_option(flag, key, text)
