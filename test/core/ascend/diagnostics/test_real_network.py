"""Overflow search, dumps and their comparison on CutMix's network, a ResNet, with a fault planted in one layer."""
import glob
import os
import re
from types import SimpleNamespace

import pytest
import tensorflow as tf

from core.ascend.diagnostics import dump_files, overflow_files, step_graph
from launchers.devices import CPU
from core.ascend import switches
from core.run import Clock, Communicator
from core.settings import config
from core.training import step
from data import synthetic
from launchers import compare
from launchers.networks import cutmix
from nets import resnet

FAULTY = 'resnet20/stage2/block1/conv2d_1/Conv2D'

pytestmark = pytest.mark.slow


def times(x, factor):
    """x; its gradient becomes so many times as large."""
    return tf.custom_gradient(lambda x: (tf.identity(x), lambda dy: dy * factor))(x)


def overflowing(conv2d, *arguments):
    """A layer whose results and whose gradient are too large for float16."""
    return times(conv2d(*arguments, kernel_initializer=tf.random_normal_initializer(stddev=1e4, seed=1)), 1e12)


def corrupt():
    """Makes the layer FAULTY, which is built, compute one of its channels a tenth too large."""
    convolution = tf.get_default_graph().get_operation_by_name(FAULTY)
    convolution._update_input(1, convolution.inputs[1] * ([1.] * 31 + [1.1]))


@pytest.fixture
def first_step(tmp_path, monkeypatch):
    """first_step(fault, change, **switches) runs a step of the network, one block a stage, batch 4.

    fault(conv2d, *arguments) is what the layer FAULTY computes instead of conv2d(*arguments); change() is called when
    the graph is built.
    """
    monkeypatch.setattr(resnet, 'BLOCKS', 1)
    conv2d = resnet.conv2d

    def run(fault=None, change=None, **given):
        calls = iter(range(100))
        monkeypatch.setattr(resnet, 'conv2d', lambda *arguments, **named: (
            fault(conv2d, *arguments) if next(calls) == 4 and fault else conv2d(*arguments, **named)))
        data = synthetic.cifar10(8, 8)
        settled = config.resolve(cutmix.RECIPE, dict(
            given, case='performance', batch_size=4, seed=1, output_path=str(tmp_path / 'results')), {})._replace(
            class_names=data.class_names)
        options = switches.switch_options(settled)
        with tf.Graph().as_default():
            tf.set_random_seed(1)
            train_input = cutmix.RECIPE.train_input(data, settled)
            with CPU.graph(settled, options):
                training = step.build(cutmix.RECIPE, settled, CPU, Communicator(), train_input.batch, 1, 2, {})
            if change:
                change()
            run = SimpleNamespace(config=settled, options=options, clock=Clock(1, 2), step=training,
                                  train_input=train_input, record=lambda step, values: None)
            with tf.train.SingularMonitoredSession([run.clock, *CPU.hooks(run)]) as session:
                train_input.initialize(session.raw_session())
                session.run(training.train_op)
    return run


def test_overflows_planted_in_both_passes_are_named_and_dumped(first_step, tmp_path, capfd):
    first_step(overflowing, precision_mode='allow_fp32_to_fp16', emulate_chip='910B', npu_sat_mode=0, over_dump=True,
               over_dump_path=str(tmp_path))
    forward, backward = re.findall(r'Overflow at step 0: (\S+) \((\S+)\), made at \S+?(\w+.py):\d+',
                                   capfd.readouterr().out)[:2]
    assert forward == (FAULTY, 'Conv2D', 'layers.py')
    assert backward[0].startswith('gradients/') and backward[1:] == ('Mul', 'test_real_network.py')
    folder, = glob.glob(str(tmp_path / '*' / '0' / 'ge_default_1' / '1' / '0'))
    own = {dump.op_name: dump for dump in (
        dump_files.read_npu(os.path.join(folder, file)) for file in os.listdir(folder) if 'Opdebug.' not in file)}
    for name, *_ in (forward, backward):
        dump = own[dump_files.safe_name(name)]
        assert len(dump.inputs) == 2 and abs(dump.outputs[0].array).max() >= 65504
    opdebugs = [os.path.join(folder, file) for file in os.listdir(folder) if file.startswith('Opdebug.Node_OpDebug.')]
    overflows = map(overflow_files.read, opdebugs)
    assert sorted((overflow.task_id, overflow.stream_id) for overflow in overflows) == sorted(
        (dump.task_id, dump.stream_id) for dump in own.values())
    assert dump_files.read_npu(opdebugs[0]).outputs[0].array[:4].tobytes() == b'\x5a' * 4    # a 910B's form


def test_without_kernels_an_overflow_in_the_gradient_of_a_convolution_has_the_npus_name_and_a_fast_form(
        first_step, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(pytest.importorskip('core.cpu.kernels'), 'library', lambda: None)
    graph = []

    def scale(conv2d, *arguments):
        graph.append(tf.get_default_graph())
        return times(times(conv2d(*arguments), 3e38), 50)     # from 30 to 100 no other operator overflows before it
    first_step(scale, emulate_precision=False, over_dump=True, over_dump_path=str(tmp_path))
    found = re.findall(r'Overflow at step 0: (\S+)', capfd.readouterr().out)
    assert found[0] == 'gradients/%s_grad/Conv2DBackpropFilter' % FAULTY
    computed = {op.type for op in step_graph.operators([graph[0].get_collection(tf.GraphKeys.TRAIN_OP)[0]])}
    assert 'Conv2D' in computed and 'Conv2DBackpropInput' not in computed


def numbered(folder, form):
    """The directory of the step that was dumped below `folder`."""
    parts = {'cpu': ['*', '0'], 'npu': ['*', '0', 'ge_default_1', '1', '0']}[form]
    found, = glob.glob(os.path.join(str(folder), *parts))
    return found


def test_a_corrupted_operator_is_the_first_beyond_the_threshold_in_either_form(first_step, tmp_path, capsys):
    first_step(data_dump_flag=True, data_dump_step='0', data_dump_path=str(tmp_path / 'sound'))
    first_step(change=corrupt, data_dump_flag=True, data_dump_step='0', dump_form='npu',
               data_dump_path=str(tmp_path / 'corrupted'))
    status = compare.main([numbered(tmp_path / 'corrupted', 'npu'), numbered(tmp_path / 'sound', 'cpu'),
                           '--output=%s' % tmp_path], {})
    assert status == 1
    out = capsys.readouterr().out
    assert 'the first operator beyond the threshold of 0.01 is number ' in out
    assert ': %s:0 (Conv2D), relative' % dump_files.safe_name(FAULTY) in out
