"""Functions of an Estimator as a recipe: two projects of docs/examples/estimator, and what cannot be moved."""
import os
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import two_ranks
from launching import ROOT

from core.errors import InputError
from core.inference.score import Scorer
from launchers import command, evaluate, export, train
from launchers.networks import registry

DIRECTORY = os.path.join(ROOT, 'docs', 'examples', 'estimator')
PROJECTS = dict(textcnn='words', resnet='input')       # the names of their inputs


def path_of(name):
    return os.path.join(DIRECTORY, name + '.py')


def run(path, output, *flags, act=train.act):
    return command.run(act, ['--network=%s' % path, '--output_path=%s' % output, '--case=performance', *flags], {})


def variables(path):
    reader = tf.train.NewCheckpointReader(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def expected(name, outputs):
    """The metrics of the whole test set, by NumPy."""
    if name == 'textcnn':
        labels = sys.modules['textcnn_model'].texts(100, 400)[1]
        return dict(accuracy=np.mean(outputs.argmax(1) == labels),
                    loss=-np.log(outputs[np.arange(len(labels)), labels]).mean())
    labels = sys.modules['resnet_model'].images(21)[1]
    right = outputs.argmax(1) == labels
    return dict(top_1=right.mean(), mean_per_class=np.mean([right[labels == c].mean() for c in range(3)]))


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(PROJECTS))
def test_a_project_trains_goes_on_bit_for_bit_and_its_export_has_the_metrics_of_numpy(name, tmp_path, capfd):
    assert run(path_of(name), tmp_path / 'whole', '--train_steps=5') == 0
    for flags in ['--train_steps=3'], ['--train_steps=5', '--resume']:
        assert run(path_of(name), tmp_path / 'stopped', *flags) == 0
    one, other = (variables(tmp_path / output / '0' / 'ckpt' / 'model.ckpt-5') for output in ('whole', 'stopped'))
    assert set(one) == set(other) and not [variable for variable in one if 'metrics' in variable]
    for variable in one:
        np.testing.assert_array_equal(one[variable], other[variable], err_msg=variable)
    optimizer = {'textcnn': 'AdamOptimizer', 'resnet': 'MomentumOptimizer'}[name]
    assert "the model_fn's %s, without" % optimizer in capfd.readouterr().out
    assert run(path_of(name), tmp_path / 'whole', act=evaluate.act) == 0
    found = dict(re.findall(r'test (\w+) (.*)', capfd.readouterr().out))
    model = sys.modules[name + '_model']
    inputs = model.texts(100, 400)[0] if name == 'textcnn' else model.images(21)[0]
    assert export.main(['--network=' + path_of(name), '--output_path=%s' % (tmp_path / 'whole'), '--case=performance',
                        '--batch_size=%d' % len(inputs), '--output=%s' % (tmp_path / 'x.pb')], {}) == 0
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString((tmp_path / 'x.pb').read_bytes()), name='')
        outputs, = [op.outputs[0] for op in graph.get_operations()
                    if op.outputs and not op.outputs[0].consumers() and op.type != 'Const']
        outputs = session.run(outputs, {PROJECTS[name] + ':0': inputs})
    for metric, value in expected(name, outputs).items():
        assert float(found[metric]) == pytest.approx(value, abs=2e-6), metric


@pytest.mark.slow
def test_two_ranks_of_a_project_are_one_rank_with_twice_the_batch(tmp_path, capfd):
    text = open(path_of('textcnn')).read().replace('dropout=.5', 'dropout=0.')
    (tmp_path / 'mine.py').write_text('import sys\nsys.path.append(%r)\n%s' % (DIRECTORY, text))
    flags = '--train_steps=6', '--network=%s' % (tmp_path / 'mine.py'), '--learning_rate_decay=linear', '--warmup=2'
    (tmp_path / 'two').mkdir()
    log = two_ranks.train(tmp_path / 'two', '--batch_size=8', *flags)
    assert run(tmp_path / 'mine.py', tmp_path / 'one', '--batch_size=16', *flags) == 0
    alone, together = (variables(tmp_path / output / '0' / 'ckpt' / 'model.ckpt-6') for output in ('one', 'two'))
    for name in alone:
        if not name.startswith('run_facts'):
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, atol=1e-6, err_msg=name)
    values = [re.findall('test after .*', text)[-1].split(': ')[1] for text in (log, capfd.readouterr().out)]
    numbers = [list(map(float, re.findall(r' (\d\.\d+)', ' ' + value))) for value in values]
    assert len(numbers[0]) == 3
    np.testing.assert_allclose(*numbers, atol=2e-6)


