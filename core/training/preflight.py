"""Preflight: everything about a run that can be refused before data is read or a device is touched."""
import math
import os
from typing import Any, Dict, Optional, Sequence

from google.protobuf import text_format

from core.device import Device
from core.errors import InputError
from core.reporting import record
from core.run import Options
from core.settings import paths
from core.settings.config import Config, typed
from core.settings.table import INPUT, NO_DATA, OUTPUT, SWITCHES, SYNTHETIC
from core.training import checkpoints

_LEAST_ROOM = 2 ** 20          # bytes: a log, a report, a summary; a checkpoint as large as the last one comes on top


def check(config: Config, device: Device, device_ids: Sequence[int] = ()) -> Options:
    """The NpuOptimizer options of the run on `device`. Raises InputError for what is wrong with the run.

    device_ids: of all ranks of this server; the launcher moves their last results away. (): the run's own alone.
    """
    averaging = average_of(config)
    if averaging:
        averaging.check(config)
    options = device.options(config)
    device.check(config, options)
    if config.train_steps:
        check_iterations(device.steps_per_run(options), {'training steps': config.train_steps})
    moved = [config._replace(device_id=number).run_dir for number in device_ids or [config.device_id]]
    _check_inputs(config, options, moved)
    _check_outputs(config, device.output_directories(options))
    for name, path in _paths(config, OUTPUT):
        if _is_inside(path, set(moved) - {config.run_dir}):
            raise InputError('%s: inside the results of another rank, which the next run moves away; choose '
                             'another directory' % typed(name, path))
    return options


def average_of(config: Config) -> Optional[Any]:
    """The class of the average that the run makes, an average.Average, which few runs load; None without one."""
    if config.swa_start_epoch is not None:
        from core.training.swa import Averaging
        return Averaging
    if config.ema_decay:
        from core.training.average import Exponential
        return Exponential
    return None


def resumable(config: Config, steps: int) -> float:
    """Only checkpoints of steps below this one can be resumed in a run of `steps`: not the last one, after which the
    average is made, where the average is missing."""
    averaging = average_of(config)
    is_missing = averaging and checkpoints.newest_step(os.path.join(config.ckpt_dir, averaging.folder)) < steps
    return steps if is_missing else math.inf


def check_iterations(iterations: int, counts: Dict[str, int]) -> None:
    """Raises InputError unless the step counts {what: steps} are multiples of the `iterations` of one session.run."""
    for what, steps in counts.items():
        if steps % iterations:
            below = steps // iterations * iterations
            nearest = '%d or %d' % (below, below + iterations) if below else str(iterations)
            raise InputError('--npu_option=iterations_per_loop=%d: the %d %s are no multiple of it; the nearest are %s'
                             % (iterations, steps, what, nearest))


def _check_inputs(config, options, moved):
    """Raises InputError for files that are not there, or will not be when the last run's results have been moved."""
    if config.data_path not in (None, SYNTHETIC, NO_DATA):
        paths.check_readable('--data_path', config.data_path)
    for name, path in _paths(config, INPUT):
        if path not in (SYNTHETIC, NO_DATA) and _is_inside(path, moved):
            raise InputError('%s: inside the results, which this run moves away; copy it elsewhere first' % (
                typed(name, path)))
    for key, value in options.items():
        if isinstance(value, str) and os.path.isfile(value) and _is_inside(value, moved):
            raise InputError('%s: inside the results, which this run moves away; copy it elsewhere first' % (
                typed('npu_option', '%s=%s' % (key, value))))
    if config.ckpt_path and not config.resume and _is_inside(config.ckpt_path, moved):
        raise InputError('--ckpt_path=%s: inside the results that this run replaces; continue that run with '
                         '--resume, or copy the checkpoint elsewhere first' % config.ckpt_path)


def _check_outputs(config, folders):
    """Raises InputError for directories, the `folders` of the NPU switches among them, that results cannot go to."""
    paths.check_writable('--output_path', config.run_dir)
    ckpt_flag = '--modeldir' if config.modeldir else '--output_path'
    paths.check_writable(ckpt_flag, config.ckpt_dir)
    paths.check_writable('--summary' if config.summary else '--output_path', config.summary_dir)
    for folder in folders:
        flags = [name for name, path in _paths(config, OUTPUT) if _is_inside(folder, [path])] + ['output_path']
        paths.check_writable('--' + flags[0], folder)
    if os.path.realpath(config.ckpt_dir) == os.path.realpath(config.run_dir):
        raise InputError('--modeldir=%s: holds the results, which the next run moves away; use a directory in it, or '
                         'another' % config.modeldir)
    checkpoints.check_no_pattern(ckpt_flag, config.ckpt_dir)
    if config.modeldir and not config.resume:
        averaging = average_of(config)
        checkpoints.check_unused(config.ckpt_dir, checkpoints.BEST, *[averaging.folder] if averaging else [])


def _kept(config):
    """Entries of run_dir that --resume must not archive: they lead to checkpoints, summaries and record."""
    paths = (config.ckpt_dir, config.summary_dir, record.directory(config.run_dir)) if config.resume else ()
    # With and without links resolved: ckpt/ may link to another disk, and --modeldir may link into run_dir.
    names = {os.path.relpath(resolve(path), resolve(config.run_dir)).split(os.sep)[0]
             for path in paths for resolve in (os.path.abspath, os.path.realpath)}
    return sorted(names - {os.pardir})


def _paths(config, what):
    """(switch, path) of each that the table calls an INPUT or an OUTPUT and that is set."""
    return [(row.name, getattr(config, row.name)) for row in SWITCHES
            if row.path == what and getattr(config, row.name)]


def _is_inside(path, directories):
    parents = tuple(os.path.join(os.path.realpath(directory), '') for directory in directories)
    return os.path.join(os.path.realpath(path), '').startswith(parents)


def lines(config: Config, device: Device, device_ids: Sequence[int]) -> Dict[str, object]:
    """What the run would be, as {key: value} for the launcher. Raises InputError like check()."""
    check(config, device, device_ids)
    if config.modeldir:
        checkpoints.check_unclaimed(config.ckpt_dir)
    paths.check_room('--output_path', config.run_dir, _LEAST_ROOM)
    paths.check_room('--modeldir' if config.modeldir else '--output_path', config.ckpt_dir,
                     _LEAST_ROOM + checkpoints.size(config.ckpt_dir))
    return dict(case_name=config.case_name, run_dir=config.run_dir, batch_size=config.batch_size,
                data_path='' if config.synthetic else config.data_path,
                synthetic=config.synthetic, kept='/'.join(_kept(config)),
                keep_history='' if config.keep_history is None else config.keep_history,
                max_restarts=config.max_restarts, stall_seconds=config.stall_seconds)


def describe_session(config: Config, device: Device) -> str:
    """The text of the ConfigProto that the run's session would get (--print_config). Raises InputError like check()."""
    return text_format.MessageToString(device.session_config(check(config, device), config))
