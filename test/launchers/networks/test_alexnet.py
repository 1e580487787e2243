"""AlexNet: the paper's towers, the recipe on JPEG files, its log lines and what it refuses."""
import os
import re
from types import SimpleNamespace

import numpy as np
import margins
import pytest
import tensorflow as tf

from core.errors import InputError
from core.run import Clock, Report
from core.settings.config import resolve
from nets.blocks import schedules
from data import synthetic
from data.loading import CountSkipped, Skipped
from launchers import command, evaluate, train
from launchers.networks import alexnet
from launchers.networks.registry import RECIPES
from nets import alexnet as net
from nets.layers import HE_NORMAL

REPORT = Report(step=20, steps=480, epoch=0, steps_per_epoch=240, batch_size=100,
                metrics={'loss': 1.9, 'accuracy': .5, 'cross_entropy': .6931472},
                epoch_metrics={'loss': 1.9, 'accuracy': .587, 'cross_entropy': .7}, learning_rate=1e-3, skipped=0,
                seconds=62., run_seconds=51.2, seconds_per_step=.12306, first_step=0, timed_steps=15)


@pytest.fixture
def graph():
    """A default graph with AlexNet on one image: its variables and its convolutions by name of the scope."""
    with tf.Graph().as_default() as graph:
        net.alexnet(tf.fill([1, 227, 227, 3], 50.), lambda x: x)
        convolutions = [op for op in graph.get_operations() if op.type == 'Conv2D']
        yield SimpleNamespace(
            variables={v.op.name[len('alexnet/'):]: v for v in tf.global_variables()},
            convolutions={op.inputs[1].op.inputs[0].op.name[len('alexnet/'):-len('/kernel')]: op.outputs[0]
                          for op in convolutions})


def test_the_kernels_are_those_of_the_papers_figure_2(graph):
    shapes = {name: v.shape.as_list() for name, v in graph.variables.items() if name.endswith('kernel')}
    assert shapes == {
        'conv1/conv2d/kernel': [11, 11, 3, 96],
        'conv2/conv2d/kernel': [5, 5, 48, 128], 'conv2/conv2d_1/kernel': [5, 5, 48, 128],
        'conv3/conv2d/kernel': [3, 3, 256, 384],
        'conv4/conv2d/kernel': [3, 3, 192, 192], 'conv4/conv2d_1/kernel': [3, 3, 192, 192],
        'conv5/conv2d/kernel': [3, 3, 192, 128], 'conv5/conv2d_1/kernel': [3, 3, 192, 128],
        'dense/kernel': [9216, 4096], 'dense_1/kernel': [4096, 1000], 'dense_2/kernel': [1000, 2]}
    assert graph.convolutions['conv1/conv2d'].shape.as_list() == [1, 55, 55, 96]


def test_a_second_call_shares_the_variables(graph):
    net.alexnet(tf.zeros([2, 227, 227, 3]), lambda x: x)
    assert len(tf.global_variables()) == len(graph.variables)


@pytest.mark.slow
def test_a_tower_sees_its_own_maps_and_layer_3_both(graph):
    def seen(layer, earlier):
        return tf.gradients(graph.convolutions[layer], graph.variables[earlier + '/kernel'])[0]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        own, other, both, own_of_3 = [np.abs(gradient).max(axis=(0, 1, 2)) > 0 for gradient in sess.run([
            seen('conv2/conv2d', 'conv1/conv2d'), seen('conv2/conv2d_1', 'conv1/conv2d'),
            seen('conv3/conv2d', 'conv1/conv2d'), seen('conv4/conv2d', 'conv3/conv2d')])]
    assert own[:48].any() and not own[48:].any()
    assert other[48:].any() and not other[:48].any()
    assert both[:48].any() and both[48:].any()
    assert own_of_3[:192].any() and not own_of_3[192:].any()
    assert seen('conv5/conv2d', 'conv4/conv2d_1') is None


