"""SESEMI: its trunks, its two streams and two heads, its log, its evaluation and its bad input."""
import os
import re

import numpy as np
import margins
import pytest
import tensorflow as tf

from core.errors import InputError
from core.settings import config, flags
from core.settings.table import SWITCHES
from nets.blocks import schedules
from core.training import evaluation
from data import whitening
from data.dataset import Split
from launchers import command, evaluate, train
from launchers.networks import sesemi
from launchers.networks.registry import RECIPES
from nets import layers

PERFORMANCE = ['--network=sesemi', '--case=performance']


def settle(*arguments):
    return config.resolve(RECIPES['sesemi'], flags.parse(PERFORMANCE + list(arguments)), {})


def identity(x, *_):
    return x


def build_model(settled, dropout=identity):
    """The Scores of two images a head, as a training step sees them."""
    images, classes = tf.zeros([2, 32, 32, 3]), sesemi.data.TASKS[settled.task].classes
    return score((images, images), (tf.zeros([2, classes]), tf.zeros([2], tf.int32)), True, settled, dropout)


def score(inputs, labels, is_training, settled, dropout=identity):
    return evaluation.computed(RECIPES['sesemi'].model, inputs, labels, is_training, settled, dropout)[1]


def count(variables):
    return sum(v.shape.num_elements() for v in variables)


def small_net(images, is_training, dropout):
    """Stands in for a trunk where the trunk is not what is tested."""
    with tf.variable_scope('small', reuse=tf.AUTO_REUSE):
        x = layers.conv2d(tf.nn.avg_pool2d(images, 2, 2, 'SAME'), 16, 3, strides=2)
        x = tf.nn.relu(layers.batch_norm(x, is_training))
        return dropout(tf.nn.relu(layers.batch_norm(layers.conv2d(x, 32, 3, strides=2), is_training)))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(sesemi.model.TRUNKS, 'convnet', small_net)


def test_convnet_has_the_vendors_parameters():
    with tf.Graph().as_default():
        build_model(settle())
        assert count(tf.global_variables('convnet')) == 3126656
        assert count(tf.global_variables()) == 3128720
        assert count(tf.trainable_variables()) == 3124624


@pytest.mark.slow
@pytest.mark.parametrize('trunk, convolutions, maps', [
    ('convnet', 9, [2, 6, 6, 128]), ('nin', 9, [2, 8, 8, 192]), ('wrn', 28, [2, 8, 8, 128])])
def test_a_trunk_has_its_layers_and_shares_them_between_training_and_test(trunk, convolutions, maps):
    with tf.Graph().as_default():
        for is_training in (True, False):
            features = sesemi.model.TRUNKS[trunk](tf.zeros([2, 32, 32, 3]), is_training, identity)
            assert features.shape.as_list() == maps
        kernels = [v for v in tf.trainable_variables() if v.op.name.endswith('/kernel')]
        assert len(kernels) == convolutions
        assert all(v.op.name.startswith(trunk + '/') for v in tf.global_variables())


def test_the_flags_trunks_and_tasks_are_those_there_are():
    allowed = {row.name: row.kind.allowed for row in SWITCHES}
    assert allowed['trunk'] == 'one of ' + ', '.join(sesemi.model.TRUNKS)
    assert tuple(sesemi.data.TASKS) == RECIPES['sesemi'].tasks


@pytest.mark.slow
@pytest.mark.parametrize('trunk, task, unlabeled, rates', [
    ('convnet', 'cifar10', 'all', [0.2]), ('convnet', 'cifar100', 'labeled', [0.2]),
    ('convnet', 'svhn', 'labeled', [0.5] * 3), ('convnet', 'svhn', 'all', [0.5] * 3),
    ('nin', 'svhn', 'all', [0.2]), ('wrn', 'svhn', 'labeled', [0.2]), ('wrn', 'svhn', 'all', [0.5]),
    ('wrn', 'cifar10', 'all', [0.2])])
def test_dropout_rates_are_those_of_the_trunk_the_task_and_the_method(trunk, task, unlabeled, rates):
    seen = []
    with tf.Graph().as_default():
        build_model(settle('--trunk=' + trunk, '--task=' + task, '--unlabeled=' + unlabeled),
                    lambda x, rate: seen.append(rate) or x)
    assert seen == rates


