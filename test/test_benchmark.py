"""The benchmark's flags, its sums, and how its workers take turns."""
import os
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import benchmark
import flops
import inference
import page
import pipeline
import results
import shares
import switches
from core.errors import InputError
from core.inference import samples
from core.settings.config import resolve
from core.settings.flags import parse
from launchers.networks.registry import asked, recipe_of
from launching import ROOT
from nets import layers
from turns import Worker, WorkerFailed


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def test_a_convolution_of_the_images_is_counted_forward_and_for_its_kernel(graph):
    layers.conv2d(tf.zeros([2, 8, 8, 3]), 5, 3, strides=2)
    # 2 images of 4 x 4 positions and 5 channels, each the sum of 3 x 3 x 3 products
    assert flops.training_step(graph) == 2 * (2 * 4 * 4 * 5 * 27 * 2)


def test_a_later_convolution_is_counted_for_its_input_as_well(graph):
    maps = layers.conv2d(tf.zeros([2, 8, 8, 3]), 5, 1)
    layers.conv2d(maps, 7, (3, 1), padding='VALID')
    first, second = flops.layers(graph)
    assert first.training == 2 * (2 * 8 * 8 * 5 * 3 * 2)
    assert second.training == 3 * (2 * 6 * 8 * 7 * (3 * 1 * 5) * 2)


def test_a_dense_layer_is_counted(graph):
    hidden = layers.dense(tf.zeros([16, 2]), 50)
    layers.dense(tf.nn.relu(hidden), 3)
    assert flops.training_step(graph) == 2 * (2 * 16 * 2 * 50) + 3 * (2 * 16 * 50 * 3)


@pytest.mark.parametrize('flag', ['--with=jax', '--with=', '--steps=0', '--seconds=1e3', '--sec=5', 'cspnet'])
def test_a_flag_that_is_wrong_is_refused(flag):
    with pytest.raises(InputError):
        benchmark.parser().parse_args([flag])


@pytest.mark.parametrize('flags', [
    '--switches --with=eager', '--pipeline --with=pytorch', '--pipeline --with=mkl --image_size=64',
    '--pipeline --with=pytorch,mkl --image_size=64', '--pipeline --switches', '--inference --with=pytorch',
    '--inference --pipeline', '--kernels --with=mkl', '--inference --steps=5', '--pipeline --seconds=5',
    '--switches --seconds=5', '--kernels --steps=5'])
def test_a_flag_that_would_be_ignored_is_refused(flags):
    with pytest.raises(InputError):
        benchmark.check(benchmark.parser().parse_args(flags.split()))


def test_pytorch_is_measured_eager_and_compiled():
    assert benchmark.parser().parse_args(['--with=mkl,pytorch']).others == ['pytorch', 'compiled', 'mkl']


STEPS = """
import os, sys
from turns import Turns
turns = Turns()
print('not an answer')
turns.begin(pid=os.getpid())
while True:
    turns.stepped()
"""


@pytest.fixture
def start(tmp_path):
    """start(code) -> a Worker that runs the code."""
    workers = []

    def start(code):
        environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'test', 'benchmark'))
        workers.append(Worker('w', [sys.executable, '-c', code], environment, str(tmp_path / 'log')))
        return workers[-1]
    yield start
    for worker in workers:
        worker.kill()


def state(pid):
    with open('/proc/%d/stat' % pid) as line:
        return line.read().rpartition(')')[2].split()[0]


def seconds_of(pid):
    with open('/proc/%d/stat' % pid) as line:
        return sum(map(int, line.read().rpartition(')')[2].split()[11:13])) / os.sysconf('SC_CLK_TCK')


def test_a_worker_takes_as_many_steps_as_it_is_asked_for_and_is_stopped_between_bursts(start):
    worker = start(STEPS)
    pid = worker.ready()['pid']
    assert len(worker.burst(7, 60)) == 7
    assert len(worker.burst(10 ** 9, 1e-9)) == 1
    assert state(pid) == 'T'
    assert worker.peak_memory() > 10 ** 6
    assert 0 <= worker.disturbance <= 1


WITH_A_CHILD = """
import os, time
from turns import Turns, end_with_parent
turns = Turns()
child = os.fork()
if not child:
    end_with_parent()
    while True:
        pass
turns.begin(pid=os.getpid(), child=child)
while True:
    time.sleep(.01)
    turns.stepped()
"""


def test_what_a_worker_has_started_is_stopped_with_it_and_its_cpu_seconds_count(start):
    worker = start(WITH_A_CHILD)
    facts = worker.ready()
    for _ in range(500):       # bursts, in which the child gets its share of a core
        before = worker.cpu_seconds
        worker.burst(10, 60)
        if seconds_of(facts['child']) > .2:
            break
    assert worker.cpu_seconds >= seconds_of(facts['pid']) + .2 and worker.cpu_seconds >= before
    while state(facts['child']) != 'T':
        time.sleep(.01)
    assert 0 <= worker.disturbance <= 1


