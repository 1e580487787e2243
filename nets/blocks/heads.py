"""Heads: losses, metrics and predictions of outputs and labels, for Recipe.model; and Models made of them.

A recipe takes one of these, or brings a Head of its own in the same few lines.
"""
import inspect
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from core.device import keep_dtype
from core.recipe import Head, Model, Scores, Total, first_output
from core.settings.config import Config
from nets import layers

AUC_BINS = 4096                # of a probability: two that fall into one bin count as equal


def model(net: Callable, head: Head, penalty: Callable[[], tf.Tensor] = lambda: tf.zeros([])) -> Model:
    """The Model of net(inputs, is_training) -> outputs, which may also take dropout, classes and config by name.

    penalty() is the scalar that is multiplied by --weight_decay.
    """
    accepted = inspect.signature(net).parameters

    def called(inputs, is_training, config, dropout):
        known = dict(dropout=dropout, config=config, **({'classes': config.classes} if config.classes else {}))
        return net(inputs, is_training, **{name: value for name, value in known.items() if name in accepted})
    return Model(called, head, lambda config: config.weight_decay * penalty())


def _softmax(outputs: Any, labels: tf.Tensor, config: Config) -> Scores:
    """Logits [batch, classes]; labels are classes [batch], or distributions over them [batch, classes] float32.

    `accuracy` compares the most probable class with the label's (largest) one.
    """
    logits = tf.cast(first_output(outputs), tf.float32)
    soft = labels if labels.shape.ndims == 2 else tf.one_hot(labels, logits.shape[-1].value)
    smoothed = soft
    if config.label_smoothing:
        smoothed = soft * (1 - config.label_smoothing) + config.label_smoothing / logits.shape[-1].value
    losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.stop_gradient(smoothed), logits=logits)
    right = tf.cast(labels, tf.int32) if soft is not labels else tf.argmax(soft, 1, output_type=tf.int32)
    correct = tf.equal(tf.argmax(logits, 1, output_type=tf.int32), right)
    return Scores(losses, {'accuracy': tf.cast(correct, tf.float32)})


softmax = Head(_softmax, 'accuracy', {'probabilities': tf.nn.softmax}, smooths_labels=True)


def top_k(k: int) -> Head:
    """softmax with a further metric `top_K`: whether the label is among the k most probable classes."""
    def score(outputs, labels, config):
        scores = _softmax(outputs, labels, config)
        classes = labels if labels.shape.ndims == 1 else tf.argmax(labels, 1)
        among = tf.nn.in_top_k(tf.cast(first_output(outputs), tf.float32), classes, k)
        return scores._replace(metrics=dict(scores.metrics, **{'top_%d' % k: tf.cast(among, tf.float32)}))
    return softmax._replace(score=score)


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    """[batch] or [batch, 1] -> [batch] float32."""
    return tf.cast(tf.squeeze(tensor, 1) if tensor.shape.ndims == 2 else tensor, tf.float32)


def _binary(outputs: Any, labels: tf.Tensor, config: Config) -> Scores:
    """Logits [batch] or [batch, 1] of the event that labels [batch] have as 1."""
    del config
    logits, y = _flat(first_output(outputs)), _flat(labels)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits)
    with keep_dtype():             # bins are counted
        bins = tf.minimum(tf.cast(tf.sigmoid(logits) * AUC_BINS, tf.int32), AUC_BINS - 1)
        counts = tf.one_hot(bins, AUC_BINS)[:, None] * tf.stack([1 - y, y], 1)[:, :, None]
    correct = tf.cast(tf.equal(logits > 0, y > .5), tf.float32)
    return Scores(losses, {'accuracy': correct, 'auc': Total(counts, auc)})


def auc(counts: np.ndarray) -> float:
    """Area under the ROC curve of counts [2, bins]: negatives and positives by their probability, least first."""
    negatives, positives = counts
    below = np.cumsum(negatives) - negatives
    pairs = negatives.sum() * positives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float('nan')


binary = Head(_binary, 'auc', {'probabilities': tf.sigmoid})


def _segmentation(outputs: Any, labels: tf.Tensor, config: Config) -> Scores:
    """Logits [batch, height, width, classes] of the pixels of masks [batch, height, width], whole numbers."""
    del config
    logits = tf.cast(first_output(outputs), tf.float32)
    classes, guess = logits.shape[-1].value, tf.argmax(logits, -1, output_type=tf.int32)
    labels = tf.cast(labels, tf.int32)
    losses = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), [1, 2])
    with keep_dtype():             # pixels are counted
        masks = [tf.one_hot(tf.where(tf.equal(guess, labels), labels, tf.fill(tf.shape(labels), -1)), classes),
                 tf.one_hot(guess, classes), tf.one_hot(labels, classes)]
        counts = tf.stack([tf.reduce_sum(mask, [1, 2]) for mask in masks], 1)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(guess, labels), tf.float32), [1, 2])
    return Scores(losses, {'accuracy': accuracy, 'miou': Total(counts, mean_iou)})


def mean_iou(counts: np.ndarray) -> float:
    """The mean over the classes that occur of intersection over union, of pixel counts [3, classes]: right, guessed,
    labelled."""
    right, guessed, labelled = counts
    union = guessed + labelled - right
    return float((right[union > 0] / union[union > 0]).mean())


segmentation = Head(_segmentation, 'miou', {'probabilities': tf.nn.softmax})


def _regression(outputs: Any, labels: tf.Tensor, config: Config) -> Scores:
    """Numbers [batch] or [batch, 1], for each of which labels [batch] have the true one; the loss is the square."""
    del config
    errors = _flat(first_output(outputs)) - _flat(labels)
    squares = tf.square(errors)
    mean_of = tf.stack([squares, tf.ones_like(squares)], 1)
    return Scores(squares, {'mse': squares, 'mae': tf.abs(errors), 'rmse': Total(
        mean_of, lambda sums: float(np.sqrt(sums[0] / sums[1])))})


regression = Head(_regression, 'mse', smaller_is_better=True)


def classifier(net: Callable, penalty: Callable[[], tf.Tensor] = layers.l2_loss) -> Model:
    """The Model of net(x, is_training) -> logits [batch, classes], which may also take dropout and classes by name.

    penalty() is the scalar that is multiplied by --weight_decay. Labels are classes [batch] int32, or distributions
    over them [batch, classes] float32.
    """
    return model(net, softmax, penalty)
