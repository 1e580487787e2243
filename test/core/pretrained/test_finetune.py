"""Fine-tuning: the backbone of another run, a classifier for the classes of the data."""
import re

import pytest
import tensorflow as tf
import tiny
from pictures import write_class_folders

from core.pretrained import initial
from core.recipe import FIRST_OUTPUT
from nets import layers

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Directories of class folders: 'three' classes, 'renamed' ones and 'two'."""
    directory = tmp_path_factory.mktemp('folders')
    write_class_folders(directory / 'three', {'a': 8, 'b': 8, 'c': 8})
    write_class_folders(directory / 'renamed', {'x': 8, 'y': 8, 'z': 8})
    write_class_folders(directory / 'two', {'a': 8, 'b': 8})
    return directory


@pytest.fixture(scope='module')
def checkpoint(folders):
    assert tiny.run('--task=folder', '--data_path=%s' % (folders / 'three'), '--output_path=%s' % folders) == 0
    return str(folders / '0' / 'ckpt')


@pytest.fixture
def start(folders, checkpoint, tmp_path, capfd):
    """start(data, flag...) -> (status, log, last line of standard error) of a run from the checkpoint."""
    def act(data, *flags, **options):
        status = tiny.run('--task=folder', '--data_path=%s' % (folders / data), '--output_path=%s' % tmp_path,
                          '--ckpt_path=' + checkpoint, '--learning_rate=1e-30', '--train_steps=1', *flags, **options)
        captured = capfd.readouterr()
        return status, captured.out, (captured.err.splitlines() or [''])[-1]
    return act


def weights(directory, name):
    return tf.train.load_checkpoint(tf.train.latest_checkpoint(str(directory))).get_tensor('tiny/' + name)


@pytest.mark.parametrize('data', ['two', 'renamed'])
def test_other_classes_keep_the_backbone_and_start_the_classifier_fresh(data, start, checkpoint, tmp_path):
    status, log, _ = start(data, '--finetune')
    assert status == 0
    assert 'starts fresh, for its classes are not those of the checkpoint: tiny/dense/kernel, tiny/dense/bias' in log
    after = tmp_path / '0' / 'ckpt'
    assert (weights(after, 'conv2d/kernel') == weights(checkpoint, 'conv2d/kernel')).all()
    assert weights(after, 'dense/bias').shape == ({'two': 2, 'renamed': 3}[data],)
    assert not (weights(after, 'dense/kernel')[0, :2] == weights(checkpoint, 'dense/kernel')[0, :2]).any()
    assert re.search('in the checkpoint and not used: tiny/dense/bias, tiny/dense/kernel$', log, re.M)


def test_the_same_classes_keep_their_classifier(start, checkpoint, tmp_path):
    status, log, _ = start('three', '--finetune')
    assert status == 0 and 'fresh' not in log
    assert (weights(tmp_path / '0' / 'ckpt', 'dense/kernel') == weights(checkpoint, 'dense/kernel')).all()


@pytest.mark.parametrize('names, stays', [('backbone', True), ('^tiny/batch_norm/', True), ('conv2d/kernel$', False)])
def test_a_frozen_batch_norm_keeps_its_statistics(names, stays, start, checkpoint, tmp_path):
    status, log, _ = start('two', '--finetune', '--freeze=' + names)
    assert status == 0
    for statistic in 'moving_mean', 'moving_variance':
        after, before = (weights(path, 'batch_norm/' + statistic) for path in (tmp_path / '0' / 'ckpt', checkpoint))
        assert (after == before).all() == stays


def test_without_finetune_another_number_of_classes_is_refused_with_the_way_out(start):
    status, _, error = start('two')
    assert status == 2 and 'tiny/dense/kernel is [512, 3] there, [512, 2] here' in error and '--finetune' in error


def test_a_checkpoint_of_another_network_is_refused(start):
    status, _, error = start('two', '--finetune', network='other')
    assert status == 2 and 'holds no variable of this network' in error


def test_finetune_needs_a_checkpoint(folders, tmp_path, capfd):
    status = tiny.run('--finetune', '--output_path=%s' % tmp_path)
    assert status == 2 and '--finetune=True: needs --ckpt_path' in capfd.readouterr().err


def test_resume_refuses_data_of_other_classes(folders, tmp_path, capfd):
    def run(data, *flags):
        return tiny.run('--task=folder', '--data_path=%s' % (folders / data), '--output_path=%s' % tmp_path, *flags)
    assert run('three') == 0
    assert run('renamed', '--resume', '--train_epochs=9') == 2
    assert 'has another class_names; resume it as it was started' in capfd.readouterr().err


def test_the_classifier_is_the_layer_of_the_logits_and_nothing_below_it():
    with tf.Graph().as_default():
        with tf.variable_scope('net'):
            x = layers.dense(tf.zeros([2, 4]), 5, name='below')
            logits = tf.cast(layers.dense(tf.nn.relu(x), 3, name='last'), tf.float32)
            layers.dense(x, 6, name='beside')
        tf.add_to_collection(FIRST_OUTPUT, logits)
        found = initial.classifier(tf.global_variables())
        assert [v.op.name for v in found] == ['net/last/kernel', 'net/last/bias']