def test_a_worker_that_fails_is_told_with_its_last_line(start):
    worker = start("raise SystemExit('the loss is another one')")
    with pytest.raises(WorkerFailed, match='w: ended with status 1: the loss is another one'):
        worker.ready()


def test_the_usual_way_of_a_network_without_dropout_tells_what_pytorch_needs_and_makes_a_step(tmp_path):
    worker = benchmark._start(benchmark.BASELINE, 'swa', ['--network=swa'], str(tmp_path), {})
    try:
        facts = worker.ready()
        assert facts['learning_rate'] == .1 and facts['weight_decay'] == 0 and not {'keep_prob', 'files'} & set(facts)
        assert facts['classes'] == 3
        assert facts['parameters'] == 2 * 50 + 50 + 2 * 50 + 50 * 3 + 3 and len(worker.burst(1, 60)) == 1
    finally:
        worker.kill()


class Paced:
    """A worker with steps of so many seconds."""

    disturbance, alive = 0., 0

    def __init__(self, seconds, output):
        self._seconds, self.output = seconds, output
        Paced.alive += 1

    def burst(self, steps, seconds):
        return [self._seconds] * min(steps, 5)

    def kill(self):
        Paced.alive -= 1


def test_a_step_under_a_switch_is_compared_with_a_plain_one_a_dump_with_the_disk_and_a_refusal_is_told(tmp_path):
    def start(name, flags):
        output = tmp_path / name
        (output / 'data_dump').mkdir(parents=True)
        (output / 'data_dump' / 'x.npy').write_bytes(bytes(3 * 10 ** 6))
        assert not any('%' in flag for flag in flags)
        if name == 'profiling':
            raise benchmark.WorkerFailed('ours: no room', 2)
        return Paced({'plain': .5, 'over_dump': .75}.get(name, 1.), str(output))
    found = switches.measure(start, (1, 1), 2, 1)
    assert not Paced.alive and found['over_dump']['ratio'] == [1.5] * 3
    lines = switches.text(dict(network='toy', switches=found)).splitlines()
    assert lines[0].startswith('toy: a plain step takes 500 ms') and len(lines) == 1 + len(switches.FLAGS)
    assert 'force_fp16, loss_scale' in lines[4] and '1000.0 ms   2.00 (2.00-2.00)' in lines[4]
    assert any('data_dump_flag' in line and ': 1 MB, 1 MB/s; the disk ' in line for line in lines)
    assert lines[-1].split() == ['profiling', 'ours:', 'no', 'room']


def test_a_loop_is_compared_with_onnxruntime_by_its_images_a_second(tmp_path):
    class Inferring(Paced):
        def ready(self):
            return {'images': 4}

    def start(way):
        return Inferring({inference.ONNXRUNTIME: .5, inference.FORWARD: .25}.get(way, 1.), '')
    found = inference.measure(start, inference.WAYS, (1, 1), 2, 1)
    assert not Paced.alive and found['ways'][inference.FORWARD] == {'rate': [16.] * 3, 'ratio': [2.] * 3}
    lines = inference.text(dict(found, network='toy', batch_size=4)).splitlines()
    assert lines[0].startswith('toy: batch of 4;') and len(lines) == 1 + len(inference.WAYS)
    assert lines[1].split() == ['forward', '16', '2.00', '(2.00-2.00)']


def test_an_exports_batch_becomes_the_many_that_score_looks_at(tmp_path):
    writer = samples.SamplesWriter(str(tmp_path), 1)
    writer.add({'x': np.float32([[1, 2], [1, 2]])}, [np.int32([7])])
    writer.finish(network='toy', settings={}, inputs=[['x', 'float32', [2, 2]]], output='logits', output_key='',
                  output_shape=[2, 10], labels='"int32"', class_names=list('0123456789'), penalty=0.)
    assert inference.repeat(str(tmp_path)) == 2
    manifest, (labels,) = samples.read(str(tmp_path / 'manifest.json'))
    assert len(set(manifest.names())) == inference.BATCHES and list(labels) == [7] * 2 * inference.BATCHES
    assert samples.read_inputs(str(tmp_path), manifest, manifest.files[-1])['x'].tolist() == [[1, 2], [1, 2]]


class Loading(Paced):
    """A worker that computes for so many CPU seconds in a step, too."""

    def __init__(self, seconds, cpu_seconds):
        super().__init__(seconds, None)
        self._of_step, self.cpu_seconds = cpu_seconds, 0.

    def burst(self, steps, seconds):
        made = super().burst(steps, seconds)
        self.cpu_seconds += len(made) * self._of_step
        return made


