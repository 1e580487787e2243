"""The bridge for projects of tf.estimator and NPUEstimator: a Recipe of their model_fn and input_fns, unchanged.

The model_fn is called as an Estimator calls it: in TRAIN for a step, in EVAL for tests, in PREDICT for an export. Of
its EstimatorSpec count the loss, the predictions, the eval_metric_ops, the hooks of the training and the optimizer
behind its train_op. What the model_fn does to gradients does not: the exchange of ranks, the loss scale and
--clip_norm are this project's.
"""
import contextlib
import inspect
from typing import Any, Callable, List, Mapping, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import variable_scope

from core.errors import InputError
from core.log import say
from core.recipe import Head, Model, Recipe, Scores, Total
from core.device import cpu_session
from core.settings.table import NO_DATA
from data import pipeline
from launchers.networks import random_operators

TRAIN, EVAL, PREDICT = 'train', 'eval', 'infer'    # tf.estimator.ModeKeys
_CALL = 'model_fn_call'            # graph collection of the _Calls that wait for their labels
_OPTIMIZER = 'model_fn_optimizer'  # graph collection of the optimizer behind the train_op
_HOOKS = 'model_fn_hooks'
_RATES = '_lr', '_learning_rate', 'learning_rate'  # where an optimizer keeps its learning rate
_INNER = '_opt', '_optimizer', 'opt', 'optimizer'  # where an optimizer around another one keeps that


class _Call(NamedTuple):
    """A call of the net before its labels are there."""
    features: Any
    is_training: bool


def from_model_fn(model_fn: Callable, train_input_fn: Callable, eval_input_fn: Callable, params: Mapping[str, Any],
                  train_size: int, headline: str = 'loss', data_path: str = '', **parts: Any) -> Recipe:
    """The Recipe of an Estimator's functions.

    params: what the model_fn and the input_fns get; `batch_size` and `learning_rate` are the defaults of the switches,
    whose values the functions get; without a learning_rate the switch is a factor of the model_fn's own. train_size:
    the examples of an epoch. headline: one of the eval_metric_ops, or loss. data_path: the key of params that
    --data_path goes to; '': the functions know where their data is. parts: further fields of Recipe; in `defaults` more
    of its numbers.
    """
    def asked(config):
        values = dict(params, batch_size=config.batch_size, learning_rate=config.learning_rate)
        return dict(values, **{data_path: config.data_path} if data_path else {})

    def call(features, labels, mode, config):
        return _called(model_fn, features, labels, mode, asked(config), config)

    def net(features, is_training, config, dropout):
        del dropout                        # a model_fn has its own
        tf.add_to_collection(_CALL, _Call(features, is_training))
        if is_training:                    # the head has the labels, and makes the graph
            return tf.zeros([])
        predictions = call(features, None, PREDICT, config).predictions
        return predictions if isinstance(predictions, dict) else {'output': predictions}

    def score(outputs, labels, config):
        del outputs
        features, is_training = tf.get_collection_ref(_CALL).pop()
        count = tf.shape(tf.nest.flatten(features)[0])[:1]
        spec = call(features, labels, TRAIN if is_training else EVAL, config)
        losses = tf.fill(count, tf.cast(spec.loss, tf.float32))
        if is_training:
            tf.add_to_collection(_HOOKS, [*spec.training_hooks, *([] if config.rank else spec.training_chief_hooks)])
            metrics = {headline: Total(tf.zeros_like(losses)[:, None], float)}   # which counts in tests alone
        else:
            metrics = {name: _total(name, count, *metric) for name, metric in (spec.eval_metric_ops or {}).items()}
        metrics.pop('loss', None)
        return Scores(losses, metrics)

    def learning_rate(config, step, steps):
        del step, steps
        optimizer = tf.get_collection(_OPTIMIZER)[-1]
        rate = getattr(optimizer, _rate_of(optimizer) or '', config.learning_rate)
        rate = tf.cast(rate() if callable(rate) else rate, tf.float32)
        return rate if 'learning_rate' in params else rate * config.learning_rate

    defaults = dict(train_epochs=1, batch_size=params.get('batch_size'), learning_rate=params.get('learning_rate', 1.),
                    display_step=100, val_epoch=1, **{} if data_path else dict(data_path=NO_DATA))
    defaults.update(parts.pop('defaults', {}))
    if not defaults['batch_size']:
        raise ValueError("params must have 'batch_size', or defaults=dict(batch_size=...)")
    return Recipe(**dict(dict(
        defaults=defaults, load=lambda config: (), class_names=lambda data: (), built_in_data=not data_path,
        train_input=lambda data, config: pipeline.as_input(
            _training(train_input_fn, asked(config), config, train_size)),
        test_input=lambda data, config: pipeline.as_input(_test(eval_input_fn, asked(config), config)),
        model=Model(net, Head(score, headline, smaller_is_better=headline == 'loss', of_outputs=False)),
        learning_rate=learning_rate, optimizer=_optimizer,
        hooks=lambda run: [hook for hooks in tf.get_collection(_HOOKS) for hook in hooks]), **parts))


