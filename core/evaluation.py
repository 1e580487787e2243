"""Evaluation: the test graph and its means over the whole test set."""
from typing import Any, Dict, NamedTuple

import tensorflow as tf

from core import checkpoints, npu, npu_switches, step


class Evaluation(NamedTuple):
    """A built test graph. Called with a session it returns {'loss': ..., 'accuracy': ..., ...}."""
    input: Any                     # data.pipeline.Input of (x, y, weight)
    sums: Dict[str, Any]           # name -> scalar, sum over the rows of a batch that count
    count: Any                     # scalar, number of these rows
    penalty: Any                   # scalar, part of the loss as in training

    def __call__(self, session):
        self.input.initialize(session)
        totals, count = dict.fromkeys(self.sums, 0.), 0.
        for _ in range(self.input.batches):
            sums, rows = session.run((self.sums, self.count))
            count += rows
            for name, value in sums.items():
                totals[name] += float(value)
        if self.input.skipped:
            self.input.skipped.check()
        means = {name: total / count for name, total in totals.items()}
        means['loss'] += float(session.run(self.penalty))
        return means


def build(recipe, config, test_input):
    """Builds the Evaluation of `recipe` on `test_input`, sharing the variables of a training graph if there is one."""
    *batch, weight = test_input.batch
    outputs = recipe.model(tuple(batch), False, config, step.no_dropout)
    scores = dict(outputs.scores, loss=outputs.losses)
    sums = {name: tf.reduce_sum(score * weight) for name, score in scores.items()}
    return Evaluation(test_input, sums, tf.reduce_sum(weight), outputs.penalty)


def evaluate(recipe, config):
    """Means of the checkpoint --ckpt_path (unset: the run's newest) over the whole test set.

    Raises InputError when there is no such checkpoint, or it is damaged or of another network.
    """
    options = npu_switches.switch_options(config, config.ranks)
    npu.is_used(config.device)
    with tf.Graph().as_default():
        built = build(recipe, config, recipe.inputs(recipe.load(config), config).test)
        variables = tf.global_variables()
        path = checkpoints.find(config.ckpt_path or config.ckpt_dir, variables, config.network)
        saver = tf.train.Saver(variables)
        with tf.Session(config=npu.session_config(options, config.device)) as session:
            saver.restore(session, path)
            return built(session)
