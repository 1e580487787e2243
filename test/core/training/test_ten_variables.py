"""Resuming, fine-tuning and averaging on a graph of ten variables: what goes into which variable, in a second."""
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import toy

from core.errors import InputError
from core.pretrained import initial
from core.recipe import FIRST_OUTPUT
from core.settings.config import resolve
from core.training import checkpoints, identity, preflight, swa, weights
from nets import layers


class Small:
    """A network with two classes' or more logits in a session: six model variables, three slots and the step."""

    def __init__(self, classes=2, scope='net'):
        with tf.variable_scope(scope):
            hidden = tf.nn.relu(layers.batch_norm(layers.dense(tf.ones([4, 3]), 5, name='first', use_bias=False), True))
            self.logits = layers.dense(hidden, classes, name='last')
        self.model_variables = tf.global_variables()
        self.step = tf.train.get_or_create_global_step()
        self.slots = [tf.get_variable(v.op.name + '/Momentum', v.shape, trainable=False)
                      for v in tf.trainable_variables()[:3]]
        tf.add_to_collection(FIRST_OUTPUT, self.logits)

    def fill(self, session, seed):
        """Random values for all variables; returns {name: value}."""
        random = np.random.RandomState(seed)
        values = {v: np.asarray(random.normal(size=v.shape.as_list()) * 9, v.dtype.base_dtype.as_numpy_dtype)
                  for v in tf.global_variables()}
        for v, value in values.items():
            v.load(value, session)
        return {v.op.name: value for v, value in values.items()}


@pytest.fixture
def session():
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def config(tmp_path, **given):
    return resolve(toy.RECIPE, dict(given, case='performance', output_path=str(tmp_path)), {})


def checkpoint(directory, class_names, scope='net', classes=2):
    """A checkpoint of Small with its notes; returns (path, {name: value})."""
    with tf.Graph().as_default(), tf.Session() as session:
        small = Small(classes, scope)
        assert len(tf.global_variables()) == 11
        noted = weights.add_notes(class_names, {}, {}, {})
        values = small.fill(session, 1)
        for v, value in noted.items():
            v.load(value, session)
        return tf.train.Saver().save(session, str(directory / 'model.ckpt'), 7, write_meta_graph=False), values


def of_another(classes, class_names, path, scope='net'):
    """{name: value} that fine-tuning a network of these classes takes from the checkpoint."""
    with tf.Graph().as_default():
        settled = config('x', ckpt_path=path, finetune=True)._replace(class_names=class_names)
        found = initial.values(settled, Small(classes, scope).model_variables)
        return {v.op.name: value for v, value in found.items()}


CLASSIFIER = ['net/last/bias', 'net/last/kernel']


@pytest.mark.parametrize('classes, names', [(2, ('x', 'y')), (3, ('a', 'b', 'c'))])
def test_fine_tuning_takes_the_backbone_and_tells_what_starts_fresh(tmp_path, capsys, classes, names):
    path, values = checkpoint(tmp_path, ('a', 'b'))
    taken = of_another(classes, names, path)
    backbone = [name for name in values if name.startswith('net/') and name.count('/') == 2 and name not in CLASSIFIER]
    assert len(backbone) == 5 and sorted(taken) == sorted(backbone)
    assert all((taken[name] == values[name]).all() for name in backbone)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        '5 variables from checkpoint: ' + path,
        'the classifier starts fresh, for its classes are not those of the checkpoint: net/last/kernel, net/last/bias',
        'in the checkpoint and not used: net/last/bias, net/last/kernel']


def test_fine_tuning_on_the_very_same_classes_takes_the_classifier_too(tmp_path, capsys):
    path, values = checkpoint(tmp_path, ('a', 'b'))
    taken = of_another(2, ('a', 'b'), path)
    assert set(CLASSIFIER) < set(taken) and len(taken) == 7
    assert all((taken[name] == values[name]).all() for name in taken)
    assert 'fresh' not in capsys.readouterr().out


def test_fine_tuning_from_another_network_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path, ('a', 'b'), scope='other')
    with pytest.raises(InputError, match=r'holds no variable of this network \(net/first/kernel, ...\)'):
        of_another(2, ('a', 'b'), path)


def saver(settled, steps=()):
    """(Checkpoints, Small, session) of a run; saved after each of the steps, with the values of fill(step)."""
    small = Small()
    identity.add_facts(**identity.facts_of(settled))
    return checkpoints.Checkpoints(settled.ckpt_dir, 'toy', tf.global_variables()), small


def written(tmp_path, steps, **given):
    """A run that has saved after each of the steps; returns {step: {name: value}}."""
    settled, saved = config(tmp_path, **given), {}
    with tf.Graph().as_default(), tf.Session() as session:
        made, small = saver(settled)
        for step in steps:
            saved[step] = small.fill(session, step)
            for name, variable in identity.facts().items():
                saved[step][identity.FACTS + name] = np.int64(identity.facts_of(settled)[name])
                variable.load(identity.facts_of(settled)[name], session)
            made.save(session, step)
    return saved


def resumed(tmp_path, below=np.inf, **given):
    """{name: value} that a run with these flags goes on from."""
    settled = config(tmp_path, **given)
    with tf.Graph().as_default():
        made, _ = saver(settled)
        values = made.resume(settled, identity.facts_of(settled), (), below)
        return {v.op.name: value for v, value in values.items()}


