"""The example recipes of docs/examples: each is started by its path, and has everything that the five networks have."""
import re
import sys

import examples
import numpy as np
import pytest
import tensorflow as tf
from examples import PATHS, SMALL

from core.inference import export as exporting
from core.inference import runner, samples
from core.settings.config import resolve
from core.training import evaluation
from launchers import command, evaluate, export, score, train
from launchers.networks import registry

RUN = {'resnet50': ['--train_steps=1', '--batch_size=2'], 'unet': ['--train_steps=3']}


class InProcess(runner.Runner):
    """A FreshRunner that is not fresh, for tests of something else."""

    def __init__(self, form, path, graph, shape):
        super().__init__(form, path, graph)


@pytest.fixture
def run(tmp_path, capfd, monkeypatch):
    """run(command, example, flag...) -> the lines of its output; the command ends well."""
    monkeypatch.setattr(exporting, 'FreshRunner', InProcess)
    examples.shrink(monkeypatch)

    def act(main, name, *flags):
        capfd.readouterr()
        arguments = ['--network=' + PATHS[name], '--output_path=%s' % tmp_path,
                     *SMALL.get(name, []), *flags]
        status = command.run(main, arguments, {}) if main in (train.act, evaluate.act) else main(arguments, {})
        captured = capfd.readouterr()
        assert status == 0, captured.err
        return captured.out.splitlines()
    return act


def test_the_examples_are_those_of_the_page_and_each_has_at_most_60_lines():
    assert sorted(PATHS) == ['deepfm', 'gan', 'regression', 'resnet50', 'sphere', 'textcnn', 'unet']
    assert [name for name, path in PATHS.items() if len(open(path).read().splitlines()) > 60] == []


def metric_of(name, outputs, labels):
    """The headline of an example, by NumPy."""
    if name == 'regression':
        return np.mean((outputs.astype(float) - labels) ** 2)
    if name == 'deepfm':
        ranked = np.floor(4096 / (1 + np.exp(-outputs.astype(float))))
        differences = ranked[labels == 1][:, None] - ranked[labels == 0]
        return np.mean((differences > 0) + (differences == 0) / 2)
    guess = outputs.argmax(-1)
    if name != 'unet':
        return np.mean(guess == labels)
    return np.mean([np.sum((guess == c) & (labels == c)) / np.sum((guess == c) | (labels == c)) for c in range(3)
                    if ((guess == c) | (labels == c)).any()])


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(PATHS) - {'gan'}))       # which no device's outputs can be scored for
def test_an_example_trains_and_what_is_exported_scores_as_it_evaluates_and_as_numpy_does(name, run, tmp_path, capfd):
    headline = registry.RECIPES[PATHS[name]].model.head.headline
    log = run(train.act, name, '--case=performance', *RUN.get(name, ['--train_epochs=1']))
    evaluated = run(evaluate.act, name, '--data_path=synthetic')[1:]
    value = float(re.search('^test %s (.*)' % headline, '\n'.join(evaluated), re.M).group(1))
    assert '%s %.6f' % (headline, value) in [line for line in log if line.startswith('test after')][-1]
    lines = run(export.main, name, '--data_path=synthetic', '--samples=all', '--output=%s/x.pb' % tmp_path)
    assert any(line.startswith('%s of ' % headline) for line in lines)
    manifest = str(tmp_path / 'x_samples' / 'manifest.json')
    assert score.main(['--manifest=' + manifest, '--run_pb=%s/x.pb' % tmp_path, '--network=' + PATHS[name]], {}) == 0
    scored = capfd.readouterr().out.splitlines()[1:]
    numbers = [[float(line.split()[-1]) for line in part] for part in (scored, evaluated)]
    assert [line.split()[1] for line in scored] == [line.split()[1] for line in evaluated]
    # A pixel of unet's 32,768 of which two classes are equal but for rounding may get either: one was seen to.
    np.testing.assert_allclose(*numbers, rtol=2e-6, atol=1e-4)
    found, (labels,) = samples.read(manifest, registry.RECIPES[PATHS[name]].switches)
    outputs = np.concatenate([np.fromfile(str(tmp_path / 'x_samples_outputs' / (batch + '_output_0.bin')), np.float32)
                              .reshape(found.output_shape) for batch in found.names()])[:found.samples]
    of_scored = dict(zip((line.split()[1] for line in scored), numbers[0]))
    assert metric_of(name, outputs, labels) == pytest.approx(of_scored[headline], abs=2e-6)
    for form in ('saved_model', 'h5'):
        lines = run(export.main, name, '--format=' + form)
        assert any('checked on' in line and 'random inputs' in line for line in lines)


