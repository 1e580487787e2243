"""Exports of a small trained network: what is in them, what they compute, and what is left when they fail."""
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tiny
from launching import ROOT

from core.errors import InputError
from core.inference import export as exporting
from core.inference import frozen, runner
from data import synthetic
from launchers import evaluate, export, score
from launchers.networks import image_sets
from launchers.networks.registry import RECIPES

TEST = 21


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The output path of a run of the small network on a small data set."""
    directory = str(tmp_path_factory.mktemp('trained'))
    kept = image_sets.TASKS['cifar10']
    image_sets.TASKS['cifar10'] = kept._replace(synthesize=lambda: synthetic.cifar10(160, TEST))
    assert tiny.run('--output_path=' + directory, '--train_epochs=4') == 0
    yield directory
    image_sets.TASKS['cifar10'] = kept


@pytest.fixture
def run_export(trained, tmp_path, capfd, monkeypatch):
    """run_export(flag...) -> (status, standard output, last line of standard error); exports go to tmp_path."""
    monkeypatch.setattr(exporting, 'FreshRunner', tiny.InProcess)

    def act(*flags):
        capfd.readouterr()
        status = export.main(['--network=tiny', '--data_path=synthetic', '--ckpt_path=%s/0/ckpt' % trained,
                              '--output_path=%s' % tmp_path] + list(flags), {})
        captured = capfd.readouterr()
        return status, captured.out, (captured.err.splitlines() or [''])[-1]
    return act


def evaluated(capfd, *flags):
    capfd.readouterr()
    assert tiny.run('--data_path=synthetic', *flags, act=evaluate.act) == 0
    return capfd.readouterr().out.partition('\n')[2]       # without how many images these are


@pytest.mark.slow
def test_a_frozen_graph_has_one_input_one_output_and_nothing_of_training(run_export, tmp_path):
    status, out, _ = run_export('--batch_size=4')
    assert status == 0
    graph_def = tf.GraphDef.FromString((tmp_path / 'export' / 'tiny_bs4.pb').read_bytes())
    used = {name for node in graph_def.node for name in node.input}
    assert [node.name for node in graph_def.node if node.op == 'Placeholder'] == ['input']
    assert [node.name for node in graph_def.node if node.name not in used] == ['logits']
    assert {node.op for node in graph_def.node} == {
        'Placeholder', 'Const', 'Conv2D', 'BiasAdd', 'Relu', 'Reshape', 'MatMul'}
    described = json.loads((tmp_path / 'export' / 'tiny_bs4.json').read_text())
    assert described['input_shape'] == [4, 32, 32, 3] and described['class_names'][3] == '3'
    assert out.splitlines()[-1] == (
        'atc --model={0}.pb --framework=3 --output={0} --soc_version=Ascend310 --input_shape="input:4,32,32,3"'.format(
            tmp_path / 'export' / 'tiny_bs4'))


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'uint8'])
@pytest.mark.parametrize('form, described', [('pb', 'm.json'), ('saved_model', 'm/assets.extra/model.json')])
def test_a_graph_of_a_batch_that_varies_computes_the_same_in_each_size_and_scores_like_its_samples(
        dtype, form, described, run_export, trained, tmp_path, capfd):
    path = str(tmp_path / ('m.pb' if form == 'pb' else 'm'))
    status, out, error = run_export('--dynamic_batch_size=8,1,3', '--input_dtype=' + dtype, '--format=' + form,
                                    '--samples=all', '--output=' + path)
    assert status == 0, error
    facts = json.loads((tmp_path / described).read_text())
    assert facts['dynamic_batch_size'] == [1, 3, 8]
    assert (facts['input_shape'], facts['output_shape']) == ([-1, 32, 32, 3], [-1, 10])
    assert facts['atc'].endswith('--input_shape="input:-1,32,32,3" --dynamic_batch_size="1,3,8"')
    folder = str(tmp_path / 'm_samples')
    batch = np.fromfile(folder + '/input/000000.bin', dtype).reshape(8, 32, 32, 3)
    with runner.Runner(form, path) as model:
        (placeholder,) = model.inputs.values()
        assert placeholder.shape.as_list() == [None, 32, 32, 3]
        alone = np.concatenate([model({'input': batch[row:row + 1]}) for row in range(8)])
        assert alone == pytest.approx(model({'input': batch}), abs=1e-4 * np.abs(alone).max())
    if form == 'pb':
        expected = evaluated(capfd, '--ckpt_path=%s/0/ckpt' % trained)
        assert score.main(['--manifest=%s/manifest.json' % folder, '--run_pb=' + path], {}) == 0
        assert capfd.readouterr().out.splitlines()[1:] == expected.splitlines()


def test_an_export_that_differs_in_one_of_the_sizes_alone_is_not_kept(run_export, tmp_path, monkeypatch):
    class OffInThrees(tiny.InProcess):
        def __call__(self, batch):
            return super().__call__(batch) + (len(batch['input']) == 3)
    monkeypatch.setattr(exporting, 'FreshRunner', OffInThrees)
    status, _, error = run_export('--dynamic_batch_size=1,3,8')
    assert status == 1 and error.startswith('the export differs from the checkpoint by 1,')
    assert os.listdir(str(tmp_path / 'export')) == []
    assert run_export('--dynamic_batch_size=1,2,8')[0] == 0
    assert sorted(os.listdir(str(tmp_path / 'export'))) == ['tiny_dynamic.json', 'tiny_dynamic.pb']


@pytest.mark.parametrize('shape', [[4, 10], [None, None]])
def test_outputs_that_do_not_vary_with_the_batch_alone_are_refused_in_one_line(shape):
    output = tf.TensorSpec(shape, tf.float32)
    exporting._check_batch(output, exporting.ExportRequest(runner.PB))
    with pytest.raises(InputError, match='--dynamic_batch_size: .* outputs of the shape') as refused:
        exporting._check_batch(output, exporting.ExportRequest(runner.PB, dynamic_batch_size=(1, 8)))
    assert '\n' not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'uint8', 'raw_float32'])
def test_samples_run_and_scored_here_give_the_lines_of_evaluate(dtype, run_export, trained, tmp_path, capfd):
    expected = evaluated(capfd, '--ckpt_path=%s/0/ckpt' % trained)
    status, out, _ = run_export('--samples=all', '--input_dtype=' + dtype, '--output=%s/x.pb' % tmp_path)
    assert status == 0 and 'accuracy of %d test samples' % TEST in out
    assert len(os.listdir(str(tmp_path / 'x_samples' / 'input'))) == -(-TEST // tiny.BATCH)
    status = score.main(['--manifest=%s' % (tmp_path / 'x_samples' / 'manifest.json'),
                         '--run_pb=%s/x.pb' % tmp_path], {})
    assert status == 0 and capfd.readouterr().out.splitlines()[1:] == expected.splitlines()


@pytest.mark.slow
def test_what_the_vendors_scripts_make_of_a_test_set_and_of_the_outputs_is_evaluates_accuracy(
        run_export, trained, tmp_path, capfd, monkeypatch):
    """docs/vendor-contract.md section 7, written out: make_bin, an inference tool, process."""
    data = synthetic.cifar10(160, TEST)
    test = data.test._replace(y=(data.test.y + (np.arange(TEST) % 3 == 0)) % 10)      # every third label is wrong
    monkeypatch.setitem(image_sets.TASKS, 'cifar10', image_sets.TASKS['cifar10']._replace(
        synthesize=lambda: data._replace(test=test)))
    lines = evaluated(capfd, '--ckpt_path=%s/0/ckpt' % trained).splitlines()
    assert run_export('--input_dtype=raw_float32', '--batch_size=%d' % TEST, '--output=%s/x.pb' % tmp_path)[0] == 0
    test.x.astype(np.float32).tofile(str(tmp_path / 'Xtest.bin'))
    np.eye(10, dtype=np.int64)[test.y].tofile(str(tmp_path / 'Ytest.bin'))
    with tf.Graph().as_default(), tf.Session() as session:
        graph_def = tf.GraphDef.FromString((tmp_path / 'x.pb').read_bytes())
        logits, = tf.import_graph_def(graph_def, return_elements=['logits:0'], name='')
        images = np.fromfile(str(tmp_path / 'Xtest.bin'), np.float32).reshape(TEST, 32, 32, 3)
        session.run(logits, {'input:0': images}).tofile(str(tmp_path / 'x_output_0.bin'))
    estimated = np.fromfile(str(tmp_path / 'x_output_0.bin'), np.float32).reshape(TEST, 10)
    true = np.fromfile(str(tmp_path / 'Ytest.bin'), np.int64).reshape(TEST, 10)
    right = np.sum(np.argmax(true, axis=1) == np.argmax(estimated, axis=1))
    assert lines[-1] == 'Top-1: %.4f' % (right / TEST) and 0 < right < TEST


@pytest.mark.parametrize('dtype', ['uint8', 'raw_float32'])
def test_pixels_are_checked_on_pixels_where_no_data_is_given(dtype, trained, tmp_path, capfd, monkeypatch):
    seen = []
    compare = exporting._compare
    monkeypatch.setattr(exporting, 'FreshRunner', tiny.InProcess)
    monkeypatch.setattr(exporting, '_compare', lambda *given: (seen.extend(given[2]), compare(*given)))
    assert export.main(['--network=tiny', '--ckpt_path=%s/0/ckpt' % trained, '--input_dtype=' + dtype,
                        '--output=%s/x.pb' % tmp_path], {}) == 0
    batches = [batch['input'] for batch, _ in seen]
    assert {batch.dtype.name for batch in batches} == {dtype.replace('raw_', '')}
    assert min(map(np.min, batches)) == 0 and max(map(np.max, batches)) == 255


def test_uint8_inputs_are_the_pixels_of_the_test_set(run_export, tmp_path):
    assert run_export('--samples=3', '--input_dtype=uint8', '--output=%s/x.pb' % tmp_path)[0] == 0
    batch = np.fromfile(str(tmp_path / 'x_samples' / 'input' / '000000.bin'), np.uint8).reshape(-1, 32, 32, 3)
    test = synthetic.cifar10(160, TEST).test
    assert (batch == test.x[:tiny.BATCH]).all()
    assert np.load(str(tmp_path / 'x_samples' / 'labels.npy')).tolist() == test.y[:3].tolist()


@pytest.mark.slow
def test_an_hdf5_file_holds_weights_by_path_and_the_configuration_and_evaluates_like_its_checkpoint(
        run_export, trained, tmp_path, capfd):
    expected = evaluated(capfd, '--ckpt_path=%s/0/ckpt' % trained)
    status, out, _ = run_export('--format=h5')
    path = str(tmp_path / 'export' / 'tiny.h5')
    assert status == 0 and 'largest difference from the checkpoint: 0 of' in out
    reader = tf.train.load_checkpoint('%s/0/ckpt' % trained)
    with h5py.File(path, 'r') as file:
        assert (file['tiny/dense/kernel'][()] == reader.get_tensor('tiny/dense/kernel')).all()
        assert file.attrs['network'] == 'tiny' and file.attrs['weight_decay'] == 1e-4
        assert list(file.attrs['class_names']) == [str(number) for number in range(10)]
    assert evaluated(capfd, '--ckpt_path=' + path) == expected


def test_a_saved_model_serves(run_export, tmp_path):
    assert run_export('--format=saved_model', '--probabilities', '--batch_size=2')[0] == 0
    with tf.Graph().as_default(), tf.Session() as session:
        model = tf.saved_model.load(session, ['serve'], str(tmp_path / 'export' / 'tiny_bs2'))
        signature = model.signature_def['serving_default']
        probabilities = session.run(signature.outputs['probabilities'].name,
                                    {signature.inputs['input'].name: np.zeros([2, 32, 32, 3])})
    assert probabilities.sum(1) == pytest.approx([1, 1], rel=1e-5)


def test_an_export_that_differs_from_the_checkpoint_is_not_kept(run_export, tmp_path, monkeypatch):
    freeze = frozen.freeze

    def off_by_a_little(*arguments):
        graph_def = freeze(*arguments)
        bias = next(node for node in graph_def.node if node.name == 'tiny/dense/bias')
        value = tf.make_ndarray(bias.attr['value'].tensor)
        bias.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value * 1.1 + 0.01))
        return graph_def
    monkeypatch.setattr(frozen, 'freeze', off_by_a_little)
    status, _, error = run_export('--samples=all')
    assert status == 1 and error.startswith('the export differs from the checkpoint by')
    assert os.listdir(str(tmp_path / 'export')) == []


@pytest.mark.slow
def test_a_second_export_takes_the_place_of_the_first_but_never_of_other_files(run_export, tmp_path):
    for _ in range(2):
        assert run_export('--format=saved_model', '--samples=1', '--output=%s/m' % tmp_path)[0] == 0
    assert sorted(os.listdir(str(tmp_path))) == ['m', 'm_samples']
    (tmp_path / 'm_samples' / 'mine.txt').write_text('')
    status, _, error = run_export('--format=saved_model', '--samples=1', '--output=%s/m' % tmp_path)
    assert status == 2 and 'mine.txt' in error and (tmp_path / 'm_samples' / 'mine.txt').exists()
    status, _, error = run_export('--output=%s' % tmp_path)
    assert status == 2 and 'is a directory' in error


@pytest.mark.parametrize('form, name', [
    ('pb', 'm.pb'), ('pb', 'm.json'), ('h5', 'm.h5'), ('saved_model', 'm.pb'), ('pb', 'm_samples/manifest.json')])
def test_nothing_that_no_export_has_written_is_overwritten_unless_asked_for(run_export, tmp_path, form, name):
    output = tmp_path / ('m.pb' if form != 'h5' else 'm.h5')
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text('{"mine": 1}')
    status, _, error = run_export('--format=' + form, '--samples=1', '--output=%s' % output)
    assert status == 2 and mine.read_text() == '{"mine": 1}' and ('no export' in error or 'no directory' in error)
    if form != 'saved_model':      # a directory never replaces a file
        for flags in (['--overwrite'], []):    # and then it is an export's own
            assert run_export('--format=' + form, '--samples=1', '--output=%s' % output, *flags)[0] == 0
        assert not mine.read_bytes().startswith(b'{"mine')


def test_a_configuration_of_aipp_that_no_export_has_written_stays(run_export, tmp_path):
    mine = tmp_path / 'm.aipp.cfg'
    mine.write_text('mine')
    status, _, error = run_export('--output=%s' % (tmp_path / 'm.pb'))
    assert status == 2 and '%s is there, and no export has written it' % mine in error and mine.read_text() == 'mine'


@pytest.mark.parametrize('flags, words', [
    (['--format=tflite'], '--format=tflite: must be one of pb, saved_model, h5, onnx'),
    (['--format=onnx', '--aipp'], '--aipp: needs --format=pb'),
    (['--format=h5', '--input_dtype=uint8'], 'needs --format=pb|saved_model'),
    (['--format=h5', '--dynamic_batch_size=1,8'], '--dynamic_batch_size: needs --format=pb|saved_model'),
    (['--dynamic_batch_size=1,8', '--batch_size=8'], '--dynamic_batch_size: replaces --batch_size'),
    (['--dynamic_batch_size=8'], '--dynamic_batch_size=8: must be 2 to 100 different whole numbers'),
    (['--dynamic_batch_size=1,8,1'], '--dynamic_batch_size=1,8,1: must be'),
    (['--dynamic_batch_size=0,8'], '--dynamic_batch_size=0,8: must be'),
    (['--samples=0'], '--samples=0: must be'),
    (['--samples=99'], '--samples=99: the test set has only %d' % TEST),
    (['--ckpt_path=/nowhere'], '--ckpt_path=/nowhere: no such checkpoint'),
    (['--ckpt_path=/etc/passwd.h5'], '--ckpt_path=/etc/passwd.h5: cannot be read as HDF5'),
    (['--output=/proc/x/y.pb'], '--output=/proc/x/y.pb: cannot be written'),
    (['--network=swa', '--input_dtype=uint8'], '--network=swa: the checkpoint is of tiny; leave the flag out')])
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(flags, words, run_export, tmp_path):
    status, _, error = run_export(*flags)
    assert status == 2 and words in error
    assert not os.path.exists(str(tmp_path / 'export')) or os.listdir(str(tmp_path / 'export')) == []


def test_pixels_are_no_inputs_of_a_network_without_images(tmp_path, capfd):
    assert export.main(['--network=swa', '--input_dtype=uint8', '--output_path=%s' % tmp_path], {}) == 2
    assert 'the inputs of this network are no images' in capfd.readouterr().err


def test_the_inputs_have_the_names_of_the_vendors_commands():
    assert {name: RECIPES[name].input_name for name in ('cspnet', 'sesemi', 'alexnet', 'cutmix', 'swa')} == dict(
        cspnet='Placeholder', sesemi='super_data', alexnet='input', cutmix='input', swa='input')


@pytest.mark.slow
def test_an_export_is_checked_in_a_fresh_process_and_from_another_directory(tmp_path, forking_workdir):
    def run(*command):
        return subprocess.run([sys.executable, os.path.join(ROOT, 'launchers', command[0] + '.py')] + list(command[1:]),
                              cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, env=dict(os.environ, PYTHON=str(forking_workdir / 'python')))
    trained = run('train', '--network=swa', '--case=performance', '--train_epochs=1', '--output_path=o')
    assert trained.returncode == 0, trained.stderr
    exported = run('export', '--network=swa', '--ckpt_path=o/0/ckpt', '--format=saved_model', '--output=m')
    assert exported.returncode == 0, exported.stderr
    assert 'accuracy of 16384 test samples' in exported.stdout
    (tmp_path / 'bad.pb').write_bytes(b'\0\1')
    with runner.FreshRunner('pb', str(tmp_path / 'bad.pb'), None, [1, 1]) as bad:
        with pytest.raises(ValueError, match='bad.pb: a fresh process cannot run it: .*bad.pb: cannot be loaded as pb'):
            bad({'input': np.zeros([1])})


@pytest.mark.parametrize('shape, expected', [
    ([4, 32, 32, 3], ' --input_shape="x:4,32,32,3"'), ([4, 2], ' --input_format=ND --input_shape="x:4,2"'),
    ([4, 8, 32, 32, 3], ' --input_format=ND --input_shape="x:4,8,32,32,3"')])
def test_the_atc_line_says_that_an_input_is_no_images(shape, expected):
    line = exporting._atc('m.pb', dict(inputs=[('x', 'float32', shape)]), exporting.ExportRequest(runner.PB))
    assert line == 'atc --model=m.pb --framework=3 --output=m --soc_version=Ascend310' + expected


def test_the_atc_line_has_a_size_for_each_input_that_is_no_image():
    line = exporting._atc('m.pb', dict(inputs=[('x', 'float32', [-1, 2]), ('y', 'int32', [-1, 5, 7])]),
                          exporting.ExportRequest(runner.PB, dynamic_batch_size=(1, 8, 64)))
    assert line.endswith(' --input_format=ND --input_shape="x:-1,2;y:-1,5,7" --dynamic_dims="1,1;8,8;64,64"')


def test_what_fails_in_the_middle_of_an_export_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match='^--output=%s/there/m.pb: cannot be written: first$' % tmp_path):
        with exporting._aside(str(tmp_path / 'there' / 'm.pb')) as directory:
            with open(os.path.join(directory, 'half'), 'w'):
                raise tf.errors.UnknownError(None, None, 'first\nsecond')
    assert os.listdir(str(tmp_path / 'there')) == []


@pytest.mark.parametrize('attributes, is_own', [(('network', 'case'), True), (('network', 'case', 'step'), True),
                                                (('network',), False), ((), False)])
def test_an_hdf5_file_of_another_program_is_none_that_an_export_may_replace(tmp_path, attributes, is_own):
    with h5py.File(str(tmp_path / 'm.h5'), 'w') as file:
        file.attrs.update({name: 'x' for name in attributes})
    assert exporting._is_own_h5(str(tmp_path / 'm.h5')) is is_own


@pytest.mark.parametrize('network, shape', [('swa', [8, 32, 32, 3]), ('sesemi', [8, 2, 32, 32, 3])])
def test_inputs_that_are_no_images_or_several_views_of_one_have_no_aipp(network, shape):
    form = tf.TensorSpec(shape, tf.float32)
    assert exporting._image(RECIPES[network], form, {}, exporting.ExportRequest(runner.PB)) == {}
