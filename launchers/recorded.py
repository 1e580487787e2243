"""The record of a run: what was asked of it, on what machine it runs, where its results lie, and its page."""
import os
import platform
import subprocess
from typing import Any, ContextManager, Dict, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.device import Device
from core.recipe import Recipe
from core.run import Listener, Options
from core.settings import config as config_lib
from core.settings.config import Config
from core.settings.table import ROOT, SWITCHES
from launchers.run_report import reported

_CHINESE = {'NPU driver': 'NPU 驱动'}
Rows = List[Tuple[Tuple[str, str], str]]  # ((English, Chinese), value)


def recorded(recipe: Recipe, config: Config, device: Device, options: Options) -> ContextManager[Sequence[Listener]]:
    """The `reported` of core/training/loop.py's train(): the run has a record, pictures and a page."""
    return reported(_write_page, recipe, config, lambda: facts(recipe, config, device, options))


def _write_page(run_dir, pictures):
    from core.pages import page    # when the first page is due, because most of a run needs none
    page.write(run_dir, pictures)


def facts(recipe: Recipe, config: Config, device: Device, options: Options) -> Dict[str, Any]:
    """What core/reporting/record.py's `start` holds of a run: settings, precision, environment, results."""
    precision = device.precision(config, options)
    return dict(settings=_settings(recipe, config), precision=precision,
                environment=_environment(device, precision), results=_results(config, device, options))


def _settings(recipe: Recipe, config: Config) -> List[Tuple[str, str, str]]:
    """(name, value, value of the published recipe) of each switch that means something to a run of this network."""
    published = config_lib.published(recipe, config.values())
    rows = [(row.name, getattr(config, row.name, None), published.get(row.name))
            for row in (*SWITCHES, *recipe.switches)
            if row.name not in ('network', 'rank_size', 'device_id', 'print_config')]
    return [(name, _text(value), _text(recipes)) for name, value, recipes in rows
            if not (value is None and recipes is None)]


def _text(value):
    if value in (None, ()):
        return '–'
    return ' '.join(value) if isinstance(value, tuple) else str(value)


def _environment(device: Device, precision: str) -> Rows:
    rows = [(('device', '设备'), '%s: %s' % (device.name, device.hardware())),
            (('precision in force', '生效的精度'), precision),
            (('TensorFlow', 'TensorFlow'), tf.__version__),
            (('Python, NumPy', 'Python、NumPy'), '%s, %s' % (platform.python_version(), np.__version__)),
            *(((name, _CHINESE.get(name, name)), version) for name, version in device.software().items()),
            (('commit', '代码版本'), commit() or '–'),
            (('system', '系统'), '%s, %d of %d cores' % (
                platform.platform(terse=True), len(os.sched_getaffinity(0)), os.cpu_count()))]
    return [row for row in rows if row[1] != '–']


def commit() -> str:
    """The commit of this repository, with + when files were changed since; '' outside git."""
    try:
        described = subprocess.run(
            ['git', '--git-dir', os.path.join(ROOT, '.git'), '--work-tree', ROOT, 'describe', '--always', '--abbrev=12',
             '--dirty=+', '--exclude=*'],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        return described.stdout.decode().strip() if described.returncode == 0 else ''
    except OSError:
        return ''


def _results(config: Config, device: Device, options: Options) -> Rows:
    """Where results lie, and for each NPU switch that is on where it writes."""
    rows = [(('all results', '全部结果'), config.run_dir), (('checkpoints', '检查点'), config.ckpt_dir),
            (('TensorBoard', 'TensorBoard'), config.summary_dir)]
    rows += [((key, key), str(value)) for key, value in options.items()]
    rows += [(('dump or profile', '转储或性能数据'), folder) for folder in device.output_directories(options)]
    return rows
