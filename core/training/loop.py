"""Training: one run of a recipe as a Config asks for it. The order of everything in a run is decided here."""
import contextlib
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import tensorflow as tf

from core.device import Options
from core.errors import InputError, NothingLeft
from core.host.devices import detect
from core.log import say
from core.npu import switches
from core.npu.options import check_iterations
from core.ranks.communicator import Communicator, connect
from core.recipe import Predictions, Recipe, load
from core.reporting.facts import facts
from core.reporting.neutral_log import NeutralLog
from core.reporting.report import Listener, Reporter, SkippedSteps, Summaries
from core.reporting.run_report import RunReport, reported
from core.settings.config import Config, idle_lines
from core.settings.table import MOST
from core.training import (checkpoints, evaluation, finetune, hooks, identity, preflight, statistics, step, swa,
                           weights)
from core.training.clock import Clock


class Run(NamedTuple):
    """A run whose graphs are built: what the hooks of a recipe, a device or a method may use."""
    config: Config
    options: Options               # of the NpuOptimizer
    clock: Clock
    step: step.Step
    train_input: Any               # data.pipeline.Input
    # evaluate(session) -> the metrics over the test set, {'loss': ..., ...}; every rank has to call it
    evaluate: Callable[[tf.Session], Dict[str, float]]
    # predictions() -> those of the newest evaluate() on this rank, None before
    predictions: Callable[[], Optional[Predictions]]
    listener: Listener             # prints the recipe's log lines
    communicator: Communicator
    notes: Dict[tf.Variable, Any]  # what inference needs beside the weights, and its values: weights.add_notes()


class _Start(tf.train.SessionRunHook):
    """Restores the checkpoint the run starts from, if any, on all ranks, and goes to the first batch that is left."""

    def __init__(self, run, saved):
        self._config, self._saved, self._step, self._communicator = run.config, saved, run.step, run.communicator
        self._notes = run.notes
        self._input, self._steps, self._steps_per_run = run.train_input, run.clock.steps, run.clock.steps_per_run

    def begin(self):
        steps = tf.get_variable('steps', initializer=tf.constant(self._steps, tf.int64), trainable=False,
                                collections=[tf.GraphKeys.LOCAL_VARIABLES])
        flags = list(identity.checksums(self._config).values())
        flags = tf.get_variable('flags', initializer=tf.constant(flags, tf.int64), trainable=False,
                                collections=[tf.GraphKeys.LOCAL_VARIABLES])
        self._plan = dict(identity.facts(), steps=steps), flags
        self._as_rank_0 = self._communicator.broadcast(tf.global_variables() + [steps, flags])

    def after_create_session(self, session, coord):
        planned, flags = session.run(self._plan)
        weights.load_notes(session, self._notes)
        if self._communicator.rank == 0:
            self._restore(session)
        session.run(self._as_rank_0)
        shared, flags_of_rank_0 = session.run(self._plan)
        identity.check_flags(self._config, flags, flags_of_rank_0)
        identity.check_facts(planned, shared)
        done = int(session.run(self._step.global_step))
        if done >= self._steps:
            raise NothingLeft(checkpoints.nothing_left(self._config, done, self._steps))
        if (self._steps - done) % self._steps_per_run:
            raise InputError('--npu_option=iterations_per_loop=%d: the %d steps that are left are no multiple of it' % (
                self._steps_per_run, self._steps - done))
        self._input.initialize(session, done)

    def _restore(self, session):
        if not (self._config.resume and self._saved.resume(session, self._config)) and self._config.ckpt_path:
            path, reader = weights.find(self._config.ckpt_path)
            if self._config.finetune:
                finetune.start(session, path, reader, self._step, self._config)
                return
            checkpoints.check_fits(path, reader, self._step.model_variables, self._config.network)
            weights.restore(session, reader, self._step.model_variables)
            say('weights from checkpoint: %s' % path)


class _BeginReport(tf.train.SessionRunHook):
    """Tells the report at which step the run begins."""

    def __init__(self, report, data, run):
        self._report, self._data, self._run = report, data, run

    def after_create_session(self, session, coord):
        clock = self._run.clock
        self._report.begin(self._run.config, self._data, clock.step, clock.steps, clock.steps_per_epoch,
                           self._run.predictions)


class _Save(tf.train.SessionRunHook):
    """Saves a checkpoint every --save_interval epochs and after the last step."""

    def __init__(self, clock, save, interval):
        self._clock, self._save, self._interval = clock, save, interval

    def after_run(self, run_context, run_values):
        clock = self._clock
        if clock.at_end or clock.passed(self._interval * clock.steps_per_epoch):
            self._save(run_context.session)


def train(recipe: Recipe, config: Config) -> None:
    """Trains `recipe` as `config` says.

    Raises each RunEnd of core/errors.py.
    """
    device = detect(config.device)
    options = preflight.check(config, device)
    with reported(recipe, config, lambda: facts(recipe, config, device, options)) as report:
        _train(recipe, config, device, options, report)