def _called(model_fn, features, labels, mode, params, config):
    """The EstimatorSpec of a call that shares its variables with all other calls in this graph."""
    known = dict(labels=labels, mode=mode, params=params, config=None)
    if 'config' in inspect.signature(model_fn).parameters:
        known['config'] = tf.estimator.RunConfig()
    arguments = {name: value for name, value in known.items() if name in inspect.signature(model_fn).parameters}
    graph, made = tf.get_default_graph(), []
    before = len(graph.get_operations())
    with _numbered_anew(), _optimizers(made), tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        spec = model_fn(features, **arguments)
    if mode == TRAIN:
        if not made:
            raise InputError('--network=%s: the train_op of the model_fn has no optimizer of tf.train' % config.network)
        if getattr(spec.scaffold, 'init_fn', None):
            raise InputError('--network=%s: the init_fn of a Scaffold is not called; start from weights by --ckpt_path '
                             'and --init_map' % config.network)
        tf.add_to_collection(_OPTIMIZER, made[0])
        random_operators.make_stateless(graph.get_operations()[before:], config)
    return spec


@contextlib.contextmanager
def _numbered_anew():
    """A context in which tf.layers counts its layers, and tf.losses its losses, as in the first call in a graph."""
    store = variable_scope.get_variable_scope_store()
    counts, store.variable_scopes_count = store.variable_scopes_count, {}
    tf.get_default_graph().clear_collection(tf.GraphKeys.LOSSES)
    try:
        yield
    finally:
        store.variable_scopes_count = counts


@contextlib.contextmanager
def _optimizers(made: List[tf.train.Optimizer]):
    """A context in which optimizers make no variables and update nothing; `made` gets the optimizer of the train_op."""
    own_init, watched = tf.train.Optimizer.__init__, []

    def init(optimizer, *args, **kwargs):
        own_init(optimizer, *args, **kwargs)
        watched.append(optimizer)
        optimizer.compute_gradients = lambda loss, var_list=None, *rest, **more: [
            (tf.zeros_like(v), v) for v in var_list or tf.trainable_variables()]
        optimizer.apply_gradients = lambda *rest, **more: (made.append(optimizer), tf.no_op())[1]
    tf.train.Optimizer.__init__ = init
    try:
        yield
    finally:
        tf.train.Optimizer.__init__ = own_init
        for optimizer in watched:
            del optimizer.compute_gradients, optimizer.apply_gradients
    made[:] = [_innermost(optimizer) for optimizer in made]


def _innermost(optimizer):
    for name in _INNER:
        inner = getattr(optimizer, name, None)
        if isinstance(inner, tf.train.Optimizer):
            return _innermost(inner)
    return optimizer


def _rate_of(optimizer):
    """The attribute that has the learning rate of an optimizer; None without one."""
    return next((name for name in _RATES if getattr(optimizer, name, None) is not None), None)


def _optimizer(learning_rate, config):
    """Recipe.optimizer: the model_fn's, with the learning rate that the switches make of its own."""
    optimizer = tf.get_collection(_OPTIMIZER)[-1]
    if not _rate_of(optimizer):
        raise InputError('--optimizer: needed, for the learning rate of the %s of this model_fn cannot be found' %
                         type(optimizer).__name__)
    setattr(optimizer, _rate_of(optimizer), learning_rate)
    if config.verbose and not config.rank:
        say('The optimizer is the model_fn\'s %s, without what the model_fn does to gradients; --optimizer chooses '
            'another, --clip_norm clips' % type(optimizer).__name__)
    return optimizer


def _total(name: str, count: tf.Tensor, value: tf.Tensor, update: Any) -> Total:
    """The Total of a metric of tf.metrics; its variables are sums over batches.

    What a batch adds to them is its first row's part, the other rows have none: a batch counts as a whole or not.
    """
    variables = [v for v in tf.get_collection(tf.GraphKeys.METRIC_VARIABLES) if _reaches(value.op, v)]
    added = [_added(name, v, variables) for v in variables]
    shapes = [v.shape.as_list() for v in variables]
    parts = tf.concat([tf.reshape(tf.cast(one, tf.float32), [-1]) for one in added], 0)
    parts = tf.pad(parts[None], [[0, count[0] - 1], [0, 0]])
    parts.set_shape([None, sum(int(np.prod(shape)) for shape in shapes)])
    definition = tf.graph_util.extract_sub_graph(value.graph.as_graph_def(), [value.op.name])

    def of_sums(sums: np.ndarray) -> float:
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        with tf.Graph().as_default(), cpu_session() as session:
            fed = [tf.constant(part.reshape(shape), v.dtype.base_dtype)
                   for part, shape, v in zip(np.split(sums, cuts), shapes, variables)]
            values = {variable.op.name + ':0': one for variable, one in zip(variables, fed)}
            result, = tf.import_graph_def(definition, values, [value.name])
            return float(session.run(result))
    return Total(parts, of_sums)