def same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and (found[name] == value).all(), name


def test_a_run_goes_on_from_the_newest_whole_checkpoint_bit_by_bit_and_keeps_five(tmp_path, capsys):
    saved = written(tmp_path, range(10, 80, 10))
    directory = tmp_path / '0' / 'ckpt'
    kept = sorted(path.name for path in directory.glob('*.index'))
    assert kept == ['model.ckpt-%d.index' % step for step in range(30, 80, 10)]
    same(resumed(tmp_path), saved[70])
    same(resumed(tmp_path, below=70), saved[60])
    data = directory / 'model.ckpt-70.data-00000-of-00001'
    content = data.read_bytes()
    data.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    capsys.readouterr()
    same(resumed(tmp_path), saved[60])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith('Checkpoint %s is damaged and passed over: ' % (directory / 'model.ckpt-70'))
    assert second == 'resumed from checkpoint: %s' % (directory / 'model.ckpt-60')


def test_a_run_with_another_seed_or_of_another_form_does_not_go_on_from_it(tmp_path, session):
    written(tmp_path, [10])
    with pytest.raises(InputError, match='--resume: the run in .* has seed=.*, this one 5; resume it as it was'):
        resumed(tmp_path, seed=5)
    reader = tf.train.NewCheckpointReader(str(tmp_path / '0' / 'ckpt' / 'model.ckpt-10'))
    with pytest.raises(InputError, match=r'not a checkpoint of this toy: net/last/kernel is \[5, 2\] there, \[5, 3\]'):
        checkpoints.check_fits('p', reader, Small(3).model_variables, 'toy')
    assert resumed(tmp_path / 'empty') == {}


def averaging(tmp_path, session, epochs):
    """(at, finish, what was reported) of a run of 10 steps an epoch.

    at(step, weights): the weights after the update at that step, finish(): those after the end of the run.
    """
    settled = config(tmp_path, swa_freq=2, swa_start_epoch=3)
    with tf.variable_scope('net'):
        weight = tf.get_variable('kernel', [2], initializer=tf.zeros_initializer())
    clock = SimpleNamespace(step=0, steps_per_epoch=10, epochs=epochs, epoch=epochs - 1)
    global_step, reported = tf.train.get_or_create_global_step(), []
    run = SimpleNamespace(
        config=settled, clock=clock, headline='accuracy',
        step=SimpleNamespace(model_variables=[weight], global_step=global_step),
        evaluate=lambda session: {'accuracy': .75, 'loss': float(session.run(weight)[0])})
    hook = swa.Averaging(run, SimpleNamespace(is_needed=False))
    session.run(tf.global_variables_initializer())
    reporter = SimpleNamespace(report=SimpleNamespace(evaluation={'accuracy': .5, 'loss': 1.}), average=reported.append)

    def at(step, values):
        hook.before_run(None)
        clock.step = step
        global_step.load(step, session), weight.load(values, session)
        hook.update(session)
        return session.run(weight).tolist()

    def finish():
        hook.finish(session, lambda session, saver: saver.save(session, clock.step), reporter)
        return session.run(weight).tolist()
    return at, finish, reported


def test_the_mean_of_the_weights_at_the_ends_of_the_cycles_takes_their_place(tmp_path, session, capsys):
    at, finish, reported = averaging(tmp_path, session, 6)
    for step in range(1, 61):
        assert at(step, [step, -step]) == [step, -step]
    # Epochs 3 and 4, 5 and 6: the weights after the steps 40 and 60.
    assert finish() == [50., -50.] and reported == [{'accuracy': .75, 'loss': 50.}]
    reader = tf.train.load_checkpoint(str(tmp_path / '0' / 'ckpt' / 'swa' / 'model.ckpt-60'))
    assert reader.get_tensor('net/kernel').tolist() == [50., -50.]
    assert capsys.readouterr().out.splitlines()[-4:] == [
        'Epoch 00003: starting stochastic weight averaging',
        'Epoch 00006: final model weights set to stochastic weight average',
        'checkpoint saved in file: %s' % (tmp_path / '0' / 'ckpt' / 'swa' / 'model.ckpt-60'),
        'stochastic weight averaging: accuracy 0.5000 for the last iterate, 0.7500 for the average of 2; '
        'loss 1.0000 and 50.0000']


def test_a_mean_that_a_shorter_run_had_begun_does_not_count(tmp_path, session, capsys):
    at, finish, _ = averaging(tmp_path, session, 4)
    means = tf.global_variables('swa')
    for v in means:
        v.load(np.full(v.shape.as_list(), 99), session)
    for step in range(11, 40):                   # it is resumed before the averaging starts
        at(step, [step, 0])
    assert finish() == [39., 0.]                 # a run that ends within its first cycle keeps its last iterate
    at(40, [40, 0])
    assert {v.op.name: session.run(v).tolist() for v in means} == {'swa/net/kernel': [40., 0.], 'swa/count': 1}
    assert preflight.resumable(config(tmp_path, swa_start_epoch=1), 40) == 40      # the average is missing
    assert preflight.resumable(config(tmp_path), 40) > 40
    at(45, [45, 0])
    assert finish() == [40., 0.] and 'for the average of 1; ' in capsys.readouterr().out
