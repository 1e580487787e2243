"""RunReport: keeps the record and report.html of a run while it goes on, whatever way it ends.

The record begins with facts(): the settings of the run, its precision, its machine, and where its results lie.

All of its work lies between steps and at evaluations. A report that cannot be written never ends a run.
"""
import contextlib
import functools
import os
import platform
import subprocess
import traceback
from typing import Any, ContextManager, Dict, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.device import Device
from core.errors import Interrupted, NothingLeft, RunEnd
from core.log import say
from core.recipe import Recipe
from core.reporting import record
from core.reporting.report import Window
from core.run import Listener, Options, Report, Run, View
from core.settings import config as config_lib
from core.settings.config import Config
from core.settings.table import ROOT, SWITCHES
from data.dataset import numbered, sample_name

Rows = List[Tuple[str, str]]   # (name in English, value)
_CLASSES = 'classes'           # the picture that every classifier has
_LONGEST = 2000                # characters of an error's message


def _never_ends_the_run(method):
    """A method that logs why the report fails, once, and then does nothing more."""
    @functools.wraps(method)
    def act(self, *arguments, **options):
        if self._failed:
            return
        try:
            method(self, *arguments, **options)
        except Exception as error:  # whatever a recipe's picture or a disk may raise: the training matters more
            self._failed = True
            say('report.html: no longer written: %s: %s' % (type(error).__name__, error))
    return act


class RunReport(Listener):
    """The Listener of rank 0 that writes the record, the pictures and the page.

    facts: the `settings`, `precision`, `environment` and `results` of record.py's `start`.
    The record starts at once where the launcher has made an empty directory for it, so that a failure before the first
    step is in it. Elsewhere it starts with the run: a start that is refused leaves what is there as it is.
    """

    def __init__(self, recipe: Recipe, config: Config, facts: Dict[str, Any]):
        self._recipe, self._config, self._facts, self._record = recipe, config, facts, None
        self._failed, self._settled = False, set()   # the latter: pictures not to make again
        self._data, self._clock, self._report, self._predictions = None, None, None, lambda: None
        self._window = Window()
        if os.path.isdir(config.run_dir) and not os.path.exists(record.directory(config.run_dir)):
            self._open()

    @_never_ends_the_run
    def _open(self):
        config = self._config
        self._record = record.RecordWriter(config.run_dir)
        self._record.write('start', network=config.network, case=config.case, device_id=config.device_id,
                           ranks=config.ranks, batch_size=config.batch_size, resumed=config.resume,
                           headline=self._recipe.model.head.headline,
                           smaller_is_better=self._recipe.model.head.smaller_is_better, **self._facts)

    @_never_ends_the_run
    def begin(self, run: Run, data: Any) -> None:
        clock = run.clock
        self._config, self._data, self._clock, self._predictions = run.config, data, clock, run.predictions
        if not self._record:
            self._open()
        self._record.write('begin', step=clock.step, steps=clock.steps, steps_per_epoch=clock.steps_per_epoch,
                           data=getattr(data, 'summary', ''))

    @_never_ends_the_run
    def step(self, report: Report) -> None:
        first, seconds = self._window.advance(report)
        values = {'batch/' + name: value for name, value in report.metrics.items()}
        values.update(learning_rate=report.learning_rate, images_per_second=report.images_per_second,
                      seconds_per_step=report.seconds_per_step, seconds=report.seconds)
        if seconds > 0:
            values['speed_since'] = report.batch_size * (report.step - first) / seconds
        if report.loss_scale is not None:
            values['loss_scale'] = report.loss_scale
        self._record.point('step', report.step, values, keep=report.step == report.steps)

    @_never_ends_the_run
    def epoch(self, report: Report) -> None:
        self._report = report
        self._point('epoch', report.epoch_metrics)
        if report.evaluation:
            self._test_points(report)
            self._write_metrics(report, 'weights')
            self._draw(self._predictions())
            self._write_page()

    @_never_ends_the_run
    def evaluation(self, report: Report) -> None:
        self._report = report
        self._test_points(report)

    @_never_ends_the_run
    def average(self, evaluation: Dict[str, float]) -> None:
        self._point('average', evaluation, keep=True)
        self._write_metrics(self._report._replace(evaluation=evaluation), 'average of the weights')

    @_never_ends_the_run
    def end(self, report: Report) -> None:
        if self._predictions():
            from core.pages import per_class
            for line in per_class.lines(per_class.metrics(self._predictions(), self._class_names())):
                say(line)

    def _test_points(self, report):
        self._point('test', report.evaluation)
        if report.validation:
            self._point('validation', report.validation.metrics, keep=report.validation.step == report.step)

    def _point(self, kind, metrics, keep=False):
        step = self._report.step
        self._record.point(kind, step, {'%s/%s' % (kind, name): value for name, value in metrics.items()},
                           keep=keep or step == self._report.steps)

    def _write_metrics(self, report, tested):
        """metrics.json, mistakes.csv and the table of the classes."""
        from core.pages import per_class       # when the first is due, as the page
        predictions, names, test = self._predictions(), self._class_names(), getattr(self._data, 'test', None)
        per_class.write(self._config.run_dir, report, tested, self._recipe.model.head.headline, predictions, names,
                        lambda row: sample_name(test, row))
        if predictions:
            record.store_picture(self._config.run_dir, _CLASSES, per_class.table(per_class.metrics(predictions, names)))

    def _class_names(self):
        predictions = self._predictions()
        return self._config.class_names or numbered(len(predictions.right) if predictions else 0)

    @_never_ends_the_run
    def values(self, step: int, values: Dict[str, float]) -> None:
        """Values that a Device has measured at a step."""
        self._record.point('device', step, values)

    def _draw(self, predictions):
        """Makes the recipe's pictures that are due."""
        directory = self._config.run_dir
        stored = record.load_pictures(directory)
        view = View(self._config, self._data, self._report.step, self._report.epoch, predictions, stored.get)
        for name, picture in self._recipe.pictures().items():
            if name in self._settled:
                continue
            try:
                panel = picture.make(view)
                if panel:
                    record.store_picture(directory, name, panel)
                if panel and picture.once:
                    self._settled.add(name)
            except Exception as error:  # a picture is no reason to lose the others, let alone the run
                say('report.html: without the picture %s: %s: %s' % (name, type(error).__name__, error))
                self._settled.add(name)

    def _write_page(self):
        directory = self._config.run_dir
        stored = record.load_pictures(directory)
        shown = {name: stored[name] for name in (_CLASSES, *self._recipe.pictures()) if name in stored}
        from core.pages import page    # when the first page is due, because most of a run needs none
        page.write(directory, shown)

    def close(self, status: str, why: str) -> None:
        """After the run: the last pictures, the end in the record, the page."""
        if self._record:
            self._finish(status, why)
            self._record.close()

    @_never_ends_the_run
    def _finish(self, status, why):
        if status == record.DONE and self._report:
            self._draw(None)
        self._record.write('end', status=status, step=self._clock.step if self._clock else 0, why=why)
        self._write_page()


