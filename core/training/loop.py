"""Training: one run of a recipe, by a Config. The order of everything in a run is decided here."""
import contextlib
import os
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Sequence, Tuple

import tensorflow as tf

from core.device import Device, KeptGraphs
from core.errors import InputError, NothingLeft, input_errors
from core.log import say
from core.progress import progress
from core.recipe import Recipe, load
from core.reporting.report import EvaluationLines, Figures, NeutralLog, Reporter, SkippedSteps, Summaries
from core.run import Clock, Communicator, Listener, Options, Run
from core.settings.config import Config, idle_lines
from core.settings.table import MOST
from core.training import checkpoints, evaluation, forms, hooks, identity, preflight, step, weights

Reported = Callable[[Recipe, Config, Device, Options], ContextManager[Sequence[Listener]]]
Judged = Callable[[Run, '_Save'], tf.train.SessionRunHook]
Initial = Callable[[Config, Sequence[tf.Variable]], Dict[tf.Variable, Any]]


@contextlib.contextmanager
def not_reported(recipe: Recipe, config: Config, device: Device, options: Options) -> Iterator[Sequence[Listener]]:
    """The context of a run that leaves no record."""
    del recipe, config, device, options
    yield ()


class _Start(tf.train.Scaffold):
    """Gives all variables their first values, on all ranks in one run of the session, and goes to the first batch.

    Rank 0 takes what a checkpoint has; everything else starts from its initializer. TensorFlow finalizes a Scaffold
    after the begin() of all hooks and before there is a session, so variables that hooks make there are among them.
    """

    # Else the session would initialise variables and look whether they are: that would be four more graphs.
    init_op = ready_op = local_init_op = ready_for_local_init_op = None

    def __init__(self, run: Run, saving: '_Save', kept: KeptGraphs, initial: Initial):
        super().__init__(init_fn=lambda scaffold, session: self._start(session))
        self._run, self._saving, self._kept, self._initial = run, saving, kept, initial

    def finalize(self) -> tf.train.Scaffold:
        self._saving.build()
        self._build()
        # Scaffold's own finalize() would add a Saver and two searches for uninitialized variables, which nobody runs.
        tf.get_default_graph().finalize()
        self._kept.complete(tf.get_default_graph())
        return self

    def _build(self):
        run = self._run
        self._facts = dict(run.facts, steps=run.clock.steps)
        self._flags = list(identity.checksums(run.config).values())
        steps, flags = (tf.get_variable(name, initializer=tf.constant(value, tf.int64), trainable=False,
                                        collections=[tf.GraphKeys.LOCAL_VARIABLES])
                        for name, value in (('steps', run.clock.steps), ('flags', self._flags)))
        shared = tf.global_variables() + [steps, flags]
        of_rank_0 = dict(zip(shared, run.communicator.broadcast(list(map(_initialized, shared)))))
        assigned = [v.assign(value).op for v, value in of_rank_0.items()] if run.communicator.ranks > 1 else []
        self._assigned = tf.group(*assigned, *[v.initializer for v in shared + tf.local_variables()])
        facts = {name: of_rank_0[v] for name, v in dict(identity.facts(), steps=steps).items()}
        self._of_rank_0 = of_rank_0[run.step.global_step], of_rank_0[flags], facts
        self._values = dict(run.notes)
        if run.communicator.rank == 0:
            self._values.update(self._from_checkpoint())

    def _start(self, session):
        run = self._run
        self._kept.watch(session)
        (done, flags, facts), _ = session.run(
            (self._of_rank_0, self._assigned), {v.initializer.inputs[1]: value for v, value in self._values.items()})
        identity.check_flags(run.config, self._flags, flags)
        identity.check_facts(self._facts, facts)
        if done >= run.clock.steps:
            raise NothingLeft(checkpoints.nothing_left(run.config, done, run.clock.steps))
        if (run.clock.steps - done) % run.clock.steps_per_run:
            raise InputError('--npu_option=iterations_per_loop=%d: the %d steps that are left are no multiple of it' % (
                run.clock.steps_per_run, run.clock.steps - done))
        run.clock.start(int(done))
        self._values.clear()
        run.train_input.initialize(session, int(done))

    def _from_checkpoint(self) -> Dict[tf.Variable, Any]:
        """{variable: value} of those that the run to resume, or --ckpt_path, has a value for."""
        config = self._run.config
        values = self._saving.saver.resume(config, self._run.facts, self._saving.may_lack, preflight.resumable(
            config, self._run.clock.steps)) if config.resume else {}
        return values or (self._initial(config, self._run.step.model_variables) if config.ckpt_path else {})


def _initialized(variable):
    """The value of a variable after its initializer, by an edge of the graph.

    TensorFlow's optimizer may move the reading of a reference variable before its control dependencies.
    """
    if variable.initializer.outputs:
        return variable.initializer.outputs[0]
    with tf.control_dependencies([variable.initializer]):  # a resource variable
        return variable.read_value()


