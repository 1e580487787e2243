"""A worker of the benchmark in TensorFlow: tensorflow_worker.py WAY [trainer flag...]. WAY is one of

    ours      the trainer itself, with one more hook, which takes the turns
    mkl       the same with TensorFlow's own gradients, on the MKL wheel
    baseline  the net in the usual way: TensorFlow's own gradients, batches by feed_dict, loss and summaries every step
    input     the input pipeline alone
"""
import contextlib
import functools
import itertools
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

# The package first: it silences TensorFlow's warnings about names.
from launchers import command  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.python.util import nest  # noqa: E402

import flops  # noqa: E402
import shares  # noqa: E402
from core import recipe as recipe_lib  # noqa: E402
from core.cpu import kernels  # noqa: E402
from core.device import keep_memory  # noqa: E402
from launchers.devices import CPU  # noqa: E402
from launchers.networks import image_sets  # noqa: E402
from core.pretrained import initial  # noqa: E402
from core.training import evaluation, loop  # noqa: E402
from turns import Turns  # noqa: E402

NEVER = 10 ** 6                # epochs
FLAGS = ('--case=performance', '--device=cpu', '--train_steps=%d' % 10 ** 8, '--val_epoch=%d' % NEVER,
         '--save_interval=%d' % NEVER)
BATCHES = 4                    # that are fed to the baseline and to PyTorch, over and over
NETWORK = 'network.npz'        # in the baseline's output path
HYPER_PARAMETERS = ('learning_rate', 'momentum', 'weight_decay', 'keep_prob')   # that PyTorch's networks need
LOADING = ('batch_size', 'data_path', 'random_resized_crop', 'mirror')          # that pytorch_pipeline.py needs
PRODUCT = 4096                 # rows and columns of the matrices of the peak
TRIES = 3                      # of which the fastest counts


class TakeTurns(tf.train.SessionRunHook):
    """Makes the trainer's steps in the bursts that the driver asks for."""

    def __init__(self, turns):
        self._turns = turns

    def after_create_session(self, session, coord):
        self._turns.begin(kernels=shares.used(session.graph))

    def after_run(self, run_context, run_values):
        self._turns.stepped()


def ours(turns, recipe, config, device=CPU):
    """Trains as launchers/train.py does."""
    keep_memory()
    loop.train(recipe._replace(hooks=lambda run: list(recipe.hooks(run)) + [TakeTurns(turns)]), config, device,
               initial.values)


def own(turns, recipe, config):
    """Trains so without what makes the graph faster on a CPU."""
    kernels.library = lambda: None
    ours(turns, recipe, config, CPU._replace(graph=lambda *_: contextlib.nullcontext()))


def baseline(turns, recipe, config):
    """Trains in the usual way; first writes what pytorch_worker.py makes the same net from.

    `losses` are those of the first batch, without dropout, before and after a step that trains on it.
    """
    data, config = recipe_lib.load(recipe, config)
    batches = _batches(recipe, data, config)
    feeds = nest.map_structure(lambda array: tf.placeholder(array.dtype, array.shape), batches[0])
    drops = tf.placeholder_with_default(1., [])        # 0: dropout is off
    global_step = tf.train.get_or_create_global_step()
    _, scores = evaluation.computed(recipe.model, *feeds, True, config,
                                    lambda x, rate: tf.nn.dropout(x, rate=rate * drops))
    loss = evaluation.means(scores)['loss'] + recipe.model.penalty(config)
    operations = flops.training_step(tf.get_default_graph())
    learning_rate = recipe.learning_rate(config, global_step, config.train_steps)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = recipe.optimizer(learning_rate, config).minimize(loss, global_step)
    for name, value in dict(evaluation.means(scores), loss=loss).items():
        tf.summary.scalar(name, value)
    summaries, product = tf.summary.merge_all(), _product()
    fed = [dict(zip(nest.flatten(feeds), nest.flatten(batch))) for batch in batches]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        count = _hand_over(session, batches, config.output_path)
        same, losses = {**fed[0], drops: 0.}, []
        for op in (train_op, ()):
            losses.append(float(session.run(loss, same)))
            session.run(op, same)
        values = config.values()
        hyper_parameters = {name: value for name, value in values.items() if name in HYPER_PARAMETERS}
        is_of_files = values.get('random_resized_crop') and len(nest.flatten(batches[0])) == 2
        turns.begin(lambda: _peak(session, product), version=tf.__version__, hardware=CPU.hardware(),
                    flops=operations, parameters=count, losses=losses, images=_images(batches[0]),
                    classes=config.classes, **dict(hyper_parameters, batch_size=config.batch_size),
                    **({'files': _loading(config)} if is_of_files else {}))
        writer = tf.summary.FileWriter(config.output_path)
        for step in itertools.count():
            _, _, summary = session.run([train_op, loss, summaries], fed[step % BATCHES])
            writer.add_summary(summary, step)
            turns.stepped()


def _hand_over(session, batches, directory):
    """Writes NETWORK: the weights in the order of their layers, and the batches. Returns the number of parameters."""
    weights = session.run(tf.trainable_variables())
    arrays = {'weight_%03d' % number: value for number, value in enumerate(weights)}
    for number, batch in enumerate(batches):
        arrays.update(('batch_%d_%d' % (number, part), array) for part, array in enumerate(nest.flatten(batch)))
    np.savez(os.path.join(directory, NETWORK), **arrays)
    return sum(value.size for value in weights)


def _batches(recipe, data, config):
    """The first batches of the training, as arrays."""
    with tf.Graph().as_default(), tf.Session() as session:
        train_input = recipe.train_input(data, config)
        train_input.initialize(session)
        return [session.run(train_input.batch) for _ in range(BATCHES)]


def _images(batch):
    """How many images go through the net in a step: (images, labels), or several such pairs."""
    pairs = batch if isinstance(batch[0], tuple) else [batch]
    return sum(len(images) for images, _ in pairs)


def _product():
    """(the product of two large matrices, not fetched; the op that fills them)."""
    factors = [tf.get_variable('factor_%d' % number, [PRODUCT, PRODUCT], trainable=False, collections=[],
                               initializer=tf.random_uniform_initializer(-1, 1)) for number in range(2)]
    return tf.matmul(*factors).op, tf.group(*(factor.initializer for factor in factors))


def _peak(session, product):
    op, fill = product
    session.run(fill)
    seconds = []
    for _ in range(TRIES + 1):
        start = time.perf_counter()
        session.run(op)
        seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT ** 3 / min(seconds) / 1e9


def _loading(config):
    """What pytorch_pipeline.py needs to read the same files."""
    values = config.values()
    return dict({name: values[name] for name in LOADING if name in values}, size=image_sets.size_of(config),
                images=config.batch_size)


def input_alone(turns, recipe, config):
    """Makes batches and drops them."""
    data, config = recipe_lib.load(recipe, config)
    train_input = recipe.train_input(data, config)
    made = tf.group(*nest.flatten(train_input.batch))
    with tf.Session() as session:
        train_input.initialize(session)
        turns.begin(**dict(_loading(config), images=_images(session.run(train_input.batch))))
        while True:
            session.run(made)
            turns.stepped()


WAYS = dict(ours=ours, mkl=own, baseline=baseline, input=input_alone)

if __name__ == '__main__':
    shares.leave_out(os.environ.get(shares.LEFT_OUT))
    sys.exit(command.run(functools.partial(WAYS[sys.argv[1]], Turns()), list(FLAGS) + sys.argv[2:], os.environ))
