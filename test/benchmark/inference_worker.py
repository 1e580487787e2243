"""A worker of the benchmark that infers: inference_worker.py WAY DIRECTORY [flag of evaluate...]. WAY is one of

    forward   the inference graph alone, fed with the same batch over and over
    evaluate, predict, score, run_pb   the loops of these commands, as they are; run_pb is that of score --run_pb

inference.prepare() has filled the directory. A step is a batch; where a loop starts again, one step is longer.
"""
import functools
import itertools
import os
import shutil
import sys
import types

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

# The package first: it silences TensorFlow's warnings about names.
from launchers import command  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import inference  # noqa: E402
import shares  # noqa: E402
from core import recipe as recipe_lib  # noqa: E402
from core.device import call_of, cpu_session, keep_memory  # noqa: E402
from core.inference import evaluate, predict, samples, score, trained  # noqa: E402
from core.progress import EVALUATION  # noqa: E402
from core.training import evaluation  # noqa: E402
from launchers.devices import CPU, fast  # noqa: E402
from launchers.evaluate import USAGE  # noqa: E402
from turns import Turns  # noqa: E402

BATCHES = 200                  # of a pass over the test set


def forward(turns, directory, recipe, config):
    """The inference graph alone; writes its batch and outputs for onnxruntime_worker.py."""
    manifest, _ = samples.read(_manifest(directory), recipe.switches)
    (name, dtype, shape), = manifest.inputs
    x = samples.read_inputs(os.path.dirname(_manifest(directory)), manifest, manifest.files[0])[name]
    path, reader, config = trained.find(recipe, config)
    with fast() as configure:
        model = trained.build(recipe, config, tf.TensorSpec(shape, dtype, name))
    with cpu_session(configure) as session:
        model.load(session, path, reader, config.network)
        run = call_of(session, model.output, [model.inputs[name]])
        np.savez(os.path.join(directory, 'forward.npz'), x=x, y=run(x))
        turns.begin(images=len(x), kernels=shares.used(model.output.graph))
        while True:
            run(x)
            turns.stepped()


def evaluates(turns, directory, recipe, config):
    """core/inference/evaluate.py on the test set, repeated to BATCHES batches."""
    def load(config):
        data = recipe.load(config)
        return data._replace(test=data.test.subset(np.arange(BATCHES * config.batch_size) % data.test.size))
    evaluation.progress = types.SimpleNamespace(
        now=lambda phase, *_: turns.stepped() if phase == EVALUATION else None)
    turns.begin(images=config.batch_size)
    while True:
        evaluate.evaluate(recipe._replace(load=load), config, CPU)


def predicts(turns, directory, recipe, config):
    """core/inference/predict.py on the files of the test set; arrays become PNG files."""
    data, _ = recipe_lib.load(recipe, config)
    files = [os.fsdecode(name) for name in data.test.x] if data.test.x.ndim == 1 else _pngs(data.test.x, directory)
    turns.begin(images=predict._BATCH)
    found = predict.predict(recipe, config._replace(data_path=None), itertools.cycle(files), sys.exit, fast)
    while True:
        for _ in itertools.islice(found, predict._BATCH):
            pass
        turns.stepped()


def _pngs(images, directory):
    paths = [os.path.join(directory, '%05d.png' % number) for number in range(len(images))]
    with tf.Graph().as_default(), cpu_session() as session:
        image = tf.placeholder(tf.uint8, [None, None, 3])
        content = tf.image.encode_png(image)
        for path, one in zip(paths, images):
            with open(path, 'wb') as file:
                file.write(session.run(content, {image: one}))
    return paths


def scores(turns, directory, recipe, config):
    """core/inference/score.py on outputs that are there."""
    outputs = _run_pb(directory, recipe, 'outputs')
    _step_after(turns, score.Scorer, 'add')
    turns.begin(images=samples.read(_manifest(directory), recipe.switches)[0].output_shape[0])
    while True:
        score.metrics(recipe, config, _manifest(directory), outputs, 'float32', fast)


def runs_pb(turns, directory, recipe, config):
    """The frozen graph on all inputs, of which it writes the outputs."""
    _step_after(turns, score.Runner, '__call__')
    turns.begin(images=samples.read(_manifest(directory), recipe.switches)[0].output_shape[0])
    while True:
        _run_pb(directory, recipe, 'outputs_again')


def _run_pb(directory, recipe, name):
    outputs = os.path.join(directory, name)
    shutil.rmtree(outputs, ignore_errors=True)
    score.run_pb(os.path.join(directory, 'network.pb'), _manifest(directory), outputs, recipe.switches, fast)
    return outputs


def _step_after(turns, of_class, name):
    """Makes each call of a method a step."""
    method = getattr(of_class, name)

    def stepping(*arguments):
        found = method(*arguments)
        turns.stepped()
        return found
    setattr(of_class, name, stepping)


def _manifest(directory):
    return os.path.join(directory, 'network_samples', 'manifest.json')


DO = dict(zip(inference.WAYS, (forward, None, evaluates, predicts, scores, runs_pb)))

if __name__ == '__main__':
    shares.leave_out(os.environ.get(shares.LEFT_OUT))
    way, directory, *flags = sys.argv[1:]
    keep_memory()              # as the commands do
    sys.exit(command.run(functools.partial(DO[way], Turns(), directory), flags, os.environ, USAGE))