class _Begin(tf.train.SessionRunHook):
    """Calls begin() of the listeners that the command has given."""

    def __init__(self, run, data, given):
        self._run, self._data, self._given = run, data, given

    def after_create_session(self, session, coord):
        for listener in self._given:
            listener.begin(self._run, self._data)


class _Save(tf.train.SessionRunHook):
    """Saves a checkpoint every --save_interval epochs and --save_steps steps, and after the last step.

    averaging: None without an average. The average is made after the last checkpoint, and after the last evaluation.
    """

    def __init__(self, run: Run, averaging: Optional[Any], reporter: Reporter):
        self._run, self._clock, self._average, self._reporter = run, run.clock, averaging, reporter
        self._barrier, self._done_at = run.communicator.barrier(), None
        self.may_lack = set(run.notes)     # variables that checkpoints of earlier versions lack
        self._intervals = [run.config.save_interval * run.clock.steps_per_epoch] + [
            steps for steps in [run.config.save_steps] if steps]

    def build(self) -> None:
        """Adds to the graph what saves all variables; called when all hooks have made theirs."""
        config = self._run.config
        self.saver = checkpoints.Checkpoints(config.ckpt_dir, config.network, tf.global_variables())

    def after_run(self, run_context, run_values):
        self.save_due(run_context.session)
        if self._clock.at_end and self._average:
            self._average.finish(run_context.session, self.save, self._reporter)

    def save_due(self, session: tf.Session) -> None:
        """Updates the average and saves a checkpoint, where they are due, unless an earlier call has after this step.
        """
        clock = self._clock
        if self._done_at == clock.step:
            return
        self._done_at = clock.step
        if self._average:
            self._average.update(session)
        if clock.at_end or any(map(clock.passed, self._intervals)):
            self.save(session)

    def save(self, session: tf.Session, saver: Optional[checkpoints.Checkpoints] = None) -> None:
        """Saves a checkpoint of this step, by `saver` or in ckpt/. Every rank calls it and returns when it is written.
        """
        if self._run.communicator.rank == 0:
            (saver or self.saver).save(session, self._clock.step)
        if self._run.communicator.ranks > 1:
            session.run(self._barrier)


def train(recipe: Recipe, config: Config, device: Device, initial: Initial, reported: Reported = not_reported,
          judged: Judged = None) -> None:
    """Trains `recipe` on `device` by `config`.

    initial(config, model variables) -> {variable: value} of what --ckpt_path has for a run that resumes none.
    reported(recipe, config, device, options) -> a context around the run with the further listeners of this rank.
    judged(run, what saves) -> the hook that judges the validation part, by judge(session), where the data has one.
    Raises each RunEnd of core/errors.py.
    """
    progress.begin(config.ranks_directory, config.rank, config.stall_seconds, device.is_exclusive)
    options = preflight.check(config, device)
    with reported(recipe, config, device, options) as given, input_errors():
        _train(recipe, config, device, options, initial, given, judged)


def connect(config: Config, device: Device, options: Options, split: Sequence[int]) -> Communicator:
    """The Communicator of a run: the device's own, such as HCCL, or the exchange on one server.

    split: Recipe.split_strategy. Raises InputError when a rank does not answer.
    """
    own = device.communicator(config, options, split)
    if own is not None:
        return own
    if config.ranks == 1:
        return Communicator()
    from core.ranks.one_server import OneServer    # here, because most runs have one rank
    return OneServer(config.rank, config.ranks, config.ranks_directory, config.connect_timeout,
                     device.shared_exchange())


def _train(recipe, config, device, options, initial, given, judged):
    data, config = load(recipe, config)
    if getattr(data, 'summary', ''):   # what was read, and what was left out
        say(data.summary)
    device.prepare(config, options)
    with tf.Graph().as_default():
        # Each rank draws noise of its own; the initial weights come from rank 0 all the same.
        tf.set_random_seed(config.seed + config.rank)
        inputs = [recipe.train_input(data, config), recipe.test_input(data, config)]
        if judged and getattr(data, 'validation', None) is not None:
            inputs.append(recipe.test_input(data._replace(test=data.validation), config))
        communicator = connect(config, device, options, recipe.split_strategy)
        flags = identity.checksums(config).values()
        identity.check_flags(config, flags, communicator.rendezvous(flags))
        with device.graph(config, options):
            run = _build(recipe, config, device, options, data, inputs, communicator, given)
        train_op, loop_hooks = device.loop(run.step.train_op, run.clock.steps_per_run)
        session_config = device.session_config(options, config)
        communicator.configure(session_config)
        _prepare(config, options, device)
        kept = device.kept_graphs(config, options, session_config)
        with communicator.together(), _claimed(config), kept:
            saving, run_hooks = _hooks(recipe, run, data, given, judged, loop_hooks + device.hooks(run))
            start = _Start(run, saving, kept, initial)
            _loop(train_op, run, session_config, start, run_hooks)


