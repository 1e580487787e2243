"""Batch-norm statistics are computed anew before an evaluation, and training goes on as if they had not been."""
import re

import numpy as np
import pytest
import tensorflow as tf
import toy

from core.recipe import BATCH_STATISTICS
from core.run import Communicator
from core.settings.config import resolve
from core.training import evaluation


def read(path):
    """{variable: value} of a checkpoint."""
    reader = tf.train.NewCheckpointReader(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
def test_an_evaluation_uses_the_statistics_of_the_newest_batches_at_the_weights_of_the_moment(tmp_path):
    assert toy.run('--train_epochs=3', '--output_path=%s' % tmp_path) == 0
    saved = read(tmp_path / '0' / 'ckpt' / 'model.ckpt-30')
    data = toy.load(resolve(toy.RECIPE, {'case': 'performance'}, {})).train.x  # 30 batches of 8: three times all of it
    hidden = data @ saved['toy/dense/kernel'] + saved['toy/dense/bias']
    np.testing.assert_allclose(saved['toy/batch_norm/moving_mean'], hidden.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_training_is_the_same_with_and_without_evaluations(tmp_path, capfd):
    def losses(val_epoch):
        assert toy.run('--train_epochs=3', '--val_epoch=%d' % val_epoch, '--output_path=%s' % (
            tmp_path / str(val_epoch))) == 0
        return re.findall(r'^step .*', capfd.readouterr().out, re.M)
    with_evaluations = losses(1)
    assert len(with_evaluations) == 30 and with_evaluations == losses(9)


def test_cumulative_averages_are_means_over_batches_and_calls():
    batches = np.random.RandomState(0).normal(size=[7, 2, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as sess:
        average = tf.get_variable('average', initializer=tf.constant([5., 0., -1e9]))
        calls, batch = tf.placeholder(tf.float32, [2, 3]), tf.placeholder(tf.float32, [])
        for call in tf.unstack(calls):
            tf.add_to_collection(BATCH_STATISTICS, (average, call))
        variables, see_batch = evaluation.cumulative_averages(batch, Communicator())
        sess.run(average.initializer)
        for number, values in enumerate(batches):
            sess.run(see_batch, {batch: number, calls: values})
        assert variables == [average]
        np.testing.assert_allclose(sess.run(average), batches.mean((0, 1)), rtol=1e-5)
