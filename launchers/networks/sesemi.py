"""SESEMI: self-supervised learning beside supervised learning (arXiv 1906.10343; docs/vendor-contract.md 1 and 3).

One head classifies labelled images; the other tells apart the six poses of images whose label it does not see. These
are the labelled images themselves (--unlabeled=labeled: augmented supervised learning, of which the published errors
are) or the whole training set (--unlabeled=all: semi-supervised learning). Epochs and dropout follow the method, as in
the authors' two scripts. Differences from the vendor's:
- With --image_size other than 32 images are contrast-normalised and not whitened: the matrix of the whitening would
  have as many rows as an image has values.
- The six poses of an image have a shift and a noise of their own; there they share them.
- The trunk sees the images of both heads as one batch, so batch norm has one set of statistics; there each head's
  images are normalised by their own, and both move the averages in turn. One set errs less: after 100 steps with 100
  labels (test/accuracy.sh) 0.25 against 0.27 in the mean of three seeds, and 0.36 against 0.39 on other images.
"""
import functools
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf

from nets.blocks import heads, optimizers, schedules
from core.session import cpu_session
from core.log import say
from core.recipe import Images, Model, Picture, Recipe, Scores
from core.pages import pictures
from core.errors import InputError
from core.run import Input, Panel, Report, Run, View
from core.settings import paths
from core.settings.kinds import OWN_SIZE
from core.settings.config import Config
from data import cifar, pipeline, whitening
from data.cutmix import cutmix
from data.dataset import Split, labelled_subset
from data.loading import as_written, skipped_hooks
from data.seeds import split_seed
from data.transforms import POSES, add_noise, copies_for_test, flip, shift, six_poses
from launchers.networks import image_sets
from launchers.networks.keras_log import KerasLog, progress
from nets import layers
from nets.convnet import convnet
from nets.nin import nin
from nets.wrn import wrn

TRUNKS = {'convnet': convnet, 'nin': nin, 'wrn': wrn}
# (on the head, in the trunk) of (trunk, task, unlabeled)
DROPOUT = {('convnet', 'svhn', 'labeled'): (0.5, 0.5),
           ('convnet', 'svhn', 'all'): (0.5, 0.5),
           ('wrn', 'svhn', 'all'): (0.5, 0)}
OTHER_DROPOUT = (0.2, 0)
SMALLEST = np.finfo(np.float32).tiny    # probability, for there is no logarithm of 0
FITTED = 10000            # images of files, at most, to which the whitening is fitted: of arrays it is fitted to all
SYNTHETIC_TEST = 128      # images; a test looks at each eight times


class Task(NamedTuple):
    """A data set and how the vendor treats it."""
    classes: int          # of a checkpoint that does not name them; 0: any number
    zca: bool             # images are whitened, not only contrast-normalised
    flips: bool           # a mirrored image is of the same class


TASKS = {'cifar10': Task(10, zca=True, flips=True),
         'cifar100': Task(100, zca=True, flips=True),
         'svhn': Task(10, zca=False, flips=False),
         **dict.fromkeys(image_sets.OF_FILES, Task(0, zca=True, flips=True))}


class Data(NamedTuple):
    """uint8 images and what makes normalised float32 images of them."""
    train: Split
    test: Split
    normalize: Callable
    class_names: Tuple[str, ...] = cifar.NAMES
    fitted: Optional[whitening.Whitening] = None       # the whitening in normalize()
    summary: str = ''
    loading: Dict[str, Any] = {}                       # of images in files: DataSet.loading


def load(config: Config) -> Data:
    """The Data of --task. Raises InputError naming the file at fault."""
    data = image_sets.load(config, test=SYNTHETIC_TEST)
    loading = data.loading if data.load_one else {}
    size = image_sets.size_of(config)
    if size[0] != size[1]:
        raise InputError('--image_size=%s: the six poses are those of square images' % config.image_size)
    if not TASKS[config.task].zca or size != image_sets.SIZE:
        return Data(data.train, data.test, whitening.normalize_contrast, data.class_names, None, data.summary, loading)
    images = data.train.x
    if loading:
        few = np.random.RandomState(config.seed).permutation(data.train.size)[:FITTED]
        images, is_good = pipeline.samples(data.train.subset(np.sort(few)), **loading)
        data.skipped.check()
        images = images[is_good]
    fitted = whitening.cached_whitening(images, os.path.join(config.output_path, paths.CACHE))
    return Data(data.train, data.test, functools.partial(whitening.whiten, whitening=fitted), data.class_names, fitted,
                data.summary, loading)


