"""Inference: the forward pass alone, the loops of evaluate, predict and score, and onnxruntime on the exported pb."""
import json
import os
import subprocess
import sys
from statistics import median

import numpy as np

import results
from turns import Worker, WorkerFailed

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FORWARD, PREDICT, ONNXRUNTIME = 'forward', 'predict', 'onnxruntime'
# onnxruntime comes after the forward pass, of which it gets the batch and the outputs.
WAYS = (FORWARD, ONNXRUNTIME, 'evaluate', PREDICT, 'score', 'run_pb')
BATCHES = 64                   # that a pass of score looks at, all of them one file


def prepare(flags, directory):
    """Leaves 0/ckpt and its export network.pb, .json, .onnx and _samples/ in `directory`.

    Returns (the size of a batch, WAYS without predict for a network that takes no pictures).
    """
    network, main = os.path.join(directory, 'network'), [sys.executable, os.path.join(ROOT, '__main__.py')]
    _run(main + ['train', *flags, '--case=performance', '--device=cpu', '--train_steps=1',
                 '--output_path=' + directory])
    _run(main + ['export', *_with_data(flags), '--ckpt_path=' + os.path.join(directory, '0', 'ckpt'), '--format=pb',
                 '--output=%s.pb' % network, '--samples=1'])
    _run([os.environ['TOOLS_FRAMEWORKS'], '-I', os.path.join(ROOT, 'core', 'inference', 'onnx_worker.py'), 'convert',
          network + '.pb', network + '.onnx'])
    with open(network + '.json', encoding='utf-8') as file:
        takes_pictures = 'image' in json.load(file)
    return repeat(network + '_samples'), [way for way in WAYS if takes_pictures or way != PREDICT]


def _with_data(flags):
    return flags + [flag for flag in ['--data_path=synthetic'] if not any('--data_path' in one for one in flags)]


def _run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode:
        raise WorkerFailed('%s: %s' % (' '.join(command), (done.stdout.strip().splitlines() or [''])[-1]),
                           done.returncode)


def repeat(samples):
    """Makes BATCHES batches of the one in the directory of an export's samples; returns the size of a batch."""
    path, labels = (os.path.join(samples, name) for name in ('manifest.json', 'labels.npy'))
    with open(path, encoding='utf-8') as file:
        manifest = json.load(file)
    size, (first,) = manifest['output_shape'][0], manifest['files']
    files = [first] + ['input/%06d.bin' % number for number in range(1, BATCHES)]
    for name in files[1:]:
        os.link(os.path.join(samples, first), os.path.join(samples, name))
    np.save(labels, np.repeat(np.load(labels), BATCHES * size))
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(dict(manifest, files=files, samples=BATCHES * size), file)
    return size


def start(way, flags, directory, environment):
    """The Worker of a way, which prepare() has made ready."""
    if way == ONNXRUNTIME:
        command = [os.environ['TOOLS_FRAMEWORKS'], os.path.join(HERE, 'onnxruntime_worker.py'), directory]
    else:
        command = [sys.executable, os.path.join(HERE, 'inference_worker.py'), way, directory, *_with_data(flags),
                   '--device=cpu', '--ckpt_path=' + os.path.join(directory, '0', 'ckpt')]
    return Worker(way, command, environment, os.path.join(directory, way + '.log'))


def measure(start, ways, warm_up, repeats, seconds):
    """{way: {'rate': [least, median, most] images a second, 'ratio': to onnxruntime's}}, and the disturbance.

    start(way) -> a Worker, of which ready() tells the images of a step; workers take turns.
    """
    workers, images = {}, {}
    try:
        for way in ways:
            worker = workers[way] = start(way)
            images[way] = worker.ready()['images']
            worker.burst(*warm_up)
        rounds = [{way: images[way] / median(worker.burst(10 ** 6, seconds)) for way, worker in workers.items()}
                  for _ in range(repeats)]
        return dict(ways={way: dict(rate=results.spread(rounds, lambda rates: rates[way]),
                                    ratio=results.spread(rounds, lambda rates: rates[way] / rates[ONNXRUNTIME]))
                          for way in ways}, disturbance=max(worker.disturbance for worker in workers.values()))
    finally:
        for worker in workers.values():
            worker.kill()


def text(measured):
    """Lines about a network for a terminal."""
    lines = ['%(network)s: batch of %(batch_size)d; images/s, and how many times as fast as onnxruntime' % measured]
    for way, each in measured['ways'].items():
        least, middle, most = each['ratio']
        lines.append('  %-12s %14s   %.2f (%.2f-%.2f)' % (
            way, results.speed(dict(images_per_second=each['rate'])), middle, least, most))
    return '\n'.join(lines + results.disturbed(measured['disturbance']))