def test_each_loss_of_a_gan_moves_its_own_network_alone():
    recipe = registry.RECIPES[PATHS['gan']]
    config = resolve(recipe, {'case': 'performance'}, {})
    random = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = {name: tf.constant(random.normal(size=[16, size]), tf.float32) for name, size in (
            ('noise', 8), ('points', 2))}
        outputs, scores = evaluation.computed(recipe.model, inputs, inputs['points'], True, config, None)
        of_discriminator = -tf.log_sigmoid(outputs['data']) - tf.log_sigmoid(-outputs['fake'])
        of_generator = -tf.log_sigmoid(outputs['judged'])
        for scope, own in (('generator', of_generator), ('discriminator', of_discriminator)):
            weights = tf.trainable_variables('gan/' + scope)
            both, alone = (tf.gradients(tf.reduce_sum(loss), weights) for loss in (scores.losses, own))
            session.run(tf.global_variables_initializer())
            for one, other in zip(*session.run([both, alone])):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
                assert abs(other).max() > 1e-3
        assert len(tf.trainable_variables()) == 12


@pytest.mark.slow
def test_a_gan_trains_and_its_generator_is_exported(run, tmp_path):
    log = run(train.act, 'gan', '--case=performance', '--train_epochs=3')
    evaluated = run(evaluate.act, 'gan', '--data_path=synthetic')
    value = re.search('^test apart (.*)', '\n'.join(evaluated), re.M).group(1)
    assert 'apart ' + value in [line for line in log if line.startswith('test after')][-1]
    run(export.main, 'gan', '--batch_size=4', '--output=%s/x.pb' % tmp_path)
    graph = tf.GraphDef.FromString((tmp_path / 'x.pb').read_bytes())
    assert sum(node.op == 'MatMul' for node in graph.node) == 3 and 'discriminator' not in str(graph)


def test_inputs_keep_their_names_and_types_in_an_exported_graph(run, tmp_path):
    run(train.act, 'deepfm', '--case=performance', '--train_steps=2', '--buckets=50')
    run(export.main, 'deepfm', '--buckets=50', '--batch_size=4', '--output=%s/x.pb' % tmp_path)
    graph = tf.GraphDef.FromString((tmp_path / 'x.pb').read_bytes())
    inputs = {node.name: (tf.as_dtype(node.attr['dtype'].type), [side.size for side in node.attr['shape'].shape.dim])
              for node in graph.node if node.op == 'Placeholder'}
    assert inputs == {'ids': (tf.int32, [4, 8]), 'numbers': (tf.float32, [4, 4])}


def test_a_switch_of_a_recipe_is_in_h_and_is_checked(capfd):
    status = command.run(train.act, ['-h', '--network=' + PATHS['textcnn']], {})
    assert status == 0 and '--vocabulary=VALUE' in capfd.readouterr().out
    for flag in ('--vocabulary=0', '--buckets=3'):
        assert command.run(train.act, ['--network=' + PATHS['textcnn'], flag], {}) == 2
        assert flag.split('=')[0] in capfd.readouterr().err


@pytest.mark.parametrize('text, words', [
    (None, 'no such file'), ('x = 1', 'defines no RECIPE'), ('import nowhere_there', 'ModuleNotFoundError'),
    ('def f(:', 'SyntaxError')])
def test_a_file_that_is_no_recipe_is_refused_in_one_line(text, words, tmp_path, capfd):
    path = tmp_path / 'mine.py'
    if text:
        path.write_text(text)
    assert command.run(train.act, ['--network=%s' % path], {}) == 2
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 1 and words in error[0] and str(path) in error[0]


def test_a_recipe_may_import_what_lies_beside_it(tmp_path):
    (tmp_path / 'layers_of_mine.py').write_text('HIDDEN = 3\n')
    text = open(PATHS['regression']).read()
    line = 'from nets import layers'
    (tmp_path / 'mine.py').write_text(text.replace(line, line + '\nimport layers_of_mine'))
    assert registry.RECIPES[str(tmp_path / 'mine.py')].model.head.headline == 'mse'
    assert 'layers_of_mine' in sys.modules