def _reaches(op, variable):
    """Whether an operator is computed from a variable."""
    seen, waiting = set(), [op]
    while waiting:
        one = waiting.pop()
        if one is variable.op:
            return True
        if one not in seen:
            seen.add(one)
            waiting.extend(tensor.op for tensor in one.inputs)
    return False


def _added(name, variable, variables):
    """What a batch adds to one of the variables of a metric. Raises InputError for a metric that is no sum."""
    updates = [op for op in variable.op.outputs[0].consumers() if op.type in ('AssignAdd', 'ScatterAdd')]
    if len(updates) != 1 or any(_reaches(tensor.op, v) for tensor in updates[0].inputs[1:] for v in variables):
        raise InputError('eval_metric_ops: %s is no function of sums over batches, as metrics of tf.metrics are' % name)
    if updates[0].type == 'AssignAdd':
        return updates[0].inputs[1]
    _, indices, rows = updates[0].inputs
    return tf.unsorted_segment_sum(rows, indices, variable.shape[0].value)


def _dataset(input_fn, params, config, mode):
    """The tf.data.Dataset of an input_fn, in the same order on all ranks."""
    known = dict(params=params, mode=mode)
    arguments = {name: value for name, value in known.items() if name in inspect.signature(input_fn).parameters}
    graph = tf.get_default_graph()
    own, graph.seed = graph.seed, config.seed
    try:
        dataset = input_fn(**arguments)
    finally:
        graph.seed = own
    if not isinstance(dataset, tf.data.Dataset):
        raise InputError('--network=%s: an input_fn must return a tf.data.Dataset of (features, labels)' %
                         config.network)
    return dataset


def _training(input_fn, params, config, size) -> pipeline.Stream:
    """The endless Stream of an input_fn's batches, of which each rank takes one after the other."""
    with tf.device('/cpu:0'):
        start = tf.placeholder(tf.int64, [], name='first_step')
        dataset = _dataset(input_fn, params, config, TRAIN)
        first = tf.nest.flatten(tf.compat.v1.data.get_output_shapes(dataset))[0]
        if first[0].value != config.batch_size:
            raise InputError('--batch_size=%d: train_input_fn makes batches of %s; it must take params["batch_size"] '
                             'and drop the remainder' % (config.batch_size, first[0].value))
        dataset = dataset.repeat().shard(config.ranks, config.rank).skip(start)
    return pipeline.Stream(dataset, {}, (start,), pipeline.steps_per_epoch(size, config.batch_size, config.ranks), size)


def _test(input_fn, params, config) -> pipeline.Stream:
    """One pass over an input_fn's batches; ranks that get none in the last round have one that weighs nothing."""
    with tf.device('/cpu:0'):
        batches = _count(input_fn, params, config)
        rounds = -(-batches // config.ranks)
        dataset = _dataset(input_fn, params, config, EVAL).take(batches)

        def weighed(weight):
            return lambda features, labels: (
                features, labels, tf.fill(tf.shape(tf.nest.flatten(features)[0])[:1], weight))
        dataset = dataset.map(weighed(1.)).concatenate(dataset.take(1).repeat().map(weighed(0.)))
        dataset = dataset.take(rounds * config.ranks).shard(config.ranks, config.rank)
    return pipeline.Stream(dataset, {}, (), rounds, batches * config.batch_size)


def _count(input_fn, params, config) -> int:
    """The batches of a pass over an input_fn. Raises InputError for one without end, or without a batch."""
    with tf.Graph().as_default(), cpu_session() as session:
        tf.set_random_seed(config.seed)
        dataset = _dataset(input_fn, params, config, EVAL)
        cardinality = session.run(tf.data.experimental.cardinality(dataset))
        if cardinality == tf.data.experimental.INFINITE_CARDINALITY:
            raise InputError('--network=%s: eval_input_fn must end after one pass' % config.network)
        count = cardinality if cardinality >= 0 else session.run(dataset.reduce(np.int64(0), lambda n, *batch: n + 1))
    if not count:
        raise InputError('--network=%s: eval_input_fn has no batch' % config.network)
    return int(count)