def _train(recipe, config, device, options, report):
    data, config = load(recipe, config)
    device.prepare(config, options)
    with tf.Graph().as_default():
        # Each rank draws noise of its own; the initial weights are those of rank 0 all the same.
        tf.set_random_seed(config.seed + config.rank)
        inputs = recipe.train_input(data, config), recipe.test_input(data, config)
        communicator = connect(config, device, options, recipe.split_strategy)
        flags = identity.checksums(config).values()
        identity.check_flags(config, flags, communicator.rendezvous(flags))
        with device.graph(config, options):
            run = _build(recipe, config, device, options, data, *inputs, communicator)
        train_op, loop_hooks = device.loop(run.step.train_op, run.clock.steps_per_run)
        session_config = device.session_config(options, config)
        communicator.configure(session_config)
        _prepare(config, options, device)
        with communicator.together(), _claimed(config):
            _loop(train_op, run, session_config, _hooks(recipe, run, data, report, loop_hooks + device.hooks(run)))


def _build(recipe, config, device, options, data, train_input, test_input, communicator):
    """The Run with its training and its test graph."""
    steps_per_epoch = train_input.batches
    steps = config.train_steps or config.train_epochs * steps_per_epoch
    if steps > MOST:
        raise InputError('--train_epochs=%d: these are %d steps, more than %d' % (
            config.train_epochs, steps, MOST))
    # A loop on the device must not run past the end of an epoch: log lines, evaluations and checkpoints are due there.
    counts = {'training steps': steps}
    if steps > steps_per_epoch:
        counts['steps an epoch'] = steps_per_epoch
    check_iterations(options, counts)
    recipe = swa.scheduled(recipe, config, -(-steps // steps_per_epoch), steps_per_epoch)
    training = step.build(recipe, config, device, communicator, train_input.batch, steps, steps_per_epoch)
    evaluate_on_statistics = evaluation.build(recipe, config, test_input, communicator)
    identity.add_facts(**identity.facts_of(config), train_size=train_input.size, steps_per_epoch=steps_per_epoch,
                       class_names=identity.checksum(config.class_names))
    notes = weights.add_notes(config.class_names, recipe.images.constants(data) if recipe.images else {})
    clock = Clock(training.global_step, steps, steps_per_epoch, device.steps_per_run(options))

    def evaluate(session):
        session.run(training.average_statistics)
        return evaluate_on_statistics(session)
    listener = (recipe.log or NeutralLog)()
    return Run(config, options, clock, training, train_input, evaluate,
               lambda: next(iter(evaluate_on_statistics.newest), None), listener, communicator, notes)


def _claimed(config):
    """A context in which no other process writes to the directory of the checkpoints; only rank 0 writes there."""
    return checkpoints.claimed(config.ckpt_dir, config.resume) if config.rank == 0 else contextlib.nullcontext()


def _prepare(config, options, device):
    """Makes the directories of the results and prints what a reader of the log should know about the run."""
    results = [config.run_dir] + ([config.ckpt_dir, config.summary_dir] if config.rank == 0 else [])
    for directory in results + switches.output_folders(options):
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise InputError('%s: cannot be made: %s; choose another --output_path' % (directory, error.strerror))
    if config.synthetic:
        say('Training on built-in synthetic data: the accuracy says nothing about a real data set')
    for line in idle_lines(config) + switches.unchecked(options) + device.notice(config):
        say(line)


def _hooks(recipe: Recipe, run: Run, data: Any, report: Optional[RunReport],
           device_hooks: List[tf.train.SessionRunHook]) -> List[tf.train.SessionRunHook]:
    """Every hook of the run, in the order in which the hooks are called at each point of a step."""
    config, clock, training = run.config, run.clock, run.step
    reporter = _reporter(run, report)
    # These make variables that checkpoints have to hold, so they come before the Saver.
    method_hooks = recipe.hooks(run) + swa.averaging(run, reporter)
    saver = checkpoints.Checkpoints(config.ckpt_dir, config.network, run.communicator)

    def save(session):
        session.run(training.average_statistics)
        saver.save(session, clock.step)
    return [
        _Start(run, saver),                                   # makes the variables what they are before the first step
        clock,                                                # counts the step, for all hooks below
        *([_BeginReport(report, data, run)] if report else []),
        *device_hooks,                                        # before a bad loss ends the run: they may show its cause
        hooks.StopOnBadLoss(clock, training.loss),            # before anything is reported or saved
        reporter,                                             # evaluates and prints
        *method_hooks,
        _Save(clock, save, config.save_interval),             # after all variables have the values of this step
        *hooks.live_line(clock, training.loss, config.batch_size * config.ranks),
        *hooks.stop_without_launcher(),                       # before the next one, which gets its signal
        hooks.StopOnSignal(clock, training, save)]            # last: it ends the run


def _reporter(run, report):
    config, clock = run.config, run.clock
    listeners = [run.listener]
    if config.rank == 0:
        listeners += [Summaries(config.summary_dir), report]
    if config.loss_scale is not False:
        listeners.append(SkippedSteps())
    renew_statistics = statistics.Renewal(run)

    def evaluate(session):
        renew_statistics(session)
        return run.evaluate(session)
    display_step = config.display_step if config.display_step <= clock.steps else clock.steps_per_epoch
    return Reporter(clock, run.step, config, display_step, evaluate, listeners)


def _loop(train_op, run, session_config, run_hooks):
    # MonitoredTrainingSession would restart a session after some errors without a word.
    with tf.train.SingularMonitoredSession(run_hooks, master=run.communicator.target,
                                           config=session_config) as session:
        while not run.clock.at_end:
            session.run(train_op)
