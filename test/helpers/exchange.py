"""One rank of a job that exchanges tensors: python exchange.py RESULT.npz, with the environment of a rank.

Every rank has its own weights, its own rows of one batch, and a gradient that is infinite on rank 1 only.
"""
import os
import sys
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from launching import PATIENCE  # noqa: E402
from launchers.devices import CPU  # noqa: E402
from core.ranks import buckets  # noqa: E402
from core.training.loop import connect  # noqa: E402

ROWS, FEATURES, CLASSES = 4, 3, 2
WORDS = 40                     # rows of an embedding, more than the batches of all ranks have


def batch(ranks):
    """The rows of all ranks: features and classes."""
    random = np.random.RandomState(1)
    return (random.normal(size=[ranks * ROWS, FEATURES]).astype(np.float32),
            random.randint(CLASSES, size=ranks * ROWS))


def variables(rank):
    """weights, bias, a statistic and a counter as rank `rank` has them at first."""
    random = np.random.RandomState(2 + rank)
    return [tf.get_variable(name, initializer=tf.constant(random.normal(size=shape), tf.float32))
            for name, shape in (('weights', [FEATURES, CLASSES]), ('bias', [CLASSES]), ('statistic', [2]))] + [
        tf.get_variable('counter', initializer=tf.constant(5 + rank, tf.int64), trainable=False)]


def loss(weights, bias, x, y):
    logits = tf.matmul(tf.constant(x), weights) + bias
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))


def exchange(communicator):
    """What this rank has of each exchange, {name: array}."""
    weights, bias, statistic, counter = variables(communicator.rank)
    held = [weights, bias, counter]
    rows = slice(communicator.rank * ROWS, (communicator.rank + 1) * ROWS)
    x, y = (array[rows] for array in batch(communicator.ranks))
    sgd = tf.train.GradientDescentOptimizer(1.)
    gradients = communicator.optimizer(sgd).compute_gradients(loss(weights, bias, x, y), [weights, bias])
    scaled = CPU.optimizer(communicator.optimizer(sgd), SimpleNamespace(loss_scale=True, emulate_precision=False), {})
    factor = np.inf if communicator.rank == 1 else 1.
    overflow = scaled.minimize(tf.reduce_sum(weights) * factor, var_list=[weights])
    table = tf.get_variable('table', [WORDS, FEATURES], initializer=tf.ones_initializer())
    words = tf.nn.embedding_lookup(table, tf.constant(y)) * tf.constant(x)
    (sparse, _), = communicator.optimizer(sgd).compute_gradients(tf.reduce_mean(tf.reduce_sum(words, 1)), [table])
    assert isinstance(sparse, tf.IndexedSlices) and sparse.indices.shape == [communicator.ranks * ROWS]
    rank = tf.constant(float(communicator.rank))
    exchanges = dict(sums=tf.stack(communicator.sum([rank, 2 * rank])),
                     means=tf.stack(communicator.mean([rank, 2 * rank])))
    received, average = communicator.broadcast(held), communicator.mean([statistic])
    broadcast = [variable.assign(value) for variable, value in zip(held, received)]
    communicator.rendezvous([0])
    with communicator.together(), tf.Session(communicator.target, config=session_config(communicator)) as session:
        session.run(tf.global_variables_initializer())
        results = dict(session.run(exchanges), average=session.run(average)[0])
        results['table_gradient'] = session.run(tf.convert_to_tensor(sparse))
        results.update(zip(('weights', 'bias', 'counter'), session.run(broadcast)))
        results.update(zip(('weights_gradient', 'bias_gradient'), session.run([g for g, _ in gradients])))
        session.run(overflow)
        results['weights_after_overflow'] = session.run(weights)
    return results


def session_config(communicator):
    config = tf.ConfigProto()
    communicator.configure(config)
    return config


def main(path):
    buckets.BUCKET_BYTES = 20  # the weights alone, the scalars together
    config = SimpleNamespace(rank=int(os.environ['RANK_ID']), ranks=int(os.environ['RANK_SIZE']),
                             addresses=tuple(filter(None, os.environ.get('RANK_ADDRESSES', '').split(','))),
                             connect_timeout=PATIENCE, ranks_directory=os.environ.get('RANKS_DIRECTORY', ''))
    np.savez(path, **exchange(connect(config, CPU, {}, ())))


if __name__ == '__main__':
    main(sys.argv[1])