@pytest.mark.slow
def test_the_weights_start_as_in_the_paper(graph):
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        biases = {name: set(sess.run(v)) for name, v in graph.variables.items() if name.endswith('bias')}
        kernel = sess.run(graph.variables['conv3/conv2d/kernel'])
    zero = {'conv1/conv2d/bias', 'conv3/conv2d/bias', 'dense_2/bias'}
    assert biases == {name: {0.} if name in zero else {1.} for name in biases} and len(biases) == 11
    assert kernel.std() == pytest.approx(.01, rel=.01) and abs(kernel.mean()) < 1e-4


def test_responses_are_normalised_as_in_the_papers_section_3_3():
    activity = np.random.RandomState(0).rand(1, 2, 2, 9).astype(np.float32) * 300
    expected = np.empty_like(activity)
    for i in range(9):
        around = activity[..., max(0, i - 2):i + 3]
        expected[..., i] = activity[..., i] / (2 + 1e-4 * (around ** 2).sum(-1)) ** .75
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        net.alexnet(tf.zeros([1, 227, 227, 3]), lambda x: x)
        normalised = [op for op in graph.get_operations() if op.type == 'LRN']
        assert len(normalised) == 4
        options = {name: normalised[0].get_attr(name) for name in ('depth_radius', 'bias', 'alpha', 'beta')}
        np.testing.assert_allclose(sess.run(tf.nn.lrn(activity, **options)), expected, rtol=1e-5)


def test_ten_crops_count_by_their_mean_probability():
    logits = np.random.RandomState(0).normal(size=[20, 2]) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with tf.Graph().as_default(), tf.Session() as sess:
        mean = sess.run(tf.nn.softmax(alexnet.model._mean_over_crops(tf.constant(logits))))
    np.testing.assert_allclose(mean, probabilities.reshape(2, 10, 2).mean(1), rtol=1e-6)


def rates(accuracies):
    """The learning rate after each of the epochs with these training accuracies."""
    clock = Clock(len(accuracies), 1)
    with tf.Graph().as_default():
        rate = schedules.plateau(SimpleNamespace(learning_rate=1.), None, None)
        accuracy, train_op = tf.placeholder(tf.float32, []), tf.no_op()
        hook = schedules.FallOnPlateau(SimpleNamespace(clock=clock, headline='accuracy', step=SimpleNamespace(
            epoch_metrics={'accuracy': accuracy}, train_op=train_op)))
        found = []
        with tf.train.SingularMonitoredSession([clock, hook]) as session:
            for value in accuracies:
                session.run(train_op, {accuracy: value})
                found.append(session.raw_session().run(rate))
    return found


def test_the_learning_rate_falls_by_ten_when_nine_epochs_are_less_than_two_points_below_the_tenth_in_the_mean():
    rising = [.5 + .0041 * epoch for epoch in range(21)]     # by 1 to 9 times 0.0041: in the mean by 0.0205
    assert rates(rising) == [1.] * 21
    slower = [.5 + .0039 * epoch for epoch in range(21)]
    np.testing.assert_allclose(rates(slower), [1.] * 10 + [.1] * 10 + [.01], rtol=1e-6)
    late = [.5] * 10 + [.53] + [.53] * 9 + [.53]             # the tenth alone is higher, then none
    np.testing.assert_allclose(rates(late), [1.] * 20 + [.1], rtol=1e-6)
    assert rates([.01] * 5) == [1.] * 5                      # no earlier epoch is there to compare the first with


def test_the_kernels_stand_in_6_rows_of_16_on_one_scale():
    kernels = np.zeros([11, 11, 3, 96], np.float32)
    kernels[..., 0], kernels[..., 17] = 1, -1
    image = alexnet.pictures.picture(kernels)
    tile = 4 * 12
    assert image.shape == (6 * tile, 16 * tile, 3)
    assert (image[:44, :44] == 255).all()
    assert (image[tile:tile + 44, tile:tile + 44] == 0).all()
    assert (image[:44, tile:tile + 44] == 128).all()