def _why(error: BaseException) -> str:
    """The message of an error; where it is not for users, also its type and the line that raised it."""
    if isinstance(error, RunEnd):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return '%s: %s (%s:%d)' % (type(error).__name__, str(error).strip()[:_LONGEST], frame.filename, frame.lineno)


@contextlib.contextmanager
def reported(recipe: Recipe, config: Config, device: Device, options: Options) -> ContextManager[Sequence[Listener]]:
    """The `reported` of core/training/loop.py's train(): a context with the RunReport of rank 0, none on other ranks.

    The context sees how the run ends.
    """
    if config.rank != 0:
        yield ()
        return
    report = RunReport(recipe, config, facts(recipe, config, device, options))
    status, why = record.DONE, ''
    try:
        yield [report]
    except NothingLeft:
        raise
    except Interrupted as end:
        status, why = record.STOPPED, str(end)
        raise
    except BaseException as error:
        status, why = record.FAILED, _why(error)
        raise
    finally:
        report.close(status, why)


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
    rows = [('device', '%s: %s' % (device.name, device.hardware())),
            ('precision in force', precision),
            ('TensorFlow', tf.__version__),
            ('Python, NumPy', '%s, %s' % (platform.python_version(), np.__version__)),
            *device.software().items(),
            ('commit', commit() or '–'),
            ('system', '%s, %d of %d cores' % (
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
    rows = [('all results', config.run_dir), ('checkpoints', config.ckpt_dir),
            ('TensorBoard', config.summary_dir)]
    rows += [(key, str(value)) for key, value in options.items()]
    rows += [('dump or profile', folder) for folder in device.output_directories(options)]
    return rows