@pytest.mark.parametrize('arguments, epochs, val_epoch', [
    ([], 300, 300), (['--unlabeled=all'], 50, 1), (['--unlabeled=all', '--task=svhn'], 30, 1),
    (['--task=svhn'], 300, 300), (['--unlabeled=all', '--epochs=7'], 7, 1)])
def test_a_full_run_has_the_epochs_of_its_method_and_2000_labels(arguments, epochs, val_epoch):
    settled = settle('--case=full', '--data_path=x', *arguments)
    assert (settled.train_epochs, settled.val_epoch, settled.labels) == (epochs, val_epoch, 2000)
    assert settle('--unlabeled=all').train_epochs == 3


@pytest.mark.slow
def test_the_images_of_both_heads_are_one_batch_of_the_trunk():
    with tf.Graph().as_default(), tf.Session() as sess:
        images, posed = (np.random.RandomState(seed).rand(2, 32, 32, 3).astype(np.float32) for seed in range(2))
        score((tf.constant(images), tf.constant(3 * posed)), (tf.one_hot([1, 2], 10), tf.constant([0, 1])), True,
              settle('--trunk=nin'))
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        kernel, bias, mean = (next(v for v in tf.global_variables() if v.op.name.endswith(name))
                              for name in ('/kernel', '/bias', '/moving_mean'))
        both = tf.nn.conv2d(np.concatenate([images, 3 * posed]), kernel, 1, 'SAME') + bias
        sess.run(tf.global_variables_initializer())
        sess.run(updates)
        assert len(updates) == 2 * 9
        np.testing.assert_allclose(sess.run(mean), .9 * sess.run(both).mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_loss_is_the_sum_of_both_heads_and_the_penalty_that_of_keras(small):
    with tf.Graph().as_default(), tf.Session() as sess:
        outputs, penalty = build_model(settle()), sesemi.model.penalty(settle())
        kernels = [v for v in tf.trainable_variables() if v.op.name.endswith('/kernel')]
        sess.run(tf.global_variables_initializer())
        outputs, penalty, kernels = sess.run((outputs, penalty, kernels))
    assert outputs.losses == pytest.approx(outputs.metrics['self_clf_loss'] + outputs.metrics['super_clf_loss'])
    assert penalty == pytest.approx(5e-4 * sum(np.square(kernel).sum() for kernel in kernels), rel=1e-5)


def test_a_test_averages_the_probabilities_of_the_copies(small, monkeypatch):
    scores = np.random.RandomState(0).randn(8, 3, 10).astype(np.float32)
    monkeypatch.setattr(sesemi.model, '_head', lambda *_: tf.constant(scores.transpose(1, 0, 2).reshape(24, 10)))
    classes = np.array([1, 5, 9], np.int32)
    with tf.Graph().as_default(), tf.Session() as sess:
        outputs = score(tf.zeros([3, 8, 32, 32, 3]), tf.constant(classes), False, settle())
        sess.run(tf.global_variables_initializer())
        losses, accuracies = sess.run((outputs.losses, outputs.metrics))
    probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    assert losses == pytest.approx(-np.log(probabilities.mean(0)[[0, 1, 2], classes]), rel=1e-5)
    assert accuracies['accuracy'].tolist() == (probabilities.mean(0).argmax(-1) == classes).tolist()
    assert accuracies['plain_accuracy'].tolist() == (scores[0].argmax(-1) == classes).tolist()


@pytest.mark.parametrize('power', [0.5, 2.])
def test_the_learning_rate_falls_polynomially_to_zero(power):
    with tf.Graph().as_default(), tf.Session() as sess:
        step = tf.placeholder(tf.int64, [])
        rate = schedules.polynomial(settle('--base_lr=0.1', '--lr_decay_power=%s' % power), step, 40)
        assert [sess.run(rate, {step: t}) for t in (0, 10, 39)] == pytest.approx(
            [0.1 * (1 - t / 40) ** power for t in (0, 10, 39)], rel=1e-5)


def numbered(count):
    """Images that are constant, image i at level i."""
    return Split(np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones([1, 32, 32, 3], np.float32),
                 np.arange(count, dtype=np.int32) % 10)


@pytest.mark.parametrize('labels, unlabeled', [(12, 'labeled'), (48, 'all'), (48, 'labeled')])
def test_an_epoch_is_a_pass_over_the_images_in_six_poses(labels, unlabeled, monkeypatch):
    monkeypatch.setattr(sesemi.data, 'augment', lambda images, seed, flips: images)
    settled = settle('--labels=%d' % labels, '--batch_size=4', '--unlabeled=' + unlabeled)
    data = sesemi.data.Data(numbered(200), numbered(4), identity)
    monkeypatch.setattr(sesemi.data, 'labelled_subset', lambda *_: numbered(labels))
    with tf.Graph().as_default(), tf.Session() as sess:
        train_input = sesemi.data.train_input(data, settled)
        train_input.initialize(sess)
        batches = [sess.run(train_input.batch) for _ in range(train_input.batches)]
        train_input.initialize(sess, 2)
        again = sess.run(train_input.batch)
    posed = labels if unlabeled == 'labeled' else 200
    assert train_input.batches == posed // 4
    labelled, others, poses = [np.concatenate(parts) for parts in (
        [b[0][0][:, 0, 0, 0] for b in batches], [b[0][1][:, 0, 0, 0] for b in batches], [b[1][1] for b in batches])]
    assert np.unique(labelled, return_counts=True)[1].tolist() == [6 * posed // labels] * labels
    assert others.reshape(-1, 6).std(axis=1).max() == 0 and sorted(others[::6]) == list(range(posed))
    assert poses.tolist() == list(range(6)) * posed
    assert all((a == b).all() for pair in zip(again, batches[2]) for a, b in zip(*pair))


def test_an_epoch_of_fewer_labels_than_the_ranks_take_in_a_step_is_one_step():
    settled = settle()._replace(ranks=8, rank=7)
    assert settled.labels < settled.ranks * settled.batch_size
    with tf.Graph().as_default():
        data = sesemi.data.Data(numbered(200), numbered(4), identity)
        assert sesemi.data.train_input(data, settled).batches == 1


@pytest.mark.slow
def test_zca_is_of_the_whole_training_set_and_cached_beside_the_run(tmp_path, monkeypatch):
    fitted = []
    monkeypatch.setattr(whitening, 'fit_whitening', lambda images: fitted.append(len(images)) or whitening.Whitening(
        np.zeros(3072, np.float32), np.eye(3072, dtype=np.float32)))
    settled = settle('--output_path=%s' % tmp_path)
    data = sesemi.data.load(settled)
    assert fitted == [len(data.train.y)]
    assert sesemi.data.load(settled).train.x.shape == data.train.x.shape
    assert len(fitted) == 1 and len(os.listdir(str(tmp_path / 'cache'))) == 1


def streams_of(settled, monkeypatch):
    """The Splits that the two heads' images are drawn from."""
    splits, real = [], sesemi.data.pipeline.training_stream
    monkeypatch.setattr(sesemi.data.pipeline, 'training_stream',
                        lambda split, *args, **named: splits.append(split) or real(split, *args, **named))
    with tf.Graph().as_default():
        sesemi.data.train_input(sesemi.data.load(settled), settled)
    monkeypatch.undo()
    return splits


@pytest.mark.slow
def test_the_labelled_part_is_stratified_and_both_heads_see_it_unless_told_otherwise(monkeypatch):
    labelled, unlabelled = streams_of(settle('--task=svhn', '--unlabeled=all'), monkeypatch)
    assert np.bincount(labelled.y).tolist() == [10] * 10 and len(unlabelled.y) == 2048
    labelled, unlabelled = streams_of(settle('--task=svhn'), monkeypatch)
    assert unlabelled.y.tolist() == labelled.y.tolist()


def test_every_image_of_class_folders_is_used_with_its_label_however_many_there_are(monkeypatch):
    monkeypatch.setattr(sesemi.data, 'augment', lambda images, seed, flips: images)
    settled = settle('--task=folder', '--data_path=/folders', '--batch_size=4')
    with tf.Graph().as_default():
        train_input = sesemi.data.train_input(sesemi.data.Data(numbered(37), numbered(4), identity), settled)
    assert (train_input.size, train_input.batches) == (37, 9)


def test_cutmix_mixes_the_labelled_images_and_their_labels(monkeypatch):
    monkeypatch.setattr(sesemi.data, 'augment', lambda images, seed, flips: images)
    monkeypatch.setattr(sesemi.data, 'labelled_subset', lambda *_: numbered(48))
    settled = settle('--labels=48', '--batch_size=4', '--cutmix_alpha=1')
    with tf.Graph().as_default(), tf.Session() as sess:
        train_input = sesemi.data.train_input(sesemi.data.Data(numbered(200), numbered(4), identity), settled)
        train_input.initialize(sess)
        (images, _), (labels, poses) = sess.run(train_input.batch)
    mixed = images.reshape(len(images), -1).std(axis=1) > 0
    assert mixed.any() and labels.sum(axis=1) == pytest.approx(1, abs=1e-5)
    # An image that has something of another class has a part of its label.
    assert ((labels > 0).sum(axis=1) > 1)[~mixed].sum() == 0 and ((labels > 0).sum(axis=1) > 1)[mixed].any()
    assert poses.tolist() == list(range(6)) * 4


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('sesemi')


@pytest.mark.slow
@pytest.mark.margin
def test_it_learns_and_logs_as_the_vendor_does_and_evaluates_to_the_same_error(small, run_dir, capfd):
    path = '--output_path=%s' % run_dir
    arguments = PERFORMANCE + ['--task=svhn', '--batch_size=4', '--labels=80', '--epochs=3', path]
    assert command.run(train.act, arguments + [margins.SEED_FLAG], {}) == 0
    out = capfd.readouterr().out
    line = (r'20/20 \[={30}\] - \d+s [\d.]+m?s/step - loss: \d\.\d{4} - self_clf_loss: (\d\.\d{4}) - '
            r'super_clf_loss: (\d\.\d{4})')
    assert re.search('Run configuration:\n'
                     'network=convnet, dataset=svhn, horizontal_flip=False, ZCA=False, nb_epochs=3, batch_size=4, '
                     'nb_labels=80, gpu_id=0\nEpoch 1/3\nLearning rate:  0.05\n' + line + '\n', out)
    losses = [tuple(map(float, pair)) for pair in re.findall(line, out)]
    assert len(losses) == 3
    for name, column in ('rotation', 0), ('class', 1):
        margins.below('sesemi: last %s loss of the first' % name, losses[-1][column] / losses[0][column], 1)
    error = re.findall('^classification error rate: (.*)$', out, re.M)
    assert len(error) == 1
    margins.below('sesemi: error, chance is 0.9', float(error[0]), .75)

    figures = dict(line.split('=', 1) for line in (run_dir / '0' / 'report' / 'figures').read_text().splitlines())
    assert float(figures['images_per_second']) == pytest.approx(4 / float(figures['seconds_per_step']), rel=1e-6)
    assert float(figures['accuracy']) == pytest.approx(1 - float(error[0]))
    assert figures['loss'] == re.findall(r' - loss: (\S+) - ', out)[-1]

    assert command.run(evaluate.act, arguments + ['--ckpt_path=%s/0/ckpt' % run_dir], {}) == 0
    assert 'classification error rate: %s\n' % error[0] in capfd.readouterr().out


@pytest.mark.parametrize('arguments, words', [
    (['--trunk=resnet'], '--trunk=resnet: .*one of convnet, nin, wrn'),
    (['--task=mnist'], '--task=mnist: .*one of cifar10, cifar100, svhn'),
    (['--labels=5'], '--labels=5: must be a multiple of the 10 classes'),
    (['--labels=205'], '--labels=205: must be a multiple of the 10 classes'),
    (['--labels=90000'], '--labels=90000: too many'),
    (['--labels=10'], '--batch_size=16: larger than the data set of 10')])
def test_bad_input_is_refused_by_name(arguments, words, tmp_path, capfd):
    path = '--output_path=%s' % tmp_path
    assert command.run(train.act, PERFORMANCE + ['--task=svhn', path] + arguments, {}) == 2
    assert re.search(words, capfd.readouterr().err)
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize('content, words', [
    (b'MATLAB 7.3 MAT-file'.ljust(512) + b'\x89HDF\r\n\x1a\n', 'is a MATLAB 7.3 file'),
    (b'MATLAB 5.0', 'is not a MATLAB 5 file')])
def test_a_wrong_mat_file_is_refused_by_name(content, words, tmp_path):
    (tmp_path / 'train_32x32.mat').write_bytes(content)
    with pytest.raises(InputError, match='train_32x32.mat: .*' + words):
        sesemi.data.load(settle('--task=svhn', '--data_path=%s' % tmp_path))


def test_the_vendors_spellings_are_accepted(tmp_path):
    settled = settle('--dataset=%s' % tmp_path, '--result=/r', '--base_lr=0.1', '--batch_size=8', '--epochs=2',
                     '--labels=2000', '--lr_decay_power=1')
    assert (settled.data_path, settled.output_path, settled.learning_rate, settled.train_epochs) == (
        str(tmp_path), '/r', 0.1, 2)