def _build(recipe, config, device, options, data, inputs, communicator, given):
    """The Run with its training graph, its test graph and that of a validation part."""
    train_input, test_input, *_ = inputs
    steps_per_epoch = train_input.batches
    steps = config.train_steps or config.train_epochs * steps_per_epoch
    if steps > MOST:
        raise InputError('--train_epochs=%d: these are %d steps, more than %d' % (
            config.train_epochs, steps, MOST))
    # A loop on the device must not run past the end of an epoch: log lines, evaluations and checkpoints are due there.
    counts = {'training steps': steps}
    if steps > steps_per_epoch:
        counts['steps an epoch'] = steps_per_epoch
    preflight.check_iterations(device.steps_per_run(options), counts)
    averaging = preflight.average_of(config)
    if averaging:
        recipe = averaging.scheduled(recipe, config, -(-steps // steps_per_epoch), steps_per_epoch)
    training = step.build(recipe, config, device, communicator, train_input.batch, steps, steps_per_epoch,
                          options)
    evaluate, *validate = [evaluation.build(recipe, config, each, communicator) for each in inputs[1:]]
    facts = dict(identity.facts_of(config), train_size=train_input.size, steps_per_epoch=steps_per_epoch,
                 class_names=identity.checksum(config.class_names),
                 **{identity.INPUT_FORM: identity.checksum(forms.text(forms.of(train_input.batch[0])))})
    identity.add_facts(**facts)
    notes = weights.add_notes(config.class_names, forms.of(test_input.batch[0]),
                              recipe.images.constants(data) if recipe.images else {}, identity.flags_of(config))
    clock = Clock(steps, steps_per_epoch, device.steps_per_run(options))
    head = recipe.model.head
    listener = recipe.log() if recipe.log else NeutralLog(head.headline)
    return Run(config, options, clock, training, train_input, evaluate, lambda: next(iter(evaluate.newest), None),
               listener, communicator, facts, head.headline, head.smaller_is_better, notes,
               lambda step, values: [listener.values(step, values) for listener in given], *validate)


def _claimed(config):
    """A context in which no other process writes to the directory of the checkpoints; only rank 0 writes there."""
    return checkpoints.claimed(config.ckpt_dir, config.resume) if config.rank == 0 else contextlib.nullcontext()


def _prepare(config, options, device):
    """Makes the directories of the results and prints what a reader of the log should know about the run."""
    results = [config.run_dir] + ([config.ckpt_dir, config.summary_dir] if config.rank == 0 else [])
    for directory in results + device.output_directories(options):
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise InputError('%s: cannot be made: %s; choose another --output_path' % (directory, error.strerror))
    if config.synthetic:
        say('Training on built-in synthetic data: the accuracy says nothing about a real data set')
    for line in idle_lines(config) + device.notice(config, options):
        say(line)


def _hooks(recipe: Recipe, run: Run, data: Any, given: Sequence[Listener], judged: Judged,
           device_hooks: List[tf.train.SessionRunHook]) -> Tuple[_Save, List[tf.train.SessionRunHook]]:
    """What saves, and every hook in the order in which the hooks are called at each point of a step."""
    config, clock, training = run.config, run.clock, run.step
    renewal = evaluation.Renewal(run)
    live = hooks.live_line(clock, training.loss, config.batch_size * config.ranks)

    def evaluate(session):
        for line in live:
            line.evaluates()
        renewal(session)
        validation = judge.judge(session) if judge else None   # which is a part of what is saved
        saving.save_due(session)       # whatever becomes of the test, the steps before it are kept
        return run.evaluate(session), validation
    reporter = _reporter(run, evaluate, given)
    method_hooks = recipe.hooks(run)
    average = preflight.average_of(config)
    averaging = average and average(run, renewal)
    saving = _Save(run, averaging, reporter)
    judge = judged(run, saving) if run.validate else None
    return saving, [
        clock,                                                # counts the step, for all hooks below
        *([judge] if judge else []),                          # before anything begins: --early_stop has ended some runs
        _Begin(run, data, given),
        *device_hooks,                                        # before a bad loss ends the run: they may show its cause
        hooks.StopOnBadLoss(clock, training.loss),            # before anything is reported or saved
        reporter,                                             # evaluates, after a checkpoint that is due, and prints
        *method_hooks,
        *([averaging] if averaging else []),
        saving,                                               # after all variables have the values of this step
        *live,
        *hooks.stop_without_launcher(),                       # before the next one, which gets its signal
        hooks.StopOnSignal(clock, training, saving.save)]     # last: it ends the run


def _reporter(run, evaluate, given):
    config, clock = run.config, run.clock
    listeners = [run.listener, Figures(config.run_dir, run.listener, config.ranks)]
    if config.rank == 0:
        listeners.append(Summaries(config.summary_dir))
    if config.loss_scale is not False:
        listeners.append(SkippedSteps())
    if config.eval_steps:
        listeners.append(EvaluationLines())
    listeners += given
    display_step = config.display_step if config.display_step <= clock.steps else clock.steps_per_epoch
    return Reporter(clock, run.step, config, display_step, evaluate, listeners)


def _loop(train_op, run, session_config, start, run_hooks):
    # MonitoredTrainingSession would restart a session after some errors without a word.
    with tf.train.SingularMonitoredSession(run_hooks, start, run.communicator.target, session_config) as session:
        while not run.clock.at_end:
            session.run(train_op)
