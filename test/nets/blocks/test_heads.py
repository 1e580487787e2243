"""The heads: their losses and metrics against NumPy, also of a test set in several batches; what they refuse."""
import numpy as np
import pytest
import tensorflow as tf

from nets.blocks import heads
from core.errors import InputError
from core.recipe import Head, Model, Scores, Total
from core.settings import config
from core.training import evaluation
from launchers.networks.registry import RECIPES

CONFIG = config.resolve(RECIPES['swa'], {}, {})
RANDOM = np.random.RandomState(0)
COUNT, SIZE = 37, 8


def metrics(head, outputs, labels):
    """{metric: value} of the head over rows in batches of SIZE, the last one filled up with rows that weigh nothing."""
    filled = [np.concatenate([rows, rows[:-COUNT % SIZE] + 1]).astype(rows.dtype) for rows in (outputs, labels)]
    with tf.Graph().as_default(), tf.Session() as session:
        fed = [tf.placeholder(rows.dtype, (SIZE,) + rows.shape[1:]) for rows in filled]
        weight = tf.placeholder(tf.float32, [SIZE])
        sums, metrics_of = evaluation.summed(evaluation.scored(head, *fed, CONFIG), weight)
        total = 0.
        for start in range(0, COUNT, SIZE):
            rows = np.arange(start, start + SIZE)
            feed = dict(zip(fed, (part[start:start + SIZE] for part in filled)))
            feed[weight] = rows < COUNT
            total = total + session.run(sums, feed).astype(np.float64)
        return metrics_of(total)


def test_regression_has_mse_mae_and_rmse():
    outputs, labels = RANDOM.normal(size=[2, COUNT, 1]).astype(np.float32)
    errors = (outputs - labels).astype(np.float64)
    found = metrics(heads.regression, outputs, labels[:, 0])
    expected = dict(loss=np.mean(errors ** 2), mse=np.mean(errors ** 2), mae=np.abs(errors).mean(),
                    rmse=np.sqrt(np.mean(errors ** 2)))
    assert found == pytest.approx(expected, rel=1e-6)


def test_auc_is_the_part_of_pairs_in_which_the_event_is_more_probable():
    labels = RANDOM.randint(0, 2, COUNT)
    logits = (RANDOM.normal(size=COUNT) + labels).astype(np.float32)
    bins = np.floor(1 / (1 + np.exp(-logits)) * heads.AUC_BINS)
    differences = bins[labels == 1][:, None] - bins[labels == 0]
    found = metrics(heads.binary, logits, labels)
    assert found['auc'] == pytest.approx(np.mean((differences > 0) + (differences == 0) / 2), abs=1e-6)
    assert found['accuracy'] == pytest.approx(np.mean((logits > 0) == labels), abs=1e-6)


def test_miou_is_the_mean_over_the_classes_of_the_whole_test_set():
    labels = RANDOM.randint(0, 3, [COUNT, 4, 5])
    logits = (RANDOM.normal(size=[COUNT, 4, 5, 4]) + 2 * np.eye(4)[labels]).astype(np.float32)
    guess = logits.argmax(-1)
    unions = [np.sum((guess == c) | (labels == c)) for c in range(4)]
    expected = np.mean([np.sum((guess == c) & (labels == c)) / unions[c] for c in range(4)])
    found = metrics(heads.segmentation, logits, labels)
    assert found['miou'] == pytest.approx(expected, abs=1e-6)
    assert found['accuracy'] == pytest.approx(np.mean(guess == labels), abs=1e-6)


def test_metrics_of_counts_are_those_by_hand():
    # Of 4 x 4 pairs 1 x 1 (half of two ties) + 3 x 3 (two that are below, half of two ties) are in the right order.
    assert heads.auc(np.array([[2, 2], [1, 3]])) == 10 / 16
    assert np.isnan(heads.auc(np.array([[2, 2], [0, 0]])))
    # The first class is always right, the second never, the third does not occur.
    assert heads.mean_iou(np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]])) == .5


@pytest.mark.parametrize('smoothing', [0., .1])
def test_smoothed_labels_take_their_share_of_every_class(smoothing):
    labels, logits = RANDOM.randint(0, 5, SIZE), RANDOM.normal(size=[SIZE, 5]).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(np.eye(5)[labels] * (1 - smoothing) + smoothing / 5) * logs
    with tf.Graph().as_default(), tf.Session() as session:
        scores = heads.softmax.score(tf.constant(logits), tf.constant(labels),
                                     CONFIG._replace(label_smoothing=smoothing))
        losses = session.run(scores.losses)
    np.testing.assert_allclose(losses, expected.sum(1), rtol=1e-5)


def test_top_k_counts_the_k_most_probable_classes():
    labels, logits = RANDOM.randint(0, 9, COUNT), RANDOM.normal(size=[COUNT, 9]).astype(np.float32)
    ranks = np.sum(logits > logits[np.arange(COUNT), labels][:, None], 1)
    found = metrics(heads.top_k(3), logits, labels)
    assert (found['accuracy'], found['top_3']) == pytest.approx((np.mean(ranks < 1), np.mean(ranks < 3)), abs=1e-6)


@pytest.mark.parametrize('score, words', [
    (lambda o, y, config: Scores(tf.reduce_mean(o), {}), r'losses must be \[batch\].* returns float32 \[\]'),
    (lambda o, y, config: Scores(o[:, 0], {'m': o}), r'the metric m must be \[batch\].* returns float32 \[8, 3\]'),
    (lambda o, y, config: Scores(o[:, 0], {'m': Total(tf.zeros([]), float)}), r'the Total m must be \[batch, ...\]'),
    (lambda o, y, config: Scores(o[:, 0], {'other': o[:, 0]}), 'headline m is none of the metrics .*: other'),
    (lambda o, y, config: Scores((o - y)[:, 0], {'m': o[:, 0]}),
     r'cannot score outputs float32 \[8, 3\] with labels int32 \[8\]')])
def test_a_head_that_returns_something_else_is_refused_in_words(score, words):
    with tf.Graph().as_default(), pytest.raises(InputError, match=words) as refused:
        evaluation.scored(Head(score, 'm'), tf.zeros([8, 3]), tf.zeros([8], tf.int32), CONFIG)
    assert len(str(refused.value)) <= 300 + len(__file__)


def test_a_net_that_cannot_take_its_inputs_is_refused_in_words():
    def net(x, is_training, config, dropout):
        return x['numbers']
    with tf.Graph().as_default(), pytest.raises(
            InputError, match=r"its net cannot take inputs \{ids: int32 \[8\]\}: 'numbers' \(\S*test_heads.py:\d+\)"):
        evaluation.computed(Model(net, heads.regression), {'ids': tf.zeros([8], tf.int32)}, None, True, CONFIG, None)
