"""Stands in for Python where a launcher is to train toy.py: `toy_python.py REPOSITORY {plan,train,...} ...`.

TOY_FIFO=RANK:PATH has the batches of one rank wait for a FIFO once: the first trainer of it removes the FIFO.
"""
import os
import sys

program, command, *arguments = sys.argv[1:]
if program == '-c':                # the launcher asks what it is
    print('TensorFlow 1.15.0')
    sys.exit()
if command not in ('plan', 'train'):
    os.execv(sys.executable, [sys.executable] + sys.argv[1:])

import tensorflow as tf  # noqa: E402
import toy  # noqa: E402
from data import pipeline  # noqa: E402

rank, _, fifo = os.environ.get('TOY_FIFO', '').partition(':')
BATCH_THAT_WAITS = 20


def waits(x, y, seed):
    """The batch as it is, after a read of the FIFO if it is this rank's twentieth."""
    def read(values):
        waits.count += 1
        if waits.count == BATCH_THAT_WAITS and os.path.exists(fifo):
            path = fifo + '.once'
            os.rename(fifo, path)
            with open(path) as file:
                file.read()
        return values
    values, = tf.py_func(read, [x], [x.dtype])
    values.set_shape(x.shape)
    return values, y


waits.count = 0


def train_input(data, config):
    return pipeline.train_input(data.train, config.batch_size, config.seed, transform=waits, rank=config.rank,
                                ranks=config.ranks)


if rank and rank == os.environ.get('RANK_ID'):
    toy.RECIPE = toy.RECIPE._replace(train_input=train_input)
act = toy.plan if command == 'plan' else toy.run
sys.exit(act(*arguments, **os.environ))
