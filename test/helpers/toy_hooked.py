"""toy.py with a hook whose variables are made in begin(), as TensorFlow's users write them."""
import os
import sys

import tensorflow as tf
import toy
from core.log import say


class StepsCounted(tf.train.SessionRunHook):
    """Counts steps, and has a number that each rank would draw differently; tells both at the end."""

    def begin(self):
        steps = tf.get_variable('steps_counted', [], tf.int64, tf.zeros_initializer(), trainable=False)
        drawn = tf.get_variable('drawn', [], initializer=tf.random_normal_initializer(), trainable=False)
        self._local = tf.Variable(3., trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
        self._fetches = [steps.assign_add(1), drawn, self._local]

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context, run_values):
        self._results = run_values.results

    def end(self, session):
        say('counted %d, drawn %.9g, local %g' % tuple(self._results))


if __name__ == '__main__':
    toy.RECIPE = toy.RECIPE._replace(hooks=lambda run: [StepsCounted()])
    sys.exit(toy.run(*sys.argv[1:], **os.environ))