@pytest.fixture
def log(capfd):
    """The lines of a run whose second epoch ends 460 steps after `REPORT`."""
    lines = alexnet.RECIPE.log()
    lines.step(REPORT)
    lines.step(REPORT._replace(step=21, run_seconds=51.32))
    lines.step(REPORT._replace(step=480, run_seconds=97.22, epoch=1, metrics=dict(REPORT.metrics, cross_entropy=.25)))
    lines.epoch(REPORT._replace(evaluation={'accuracy': .612, 'loss': 1.}))
    lines.end(REPORT)
    return capfd.readouterr().out


def test_the_lines_are_the_vendors(log):
    assert log.splitlines() == [
        'epoch 0 step: 19 step_time 2.560000 FPS 39.06250',
        'progress : 8.333333%  loss :0.693147',
        'epoch 0 step: 20 step_time 0.120000 FPS 833.33333',
        'epoch 1 step: 239 step_time 0.100000 FPS 1000.00000',
        'progress : 100.000000%  loss :0.250000',
        'test accuracy 61.2',
        'train accuracy 58.7',
        'end: seconds_per_step 0.123060 images_per_second 812.6117']


@pytest.fixture
def run(tmp_path, capfd, monkeypatch):
    """run(entry, flag...) -> (status, standard output, error); results in tmp_path/out/0.

    With an AlexNet made to learn in a few small batches: few hidden units, and weights that start larger.
    """
    monkeypatch.setattr(net, 'HIDDEN', (64, 32))
    monkeypatch.setattr(net, 'GAUSSIAN', HE_NORMAL)
    monkeypatch.setattr(alexnet.data, 'CROPS_AN_EPOCH', 1)

    def act(entry, *given):
        status = command.run(entry.act, ('--network=alexnet', '--case=performance', '--batch_size=8',
                                         '--output_path=%s' % (tmp_path / 'out')) + given, {})
        return (status,) + tuple(capfd.readouterr())
    return act


@pytest.fixture
def files(tmp_path):
    """A directory as Kaggle's with 26 JPEG files."""
    directory = tmp_path / 'dogs-vs-cats' / 'train'
    directory.mkdir(parents=True)
    synthetic.write_cats_dogs(str(directory), 26)
    return directory


@pytest.mark.slow
@pytest.mark.margin
def test_a_run_learns_with_a_picture_an_epoch_and_a_checkpoint_to_evaluate(run, files, tmp_path):
    data_path = '--data_path=%s' % files.parent
    status, out, _ = run(train, data_path, '--epoch=7', '--learning_rate=1e-4', '--keep_prob=1', '--save_interval=7',
                         margins.SEED_FLAG)
    assert status == 0
    losses = [float(loss) for loss in re.findall(r'^progress : .*  loss :(.*)$', out, re.M)]
    margins.below('alexnet: last loss, chance is 0.69', losses[-1], .35)
    margins.above('alexnet: training accuracy', float(re.findall('^train accuracy (.*)', out, re.M)[-1]), 60)
    assert len(re.findall(r'^epoch [0-6] step: [0-2] step_time \d+\.\d{6} FPS \d+\.\d{5}$', out, re.M)) == 21
    assert len(re.findall(r'^progress : 100\.000000%  loss :\d+\.\d{6}$', out, re.M)) == 7
    assert len(re.findall(r'^test accuracy [\d.]+$', out, re.M)) == 7 and '0 of 26 image files skipped' in out
    pictures = sorted(os.listdir(str(tmp_path / 'out' / '0' / 'first_kernels')))
    assert pictures == ['epoch_%04d.png' % epoch for epoch in range(7)]
    for flag in '--ten_crop=False', '--ten_crop=True':
        status, out, _ = run(evaluate, data_path, flag)
        assert status == 0 and out.splitlines()[-1] == 'test accuracy 100'