def test_the_input_pipeline_is_compared_with_training_and_with_torchvision():
    workers = dict(ours=Loading(4., 8.), input=Loading(1., 2.), torchvision=Loading(2., 3.))
    measured = dict(pipeline.figures(workers, 8, 2, 1), network='toy', image_size='64')
    own, beside = pipeline.text(measured).splitlines()
    assert own.startswith('toy at 64: training 2 images/s, 1e+03 ms of CPU an image; its input pipeline alone 8 image')
    assert '4.0 times as fast, 4.0 times by CPU' in own
    assert '4 images/s, 375 ms: the pipeline here is 2.00 times as fast, 1.50 times by CPU' in beside
    measured['workers'].pop('torchvision')
    assert pipeline.text(measured) == own
    for worker in workers.values():
        worker.kill()


def test_torchvision_is_measured_for_networks_that_see_each_photograph_once():
    pipeline.check_loader('cutmix', dict(images=32, batch_size=32, mirror=True))
    with pytest.raises(InputError, match='--network=sesemi'):
        pipeline.check_loader('sesemi', dict(images=192, batch_size=16))


def test_a_step_without_a_kernel_is_compared_with_one_that_has_all_and_the_forward_pass_with_its_own():
    def start(what, part):
        seconds = {None: .5, 'MatMul': 1., shares.HOST: .4}[part]
        return Paced(seconds, ''), {'kernels': ['MatMul', shares.HOST]}
    found = shares.measure(start, (1, 1), 2, 1)
    assert not Paced.alive and list(found[shares.STEP]) == ['MatMul', shares.HOST]
    assert found[shares.STEP]['MatMul']['saved'] == [.5] * 3 and list(found[shares.FORWARD]) == ['MatMul']
    lines = shares.text(dict(network='toy', kernels=found)).splitlines()
    assert lines[1].split() == ['MatMul', '1000.0', 'ms', '50.0', '%', '(50.0-50.0', '%)'] and '-25.0 %' in lines[2]


def test_the_flags_of_every_switch_are_the_trainers():
    for flags in switches.FLAGS.values():
        asked = ['--network=cutmix', '--case=performance', *(flag.replace('%d', '9') for flag in flags)]
        recipe, given = recipe_of(parse(asked), {})
        resolve(recipe, given, {})


def test_a_recipe_in_a_file_trains_on_images_of_the_size_and_in_batches_that_are_measured(tmp_path):
    network = os.path.join(ROOT, 'docs', 'examples', 'resnet50.py')
    measured = benchmark.parser().parse_args(['--network=' + network, '--image_size=64,224', '--batch_size=8'])
    configs = [resolve(*asked(benchmark.flags_of(network, measured, size, str(tmp_path)), {}), {})
               for size in measured.sizes]
    assert [(config.image_size, config.batch_size, config.task, config.data_path) for config in configs] == [
        (size, 8, 'folder', str(tmp_path)) for size in ('64', '224')]


def found(**changes):
    """What benchmark.measure() finds, with two repeats in which ours is 2 and 3 times as fast."""
    fact = dict(batch_size=8, images=16, flops=10 ** 9, parameters=5, hardware='chip', version='1.15')
    repeats = [dict(seconds=dict(ours=ours, baseline=6.), memory=dict(ours=10 ** 7, baseline=2 * 10 ** 7),
                    peak=dict(baseline=4.)) for ours in (2., 3.)]
    return dict(dict(network='cspnet', cores=2, facts=dict(baseline=fact, ours={}), repeats=repeats, failures={},
                     input=.5, start=9., disturbance=dict(ours=.01, baseline=.02)), **changes)


def test_figures_are_those_of_the_repeats():
    figures = results.summary(found())
    assert figures['workers']['baseline']['ratio'] == [2., 2.5, 3.]
    assert figures['workers']['ours']['seconds'] == 2.5
    assert figures['peak_share'] == pytest.approx([1 / 3 / 4, (1 / 2 + 1 / 3) / 2 / 4, 1 / 2 / 4])
    assert figures['input_multiple'] == 5.
    assert '| `cspnet` | 8 | 6.67 images/s | 2.67 (2.50) | - | - | - | 10 % |' in results.markdown([figures])


def test_a_machine_that_was_not_quiet_is_told(tmp_path):
    quiet, busy = results.summary(found()), results.summary(found(disturbance=dict(ours=.3, baseline=0.)))
    assert 'NOT A QUIET MACHINE' not in results.text(quiet)
    assert 'NOT A QUIET MACHINE: other processes used 30 % of the cores' in results.text(busy)
    with open(page.write(str(tmp_path / 'benchmark.html'), [busy]), encoding='utf-8') as file:
        assert 'other processes used 30 % of the cores' in file.read()
