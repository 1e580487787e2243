"""Training: a recipe and a Config made into one run. The only place that knows the order of things."""
import contextlib
import os
from typing import Any, Callable, NamedTuple

import tensorflow as tf

from core.errors import InputError
from core.host.memory import keep_freed_memory
from core.log import say
from core.npu import bridge, switches
from core.npu.options import check_iterations
from core.ranks import communicator
from core.reporting.neutral_log import NeutralLog
from core.reporting.report import Reporter, SkippedSteps, Summaries
from core.settings.config import MOST, Config, checksums
from core.training import checkpoints, evaluation, hooks, preflight, step, swa
from core.training.clock import Clock


class Run(NamedTuple):
    """What a recipe's own hooks may hold on to."""
    config: Config
    clock: Clock
    step: step.Step
    train_input: Any               # data.pipeline.Input
    evaluate: Callable             # evaluate(session) -> {'loss': ..., ...}; every rank calls it
    listener: Any                  # the recipe's log lines
    engine: communicator.Engine


class _Start(tf.train.SessionRunHook):
    """Puts the weights and the stream of batches where the run begins: fresh, warm or resumed."""

    def __init__(self, run, saved):
        self._config, self._saved, self._step, self._engine = run.config, saved, run.step, run.engine
        self._input, self._steps, self._steps_per_run = run.train_input, run.clock.steps, run.clock.steps_per_run

    def begin(self):
        self._weights = tf.train.Saver(self._step.model_variables)
        steps = tf.get_variable('steps', initializer=tf.constant(self._steps, tf.int64), trainable=False,
                                collections=[tf.GraphKeys.LOCAL_VARIABLES])
        flags = tf.get_variable('flags', initializer=tf.constant(list(checksums(self._config).values()), tf.int64),
                                trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
        self._plan = dict(checkpoints.facts(), steps=steps), flags
        self._as_rank_0 = self._engine.broadcast(tf.global_variables() + [steps, flags])

    def after_create_session(self, session, coord):
        planned, flags = session.run(self._plan)
        if self._engine.rank == 0:
            self._restore(session)
        session.run(self._as_rank_0)
        shared, flags_of_rank_0 = session.run(self._plan)
        _check_same_flags(self._config, flags, flags_of_rank_0)
        self._check_same(planned, shared)
        done = int(session.run(self._step.number))
        if done >= self._steps:
            raise hooks.NothingLeft(checkpoints.nothing_left(self._config, done, self._steps))
        if (self._steps - done) % self._steps_per_run:
            raise InputError('--npu_option=iterations_per_loop=%d: the %d steps that are left are no multiple of it' % (
                self._steps_per_run, self._steps - done))
        self._input.initialize(session, done)

    @staticmethod
    def _check_same(planned, shared):
        """Raises InputError when this rank was to do something else than rank 0: they would wait for each other."""
        for name, value in planned.items():
            if value != shared[name]:
                raise InputError('%s is %d here and %d on rank 0: give all ranks the same flags and data' % (
                    name, value, shared[name]))

    def _restore(self, session):
        if not (self._config.resume and self._saved.resume(session)) and self._config.ckpt_path:
            path, reader = checkpoints.find(self._config.ckpt_path)
            checkpoints.check_fits(path, reader, self._step.model_variables, self._config.network)
            self._weights.restore(session, path)
            say('weights from checkpoint: %s' % path)


class _AfterStart(tf.train.SessionRunHook):
    """Calls load(session) once the variables are initialised."""

    def __init__(self, load):
        self._load = load

    def after_create_session(self, session, coord):
        self._load(session)


class _Save(tf.train.SessionRunHook):
    """Saves a checkpoint every --save_interval epochs and after the last step."""

    def __init__(self, clock, save, interval):
        self._clock, self._save, self._interval = clock, save, interval

    def after_run(self, run_context, run_values):
        clock = self._clock
        if clock.at_end or clock.passed(self._interval * clock.steps_per_epoch):
            self._save(run_context.session)


def train(recipe, config, cpu_gradients):
    """Trains `recipe` as `config` says.

    cpu_gradients: context manager under which the training graph is built on a CPU.
    Raises InputError for bad input, hooks.LossIsNotFinite, hooks.Interrupted, hooks.NothingLeft and
    communicator.RankLost.
    """
    options = preflight.check(config)
    data = recipe.load(config)
    device = bridge.detect(config.device)
    if device == 'cpu':
        keep_freed_memory()
    with tf.Graph().as_default():
        # Only noise is to differ between ranks: initial weights are those of rank 0.
        tf.set_random_seed(config.seed + config.rank)
        inputs = recipe.train_input(data, config), recipe.test_input(data, config)
        engine = communicator.connect(config, device, options, recipe.split_strategy)
        flags = checksums(config).values()
        _check_same_flags(config, flags, engine.meet(flags))
        with cpu_gradients() if device == 'cpu' else contextlib.nullcontext():
            run = _build(recipe, config, device, options, *inputs, engine)
        train_op, device_hooks = run.step.train_op, []
        if run.clock.steps_per_run > 1:
            train_op, load = bridge.loop_on_device(train_op, run.clock.steps_per_run)
            device_hooks = [_AfterStart(load)]
        session_config = bridge.session_config(options, config.device)
        engine.configure(session_config)
        _prepare(config, options, device)
        with engine.together(), _claimed(config):
            _loop(train_op, run, session_config, _hooks(recipe, run) + device_hooks)


def _check_same_flags(config, own, shared):
    """Raises InputError when a flag's checksum is another than on rank 0: the ranks would wait for each other for ever.

    Asked before there is a graph, and on NPUs, which cannot meet before (Engine.meet), when the weights are sent.
    """
    for name, here, on_rank_0 in zip(checksums(config), own, shared):
        if here != on_rank_0:
            raise InputError('--%s=%s: rank 0 has another value; give all ranks the same flags' % (
                name, getattr(config, name)))


def _build(recipe, config, device, options, train_input, test_input, engine):
    """The Run: its training and its test graph."""
    steps_per_epoch = train_input.batches
    steps = config.train_steps or config.train_epochs * steps_per_epoch
    if steps > MOST:
        raise InputError('--train_epochs=%d: these are %d steps, more than %d' % (
            config.train_epochs, steps, MOST))
    # Lines, evaluations, averages and checkpoints come at the ends of epochs, which no loop may pass over.
    counts = {'training steps': steps}
    if steps > steps_per_epoch:
        counts['steps an epoch'] = steps_per_epoch
    check_iterations(options, counts)
    recipe = swa.scheduled(recipe, config, -(-steps // steps_per_epoch), steps_per_epoch)
    built = step.build(recipe, config, device, engine, train_input.batch, steps, steps_per_epoch)
    tested = evaluation.build(recipe, config, test_input, engine)
    checkpoints.add_facts(**checkpoints.settings(config), train_size=train_input.size,
                          steps_per_epoch=steps_per_epoch)
    per_run = options.get('iterations_per_loop', 1) if device == 'npu' else 1
    clock = Clock(built.number, steps, steps_per_epoch, per_run)

    def evaluate(session):
        session.run(built.synchronise)
        return tested(session)
    return Run(config, clock, built, train_input, evaluate, (recipe.log or NeutralLog)(), engine)


def _claimed(config):
    """The context in which rank 0 alone writes checkpoints."""
    return checkpoints.claimed(config.ckpt_dir, config.resume) if config.rank == 0 else contextlib.nullcontext()


def _prepare(config, options, device):
    """Makes the directories and says what a reader of the log should know."""
    results = [config.run_dir] + ([config.ckpt_dir, config.summary_dir] if config.rank == 0 else [])
    for directory in results + switches.output_folders(options):
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise InputError('%s: cannot be made: %s; choose another --output_path' % (directory, error.strerror))
    if config.synthetic:
        say('Training on built-in synthetic data: the accuracy says nothing about a real data set')
    notice = switches.off_npu_notice(config)
    if notice and device != 'npu':
        say(notice)


def _hooks(recipe, run):
    """Every hook of the run, in the order in which they see a finished step."""
    config, clock, built = run.config, run.clock, run.step
    listeners = [run.listener] + ([Summaries(config.summary_dir)] if config.rank == 0 else [])
    if config.loss_scale is not False:
        listeners.append(SkippedSteps())
    short = clock.steps < config.display_step
    display_step = clock.steps_per_epoch if short else config.display_step
    live = hooks.terminal()
    reporter = Reporter(clock, built, config, display_step, run.evaluate, listeners)
    method_hooks = recipe.hooks(run) + swa.averaging(run, reporter)
    # After the hooks above, whose variables it has to hold.
    saved = checkpoints.Checkpoints(config.ckpt_dir, config.network, run.engine)

    def save(session):
        session.run(built.synchronise)
        saved.save(session, clock.step)
    return ([_Start(run, saved), clock, hooks.StopOnBadLoss(clock, built.loss), reporter]
            + method_hooks
            + [_Save(clock, save, config.save_interval)]
            + ([hooks.LiveLine(clock, built.loss, config.batch_size * config.ranks, live)] if live else [])
            + [hooks.StopOnSignal(clock, built, save)])


def _loop(train_op, run, session_config, run_hooks):
    # SingularMonitoredSession, unlike MonitoredTrainingSession, never restarts a session by itself.
    with tf.train.SingularMonitoredSession(run_hooks, master=run.engine.target,
                                           config=session_config) as session:
        while not run.clock.at_end:
            session.run(train_op)