@pytest.mark.slow
def test_an_epoch_has_ten_crops_of_each_photograph_whichever_form_they_have(files):
    def batches():
        config = resolve(RECIPES['alexnet'], {'data_path': str(files), 'batch_size': 8, 'case': 'performance'}, {})
        assert (config.train_steps, resolve(RECIPES['alexnet'], {'case': 'performance'}, {}).train_steps) == (600, 30)
        with tf.Graph().as_default():
            return alexnet.data.train_input(alexnet.data.load(config), config).batches
    assert batches() == 24 * 10 // 8
    for file in list(files.iterdir()):
        kind, number, _ = file.name.split('.')
        for crop in range(10):
            (files / ('%s.%09d%d.jpg' % (kind, int(number), crop))).write_bytes(b'')
        file.unlink()
    assert batches() == 24 * 10 // 8


def test_epochs_that_the_user_asks_for_count_and_not_the_steps_of_a_performance_run():
    config = resolve(RECIPES['alexnet'], {'case': 'performance', 'train_epochs': 2}, {})
    assert (config.train_epochs, config.train_steps) == (2, None)


def test_eight_ranks_have_a_batch_each_of_the_built_in_files(monkeypatch):
    monkeypatch.setattr(synthetic, 'write_cats_dogs', lambda directory, count: [
        open('%s/%s.%d.jpg' % (directory, kind, n), 'w').close() for n in range(count // 2) for kind in ('cat', 'dog')])
    config = resolve(RECIPES['alexnet'], {'case': 'performance'}, {'RANK_SIZE': '8'})
    with tf.Graph().as_default():
        assert alexnet.data.train_input(alexnet.data.load(config), config).batches == 1


@pytest.mark.slow
def test_too_many_files_that_are_no_images_end_the_run_by_name(run, files):
    for number in 0, 1, 2:
        (files / ('cat.%d.jpg' % number)).write_bytes(b'no image')
    status, _, error = run(train, '--data_path=%s' % files)
    assert status == 2 and re.search(r'cat\.\d\.jpg: cannot be decoded; \d of \d+ images cannot be loaded', error)


def test_skipped_files_are_counted_over_the_ranks(capfd):
    files = np.array(['cat.%d.jpg' % number for number in range(300)], object)
    skipped = Skipped(files)
    skipped.names.add(files[3])
    with tf.Graph().as_default(), tf.Session() as session:
        of_others = tf.placeholder_with_default(np.float32(np.arange(300) == 7), [300])
        hook = CountSkipped(SimpleNamespace(
            clock=SimpleNamespace(at_epoch_end=True), train_input=SimpleNamespace(skipped=skipped),
            communicator=SimpleNamespace(ranks=2, sum=lambda tensors: [tensor + of_others for tensor in tensors])))
        hook.begin()
        hook.after_run(SimpleNamespace(session=session), None)
        hook.end(session)
        assert skipped.names == {*files[[3, 7]]} and '2 of 300 image files skipped' in capfd.readouterr().out
        skipped.names.update(files[:31])
        with pytest.raises(InputError, match='31 of 300 images'):
            hook.after_run(SimpleNamespace(session=session), None)


def test_one_class_only_is_refused_before_anything_is_written(run, files, tmp_path):
    for file in files.glob('dog.*'):
        file.unlink()
    status, _, error = run(train, '--data_path=%s' % files)
    assert status == 2 and 'holds 0 photographs dog.N.jpg' in error and not (tmp_path / 'out').exists()


@pytest.mark.slow
@pytest.mark.parametrize('flag', ['--keep_prob=0', '--keep_prob=1.5', '--ten_crop=perhaps', '--batch_size=400'])
def test_a_wrong_value_is_refused_by_name(run, flag):
    status, _, error = run(train, flag)
    assert status == 2 and flag in error
