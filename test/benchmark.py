"""How long a training step takes, with this framework's convolution gradient and with TensorFlow's own:

    .venv/bin/python test/benchmark.py [--network=cspnet] [any flag of the trainer]

Both graphs stand in one process and take turns, so that a busy machine slows both; the median of each counts.
The last line has the bytes of the gradients, which ranks exchange in every step (docs/scaling.py).
"""
import contextlib
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import tensorflow as tf  # noqa: E402

from core.host.devices import CPU  # noqa: E402
from core.host.gradients import fast_cpu_gradients  # noqa: E402
from core.ranks.communicator import Communicator  # noqa: E402
from core.training import step  # noqa: E402
from launchers import command  # noqa: E402

ROUNDS, STEPS = 5, 4


class Trainer:
    """One built training graph with its session, after two steps of warm-up."""

    def __init__(self, recipe, config, gradients):
        with tf.Graph().as_default() as graph, gradients():
            tf.set_random_seed(config.seed)
            train_input = recipe.train_input(recipe.load(config), config)
            self._step = step.build(recipe, config, CPU, Communicator(), train_input.batch, 1000, train_input.batches)
            self._session = tf.Session(graph=graph, config=CPU.session_config({}, config))
            self._session.run(tf.global_variables_initializer())
            train_input.initialize(self._session)
            self.gradient_bytes = sum(v.shape.num_elements() * v.dtype.base_dtype.size
                                      for v in tf.trainable_variables())
        self.seconds_per_step(2)

    def seconds_per_step(self, steps=STEPS):
        start = time.time()
        for _ in range(steps):
            self._session.run([self._step.train_op, self._step.loss])
        return (time.time() - start) / steps


def act(recipe, config):
    """Prints milliseconds a step and images a second, both ways."""
    trainers = {'this framework': Trainer(recipe, config, fast_cpu_gradients),
                "TensorFlow's own gradient": Trainer(recipe, config, contextlib.nullcontext)}
    times = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, trainer in trainers.items():
            times[name].append(trainer.seconds_per_step())
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print('%s, %s: %.1f ms/step, %.1f images/s' % (
            config.network, name, 1000 * median, config.batch_size / median))
    print('%s: %d bytes of gradients' % (config.network, trainers['this framework'].gradient_bytes))


if __name__ == '__main__':
    sys.exit(command.run(act, ['--case=performance'] + sys.argv[1:], os.environ))
