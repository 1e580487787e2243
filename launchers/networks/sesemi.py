"""SESEMI: semi-supervised learning with a self-supervised head (arXiv 1906.10343; contract.md
sections 1 and 3).

One head classifies labelled images; the other tells apart the six poses of images whose label is
not used. Differs from the vendor's in the data (sesemi_data.py) and in batch normalisation: both
branches pass the trunk as one batch, so it sees them together. There each has statistics of its own,
while the averages that tests use are of both.
"""
import tensorflow as tf

from core.log import say
from core.recipe import Outputs, Recipe
from data.transforms import POSES
from launchers.networks.keras_log import KerasLog, progress
from launchers.networks.sesemi_data import TASKS, load, test_input, train_input
from nets import layers
from nets.convnet import convnet
from nets.nin import nin
from nets.wrn import wrn

TRUNKS = {'convnet': convnet, 'nin': nin, 'wrn': wrn}
DROPOUT = {('convnet', 'svhn'): (0.5, 0.5), ('wrn', 'svhn'): (0.5, 0)}  # on the head, in the trunk
OTHER_DROPOUT = (0.2, 0)


def model(batch, is_training, config, dropout):
    """Recipe.model: both heads' losses in training; in tests the mean over an image's copies."""
    losses, scores = (_two_heads(*batch, config, dropout) if is_training
                      else _mean_of_copies(*batch, config))
    penalty = 2 * config.weight_decay * layers.l2_loss()  # Keras's l2 has no 1/2
    return Outputs(losses, penalty, scores)


def _two_heads(labelled, unlabelled, config, dropout):
    (images, labels), (posed, poses) = labelled, unlabelled
    head_rate, trunk_rate = DROPOUT.get((config.trunk, config.task), OTHER_DROPOUT)
    features = _features(tf.concat([images, posed], 0), config, True,
                         lambda x: dropout(x, trunk_rate) if trunk_rate else x)
    of_images, of_posed = tf.split(features, 2)
    logits = _head(dropout(of_images, head_rate), TASKS[config.task].classes, 'super_clf')
    super_clf_loss = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.stop_gradient(labels), logits=logits)
    self_clf_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=poses, logits=_head(of_posed, POSES, 'self_clf'))
    classes = tf.argmax(labels, 1, output_type=tf.int32)
    return self_clf_loss + super_clf_loss, dict(accuracy=_correct(logits, classes),
                                                self_clf_loss=self_clf_loss,
                                                super_clf_loss=super_clf_loss)


def _mean_of_copies(copies, classes, config):
    count, batch_size, *image = copies.shape.as_list()
    features = _features(tf.reshape(copies, [-1] + image), config, False, lambda x: x)
    probabilities = tf.nn.softmax(_head(features, TASKS[config.task].classes, 'super_clf'))
    probabilities = tf.reshape(probabilities, [count, batch_size, -1])
    mean = tf.reduce_mean(probabilities, 0)
    losses = -tf.log(tf.batch_gather(mean, classes[:, None])[:, 0])
    return losses, dict(accuracy=_correct(mean, classes),
                        plain_accuracy=_correct(probabilities[0], classes))


def _features(images, config, is_training, dropout):
    maps = TRUNKS[config.trunk](images, is_training, dropout)
    return tf.cast(layers.global_average_pool(maps), tf.float32)


def _head(features, classes, name):
    with tf.variable_scope('heads', reuse=tf.AUTO_REUSE):
        return layers.dense(features, classes, name=name,
                            kernel_initializer=tf.glorot_uniform_initializer())


def _correct(scores, classes):
    return tf.cast(tf.equal(tf.argmax(scores, 1, output_type=tf.int32), classes), tf.float32)


def learning_rate(config, step, steps):
    """Recipe.learning_rate: base_lr * (1 - step / steps) ** lr_decay_power."""
    return tf.train.polynomial_decay(config.learning_rate, step, steps, 0., config.lr_decay_power)


def nesterov(rate, config):
    """Recipe.optimizer: stochastic gradient descent with Nesterov's momentum."""
    return tf.train.MomentumOptimizer(rate, config.momentum, use_nesterov=True)


def error_lines(means):
    """The vendor's line, and the error of the images as they are, which the vendor's evaluator also knows."""
    return ['classification error rate: %.4f' % (1 - means['accuracy']),
            'plain error rate: %.4f, of one copy an image' % (1 - means['plain_accuracy'])]


class Log(KerasLog):
    """The vendor's lines after an epoch."""

    def epoch_line(self, report, seconds):
        values = {name: report.means[name]
                  for name in ('loss', 'self_clf_loss', 'super_clf_loss')}
        return progress(report.steps_in_epoch, report.steps_per_epoch, seconds, report.seconds_per_step, 'step', values)

    def epoch(self, report):
        super().epoch(report)
        for line in error_lines(report.evaluation) if report.evaluation else ():
            say(line)


class Announce(tf.train.SessionRunHook):
    """The vendor's lines at the start of the run and of each epoch."""

    def __init__(self, run):
        self._run = run

    def begin(self):
        config, task = self._run.config, TASKS[self._run.config.task]
        say('Run configuration:')
        say('network=%s, dataset=%s, horizontal_flip=%s, ZCA=%s, nb_epochs=%d, batch_size=%d, '
            'nb_labels=%d, gpu_id=%d' % (
                config.trunk, config.task, task.flips, task.zca, self._run.clock.epochs,
                config.batch_size, config.labels, config.device_id))

    def before_run(self, run_context):
        if self._run.clock.at_epoch_start:
            say('Learning rate:  %s' % run_context.session.run(self._run.step.learning_rate))


RECIPE = Recipe(
    defaults=dict(trunk='convnet', task='cifar10', labels=1000, unlabeled='all', train_epochs=300,
                  batch_size=16, learning_rate=0.05, lr_decay_power=0.5, momentum=0.9,
                  weight_decay=5e-4, cutmix_alpha=0., display_step=50, val_epoch=300),
    cases=dict(full={}, performance=dict(train_epochs=3, labels=2000)),
    on_synthetic=dict(labels=100),
    load=load,
    train_input=train_input,
    test_input=test_input,
    model=model,
    learning_rate=learning_rate,
    optimizer=nesterov,
    log=lambda config: Log(),
    hooks=lambda run: [Announce(run)],
    evaluation_lines=error_lines)
