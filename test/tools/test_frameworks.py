"""What is exported and what is rounded, beside TensorFlow 2, onnxruntime, OpenCV and ml_dtypes."""
import os
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tiny
from pictures import write_class_folders

from core.ascend.emulation import emulation
from core.inference import runner
from launchers import export, shards

PYTHON = os.environ.get('TOOLS_FRAMEWORKS')
INFER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'infer.py')

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason='bash test/tools.sh sets the tools up')]


def tool(*command):
    environ = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run([PYTHON, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ,
                          universal_newlines=True)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A frozen graph."""
    output = tmp_path_factory.mktemp('run')
    assert tiny.run('--output_path=%s' % output, '--train_steps=2', '--data_path=synthetic') == 0
    path = str(output / 'x.pb')
    assert export.main(['--network=tiny', '--data_path=synthetic', '--ckpt_path=%s/0/ckpt' % output,
                        '--batch_size=4', '--output=' + path], {}) == 0
    return path


@pytest.fixture(scope='module')
def cutmix(tmp_path_factory):
    """The flags that name a checkpoint of cutmix."""
    output = tmp_path_factory.mktemp('cutmix')
    assert tiny.run('--output_path=%s' % output, '--train_steps=2', '--batch_size=4', '--data_path=synthetic',
                    network='cutmix') == 0
    return ['--network=cutmix', '--ckpt_path=%s/0/ckpt' % output]


@pytest.mark.parametrize('framework', ['tensorflow', 'onnxruntime', 'opencv'])
def test_other_frameworks_compute_what_the_export_does(model, tmp_path, framework):
    x = np.random.RandomState(0).normal(size=[4, 32, 32, 3]).astype(np.float32)
    np.save(str(tmp_path / 'x.npy'), x)
    tool(INFER, framework, model, str(tmp_path / 'x.npy'), str(tmp_path / 'y.npy'))
    with runner.Runner(runner.PB, model) as ours:
        name, = ours.inputs
        np.testing.assert_allclose(np.load(str(tmp_path / 'y.npy')), ours({name: x}), rtol=1e-4, atol=1e-5)


RUN_ONNX = '''
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession('%s', providers=['CPUExecutionProvider'])
one, = session.get_inputs()
for size in %s:
    np.save('%s/%%d.npy' %% size, session.run(None, {one.name: np.load('%s')[:size]})[0])
'''


@pytest.mark.parametrize('flags, sizes', [(['--batch_size=4'], [4]), (['--dynamic_batch_size=1,4'], [1, 3, 4])])
def test_an_onnx_file_computes_what_the_frozen_graph_of_cutmix_does(cutmix, tmp_path, flags, sizes):
    """What both need is set up by itself."""
    x = np.random.RandomState(0).normal(size=[4, 32, 32, 3]).astype(np.float32)
    np.save(str(tmp_path / 'x.npy'), x)
    paths = {form: str(tmp_path / ('x.' + form)) for form in (runner.PB, runner.ONNX)}
    for form, path in paths.items():
        assert export.main([*cutmix, *flags, '--format=' + form, '--output=' + path], {}) == 0
    tool('-c', RUN_ONNX % (paths[runner.ONNX], sizes, tmp_path, tmp_path / 'x.npy'))
    with runner.Runner(runner.PB, paths[runner.PB]) as ours:
        name, = ours.inputs
        for size in sizes:
            expected = ours({name: x[:size]})
            difference = np.abs(np.load(str(tmp_path / ('%d.npy' % size))) - expected).max()
            assert difference < 1e-4 * np.abs(expected).max()


READER = '''
import glob, tensorflow as tf
form = {'image/encoded': tf.io.FixedLenFeature([], tf.string), 'image/class/label': tf.io.FixedLenFeature([], tf.int64)}
for record in tf.data.TFRecordDataset(sorted(glob.glob('%s/*-of-*'))):
    found = tf.io.parse_single_example(record, form)
    image = tf.io.decode_image(found['image/encoded'])
    print('label', int(found['image/class/label']), 'channel', int(tf.argmax(image[0, 0])), image.shape)
'''


def test_tensorflow_2_reads_the_shards_that_are_written(tmp_path):
    write_class_folders(tmp_path / 'data', {'one': 4, 'two': 5})
    assert shards.main(['--data_path=%s' % (tmp_path / 'data'), '--output=%s' % (tmp_path / 'shards')], {}) == 0
    lines = tool('-c', READER % (tmp_path / 'shards')).splitlines()
    assert sorted(line for line in lines if line.startswith('label')) == [
        'label 1 channel 0 (40, 48, 3)'] * 4 + ['label 2 channel 1 (40, 48, 3)'] * 5


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_rounding_has_the_bits_of_ml_dtypes(tmp_path, dtype):
    bits = np.random.RandomState(0).randint(0, 2 ** 32, 2 ** 16, np.uint64).astype(np.uint32)
    values = np.concatenate([bits.view(np.float32), np.float32([65504, 65519, 65520, 6e-8, 2.9e-8, np.inf])])
    values = values[~np.isnan(values) & ((abs(values) > 1.2e-38) | (values == 0))]   # a CPU may drop what is below
    np.save(str(tmp_path / 'x.npy'), values)
    program = ('import ml_dtypes, numpy as np; x = np.load("x.npy"); '
               'np.save("y.npy", x.astype(%s).astype(np.float32))' % {
                   'float16': 'np.float16', 'bfloat16': 'ml_dtypes.bfloat16'}[dtype])
    subprocess.run([PYTHON, '-c', program], cwd=str(tmp_path), check=True, env=dict(os.environ, PYTHONPATH=''))
    with tf.Graph().as_default(), tf.Session() as session:
        ours = session.run(emulation.round_to(tf.constant(values), dtype, False))
    assert (ours.view(np.uint32) == np.load(str(tmp_path / 'y.npy')).view(np.uint32)).all()