@pytest.mark.slow
def test_an_npu_estimator_spec_trains_on_an_npu(npu, tmp_path, monkeypatch):
    modules = 'resnet_model', 'recipe_resnet'
    for name in modules:               # which look for npu_bridge when they are imported
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert run(path_of('resnet'), tmp_path, '--train_steps=2', '--loss_scale=True') == 0
    assert 'NPUEstimatorSpec' == sys.modules['resnet_model'].NPUEstimatorSpec.__name__
    assert {('NPUDistributedOptimizer', 'MomentumOptimizer'),
            ('NPUOptimizer', 'MomentumOptimizer', False, True, False)} <= set(npu.calls) and npu.compiled
    for name in modules:
        sys.modules.pop(name)


MODEL = '''
import tensorflow as tf
from launchers.networks.estimator import from_model_fn

def data(params):
    return tf.data.Dataset.from_tensor_slices((tf.zeros([8, 2]), tf.zeros([8]))).batch(%(batch)s, True)%(more)s

def model_fn(features, labels, mode, params):
    y = tf.layers.dense(features, 1)[:, 0]
    if mode == 'infer':
        return tf.estimator.EstimatorSpec(mode, predictions=y)
    loss = tf.losses.mean_squared_error(labels, y)
    train_op = tf.train.AdagradOptimizer(.1).minimize(loss, tf.train.get_global_step())
    scaffold = tf.train.Scaffold(%(scaffold)s)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, scaffold=scaffold, eval_metric_ops=dict(
        mae=%(metric)s))

RECIPE = from_model_fn(model_fn, data, data, dict(batch_size=2), 8, 'mae')
'''
GOOD = dict(batch="params['batch_size']", more='', scaffold='', metric='tf.metrics.mean_absolute_error(labels, y)')


@pytest.mark.parametrize('change, words', [
    (dict(batch='3'), '--batch_size=2: train_input_fn makes batches of 3'),
    (dict(more='.repeat()'), 'eval_input_fn must end after one pass'),
    (dict(scaffold='init_fn=print'), 'the init_fn of a Scaffold is not called'),
    (dict(metric='tf.contrib.metrics.streaming_covariance(labels, y)'), 'mae is no function of sums over batches')])
def test_what_cannot_be_moved_is_refused_in_one_line(change, words, tmp_path, capfd):
    (tmp_path / 'mine.py').write_text(MODEL % dict(GOOD, **change))
    assert run(tmp_path / 'mine.py', tmp_path) == 2
    error = capfd.readouterr().err.splitlines()
    assert words in error[-1] and len(error[-1]) <= 300 and 'Traceback' not in '\n'.join(error)


def test_without_a_learning_rate_in_the_params_the_switch_is_a_factor_of_the_model_fns_own(tmp_path):
    (tmp_path / 'mine.py').write_text(MODEL % GOOD)
    assert run(tmp_path / 'mine.py', tmp_path, '--learning_rate=0.5', '--train_steps=1') == 0
    events, = (tmp_path / '0' / 'summary').iterdir()
    rates = [value.simple_value for event in tf.train.summary_iterator(str(events)) for value in event.summary.value
             if value.tag == 'learning_rate']
    assert rates == pytest.approx([.05])


def test_outputs_alone_cannot_be_scored():
    with pytest.raises(InputError, match='its metrics need the inputs beside the outputs'):
        Scorer(registry.RECIPES[path_of('textcnn')], types.SimpleNamespace(network='textcnn'), [2, 4], 'probabilities',
               'probabilities', None)
