"""Evaluation: the test graph and its means over the whole test set."""
from typing import Any, List, NamedTuple

import numpy as np
import tensorflow as tf

from core.npu import bridge, switches
from core.ranks.communicator import Engine
from core.training import checkpoints, step


class Evaluation(NamedTuple):
    """A built test graph. Called with a session it returns {'loss': ..., 'accuracy': ..., ...}.

    A call raises InputError when too many files of the test set cannot be decoded.
    """
    input: Any                     # data.pipeline.Input of (x, y, weight)
    names: List[str]               # of the scores, 'loss' among them
    sums: Any                      # [scores + 1], over the rows of a batch that count, and the number of these rows
    share: Any                     # placeholder: what this rank has of
    total: Any                     # ... the sums over all batches
    penalty: Any                   # scalar, part of the loss as in training

    def __call__(self, session):
        self.input.initialize(session)
        share = sum(session.run(self.sums).astype(np.float64) for _ in range(self.input.batches))
        if self.input.skipped:
            self.input.skipped.check()
        *totals, count = session.run(self.total, {self.share: share})
        means = {name: float(total) / float(count) for name, total in zip(self.names, totals)}
        means['loss'] += float(session.run(self.penalty))
        return means


def build(recipe, config, test_input, engine):
    """Builds the Evaluation of `recipe` on `test_input`, sharing the variables of a training graph if there is one.

    Each rank evaluates its share of the batches; all have the means over the whole test set.
    """
    *batch, weight = test_input.batch
    outputs = recipe.model(tuple(batch), False, config, step.no_dropout)
    scores = dict(outputs.scores, loss=outputs.losses)
    names = sorted(scores)
    sums = tf.stack([tf.reduce_sum(scores[name] * weight) for name in names] + [tf.reduce_sum(weight)])
    share = tf.placeholder(tf.float32, sums.shape)
    total, = engine.sum([share])
    return Evaluation(test_input, names, sums, share, total, outputs.penalty)


def evaluate(recipe, config):
    """Means of the checkpoint --ckpt_path (unset: the run's newest) over the whole test set.

    By this process alone, whatever RANK_SIZE says, with the seed of the checkpoint's run.
    Raises InputError when there is no such checkpoint, or it is damaged or of another network.
    """
    options = switches.switch_options(config, 1)
    bridge.is_used(config.device)  # loads npu_bridge, where it is installed, before there is a session
    path, reader = checkpoints.find(config.ckpt_path or config.ckpt_dir)
    # Where a test set is drawn from the data, it is the one that the run has held out.
    config = config._replace(rank=0, ranks=1, seed=checkpoints.seed(reader, config.seed))
    with tf.Graph().as_default():
        built = build(recipe, config, recipe.test_input(recipe.load(config), config), Engine())
        variables = tf.global_variables()
        checkpoints.check_fits(path, reader, variables, config.network)
        saver = tf.train.Saver(variables)
        with tf.Session(config=bridge.session_config(options, config.device)) as session:
            saver.restore(session, path)
            return built(session)