def _prepared(data: Data, split: Split) -> Tuple[Split, Callable]:
    """(split, function in the graph) that together make normalised images: of arrays at once, of files in batches."""
    if data.loading:
        return split, lambda images: normalize(images, constants(data))
    return Split(data.normalize(split.x), split.y), lambda images: images


def train_input(data: Data, config: Config) -> Input:
    """Batches ((images, posed images), (labels, poses)) of 6 * batch_size each. Raises InputError naming --labels.

    Labels are distributions [6 * batch_size, classes]; --cutmix_alpha mixes them and their images. The other images
    are batch_size images in six poses each; an epoch is a pass over those, and at least one step.
    """
    task, place = TASKS[config.task], dict(rank=config.rank, ranks=config.ranks)
    classes = len(data.class_names)
    count = len(data.train.y) if config.labels == 'all' else config.labels
    labelled = labelled_subset(data.train, classes, count, config.seed)
    unlabelled = labelled if config.unlabeled == 'labeled' else data.train
    size = len(unlabelled.y)
    steps = max(pipeline.steps_per_epoch(size, config.batch_size) // config.ranks, 1)
    (labelled, prepare), (unlabelled, _) = (_prepared(data, split) for split in (labelled, unlabelled))

    def label(images, y, seed):
        augment_seed, cutmix_seed = split_seed(seed, 2)
        images = augment(prepare(images), augment_seed, task.flips)
        return cutmix(images, tf.one_hot(y, classes), cutmix_seed, config.cutmix_alpha)

    def pose(images, y, seed):
        del y
        posed, poses = six_poses(prepare(images))
        return augment(posed, seed, flips=False), poses

    together = POSES * config.batch_size
    stream = pipeline.zip_streams(
        pipeline.training_stream(_at_least(together * config.ranks, labelled), together,
                                 config.seed, transform=label, **place, **data.loading),
        pipeline.training_stream(_at_least(config.batch_size * config.ranks, unlabelled), config.batch_size,
                                 config.seed + 1, transform=pose, **place, **data.loading))
    pairs = stream.dataset.map(as_written(lambda labelled, posed: tuple(zip(labelled, posed))))
    return pipeline.as_input(stream._replace(dataset=pairs, batches=steps, size=size))


def test_input(data: Data, config: Config) -> Input:
    """Batches (copies [batch, copies, 32, 32, 3] of images, classes [batch], weights [batch]).

    Without --test_copies the images themselves, [batch, 32, 32, 3].
    """
    test, prepare = _prepared(data, data.test)

    def copy(images, y, seed):
        images = prepare(images)
        if not config.test_copies:
            return images, y
        return tf.transpose(copies_for_test(images, seed, TASKS[config.task].flips), [1, 0, 2, 3, 4]), y
    return pipeline.test_input(test, config.batch_size, transform=copy, rank=config.rank, ranks=config.ranks,
                               **data.loading)


def test_pixels(data: Data, config: Config) -> Input:
    """Batches (images uint8 [batch, 32, 32, 3], classes [batch], weights [batch])."""
    return pipeline.test_input(data.test, config.batch_size, rank=config.rank, ranks=config.ranks, **data.loading)


def constants(data: Data) -> Dict[str, np.ndarray]:
    """Recipe.images.constants: the whitening, if there is one."""
    return dict(data.fitted._asdict()) if data.fitted else {}


def normalize(images: tf.Tensor, constants: Dict[str, np.ndarray]) -> tf.Tensor:
    """Data.normalize() in the graph, of images [batch, 32, 32, 3] from 0 to 255."""
    flat = tf.reshape(tf.cast(images, tf.float32), [-1, images.shape[1:].num_elements()])
    flat -= tf.reduce_mean(flat, 1, keepdims=True)
    norm = tf.sqrt(tf.reduce_sum(tf.square(flat), 1, keepdims=True))
    flat *= whitening.SCALE / tf.where(norm < whitening.FLAT, tf.ones_like(norm), norm)
    if constants:
        flat = tf.matmul(flat - constants['mean'], constants['matrix'])
    return tf.reshape(flat, [-1] + images.shape[1:].as_list())


def augment(images: tf.Tensor, seed: tf.Tensor, flips: bool) -> tf.Tensor:
    """Each image shifted by up to 2 pixels, with `flips` mirrored or not, and noisy."""
    shift_seed, flip_seed, noise_seed = split_seed(seed, 3)
    images = shift(images, shift_seed)
    return add_noise(flip(images, flip_seed) if flips else images, noise_seed)


def _at_least(count, split):
    """The split, repeated as a whole if it has fewer than `count` samples."""
    if len(split.y) >= count:
        return split
    repeated = np.tile(np.arange(len(split.y)), -(-count // len(split.y)))
    return split.subset(repeated)


def net(inputs: Any, is_training: bool, config: Config, dropout: Callable) -> Dict[str, tf.Tensor]:
    """Recipe.model.net: the logits of both heads in training, those of the classes alone in tests.

    inputs: (images [n, 32, 32, 3], images in poses [n, 32, 32, 3]) in training; in tests images, or copies of images
    [n, copies, 32, 32, 3], whose logits are of the mean over the copies.
    """
    return _two_heads(*inputs, config, dropout) if is_training else _test(inputs, config)


def _classes(config):
    return config.classes or TASKS[config.task].classes


def _two_heads(images, posed, config, dropout):
    head_rate, trunk_rate = DROPOUT.get((config.trunk, config.task, config.unlabeled), OTHER_DROPOUT)
    features = _features(tf.concat([images, posed], 0), config, True,
                         lambda x: dropout(x, trunk_rate) if trunk_rate else x)
    of_images, of_posed = tf.split(features, 2)
    return dict(logits=_head(dropout(of_images, head_rate), _classes(config), 'super_clf'),
                poses=_head(of_posed, POSES, 'self_clf'))


def _test(images, config):
    features = _features(tf.reshape(images, [-1] + images.shape[-3:].as_list()), config, False, lambda x: x)
    logits = _head(features, _classes(config), 'super_clf')
    if images.shape.ndims == 4:
        return dict(logits=logits, first_copy=logits)
    probabilities = tf.reshape(tf.nn.softmax(logits), [-1, images.shape[1].value, _classes(config)])
    return {name: tf.log(tf.maximum(found, SMALLEST)) for name, found in (
        ('logits', tf.reduce_mean(probabilities, 1)), ('first_copy', probabilities[:, 0]))}


def score(outputs: Any, labels: Any, config: Config) -> Scores:
    """The losses of both heads in training; in tests the accuracy of the copies' mean and of one copy, if it is there.
    """
    if 'poses' in outputs:
        labels, poses = labels
        of_classes = heads.softmax.score(outputs, labels, config)
        self_clf_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=poses, logits=outputs['poses'])
        return Scores(self_clf_loss + of_classes.losses, dict(
            of_classes.metrics, self_clf_loss=self_clf_loss, super_clf_loss=of_classes.losses))
    scores = heads.softmax.score(outputs, labels, config)
    if 'first_copy' in outputs:
        one_copy = heads.softmax.score(outputs['first_copy'], labels, config)
        scores = scores._replace(metrics=dict(scores.metrics, plain_accuracy=one_copy.metrics['accuracy']))
    return scores


def penalty(config: Config) -> tf.Tensor:
    """Recipe.model.penalty: Keras's l2, the sum of squares, not half of it."""
    return 2 * config.weight_decay * layers.l2_loss()


def _features(images, config, is_training, dropout):
    maps = TRUNKS[config.trunk](images, is_training, dropout)
    return tf.cast(layers.global_average_pool(maps), tf.float32)


def _head(features, classes, name):
    with tf.variable_scope('heads', reuse=tf.AUTO_REUSE):
        return layers.dense(features, classes, name=name,
                            kernel_initializer=tf.glorot_uniform_initializer())


def error_lines(means: Dict[str, float]) -> List[str]:
    """The vendor's line, and the error of the images as they are, which the vendor's evaluator also knows.

    The outputs of an inference device may not tell the latter.
    """
    lines = ['classification error rate: %.4f' % (1 - means['accuracy'])]
    if 'plain_accuracy' in means:
        lines.append('plain error rate: %.4f, of one copy an image' % (1 - means['plain_accuracy']))
    return lines


class VendorLog(KerasLog):
    """The vendor's lines before and after an evaluation and after an epoch."""

    def evaluation_start(self, epoch: int) -> None:
        say('Evaluating with oversample=True...')

    def epoch_line(self, report: Report, seconds: float) -> str:
        values = {name: report.epoch_metrics[name]
                  for name in ('loss', 'self_clf_loss', 'super_clf_loss')}
        return progress(report.steps_in_epoch, report.steps_per_epoch, seconds, report.seconds_per_step, 'step', values)

    def first_step(self, report: Report) -> None:
        say('Learning rate:  %s' % report.learning_rate)

    def epoch(self, report: Report) -> None:
        super().epoch(report)
        if report.evaluation:
            self.accuracy = '%.4f' % report.evaluation['accuracy']
        for line in error_lines(report.evaluation) if report.evaluation else ():
            say(line)


class Announce(tf.train.SessionRunHook):
    """The vendor's lines at the start of the run."""

    def __init__(self, run: Run):
        self._run = run

    def begin(self):
        config, task = self._run.config, TASKS[self._run.config.task]
        for name, value in (('dataset', config.data_path), ('result', config.output_path), ('data', config.task),
                            ('labels', config.labels), ('network', config.trunk)):
            say('===>>>%s:%s' % (name, value))
        variables = self._run.step.model_variables
        total, trainable = (sum(v.shape.num_elements() for v in variables if v in chosen)
                            for chosen in (variables, tf.trainable_variables()))
        for name, count in (('Total', total), ('Trainable', trainable), ('Non-trainable', total - trainable)):
            say('{} params: {:,}'.format(name, count))
        say('Run configuration:')
        say('network=%s, dataset=%s, horizontal_flip=%s, ZCA=%s, nb_epochs=%d, batch_size=%d, '
            'nb_labels=%s, gpu_id=%d' % (
                config.trunk, config.task, task.flips, task.zca, self._run.clock.epochs,
                config.batch_size, config.labels, config.device_id))


def poses_of_an_image(view: View) -> Panel:
    """The first training image in its six poses, before the shift and the noise."""
    with tf.Graph().as_default(), cpu_session() as session:
        first, _ = pipeline.samples(view.data.train.subset([0]), **view.data.loading)
        posed, _ = six_poses(tf.constant(first))
        images = session.run(posed)
    names = [('rotated by 0°', '旋转 0°'), ('rotated by 90°', '旋转 90°'), ('rotated by 180°', '旋转 180°'),
             ('rotated by 270°', '旋转 270°'), ('mirrored left to right', '左右镜像'), ('mirrored upside down', '上下镜像')]
    return pictures.gallery(
        ('Six poses of one image', '同一图像的六种姿态'),
        ('The self-supervised head tells them apart; the image\'s own label is not used',
         '自监督头区分这些姿态，不使用图像自身的标签'), list(images), [[('', name)] for name in names])


def both_losses(view: View) -> Panel:
    """The curves of the two heads' losses."""
    del view
    return pictures.curves(('Losses of both heads', '两个分类头的损失'), ('loss', '损失'), {
        'batch/super_clf_loss': ('supervised', '有监督'), 'batch/self_clf_loss': ('self-supervised', '自监督')})


RECIPE = Recipe(
    defaults=dict(trunk='convnet', task='cifar10', image_size=OWN_SIZE, labels=2000, unlabeled='labeled',
                  train_epochs=300, batch_size=16, learning_rate=0.05, lr_decay_power=0.5, momentum=0.9,
                  weight_decay=5e-4, cutmix_alpha=0., test_copies=True, display_step=50, val_epoch=300),
    variants=(*(({'task': task}, dict(labels='all')) for task in image_sets.OF_FILES),
              ({'unlabeled': 'all'}, dict(train_epochs=50, val_epoch=1)),
              ({'unlabeled': 'all', 'task': 'svhn'}, dict(train_epochs=30))),
    cases=dict(full={}, performance=dict(train_epochs=3)),
    on_synthetic=dict(labels=100),
    load=load,
    train_input=train_input,
    test_input=test_input,
    model=Model(net, heads.softmax._replace(score=score), penalty),
    images=Images(test_pixels, image_sets.read, normalize, constants, fit=image_sets.fit),
    input_name='super_data',
    on_export=dict(test_copies=False),
    vendor_name='SESEMI_ID1270_for_TensorFlow',
    tasks=tuple(image_sets.TASKS),
    learning_rate=schedules.polynomial,
    optimizer=optimizers.nesterov,
    log=VendorLog,
    loss_prefix='train_',
    pictures=lambda: dict(losses=Picture(both_losses, once=True), poses=Picture(poses_of_an_image, once=True)),
    hooks=lambda run: [Announce(run), *skipped_hooks(run)],
    evaluation_lines=error_lines)
