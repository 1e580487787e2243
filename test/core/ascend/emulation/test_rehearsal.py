"""The NPU switches in whole training runs off the NPU, on the tests' own small network."""
import contextlib
import glob
import re
import sys
import types

import dump_reading
import numpy as np
import precision
import pytest
import tensorflow as tf
import toy

from core.ascend.diagnostics import dump_files, overflow_files
from core.run import Communicator
from launchers.devices import CPU, GPU
from core.pages import records
from core.settings import config
from core.training import step
from nets import layers
from nets.blocks import heads

pytestmark = pytest.mark.slow


@tf.custom_gradient
def shrink_gradient(x):
    """x; its gradient becomes too small for float16."""
    return tf.identity(x), lambda dy: dy * 1e-7


def underflow_net(x, is_training, dropout):
    with tf.variable_scope('plain', reuse=tf.AUTO_REUSE):
        return shrink_gradient(layers.dense(x, 2))


def overflow_net(x, is_training, dropout):
    with tf.variable_scope('plain', reuse=tf.AUTO_REUSE):
        return layers.dense(layers.dense(x * 1e5, 16), 2) * 1e-6


for name, net in (('underflow', underflow_net), ('overflow', overflow_net)):
    recipe = toy.RECIPE._replace(model=heads.classifier(net))
    sys.modules['launchers.networks.' + name] = types.SimpleNamespace(__file__=__file__, RECIPE=recipe)


@pytest.fixture
def train(tmp_path, capfd):
    """train(*flags) -> (exit status, log) of a short run of the toy network; its results are in tmp_path/out."""
    def run(*flags):
        status = toy.run('--output_path=%s' % (tmp_path / 'out'), '--train_steps=8', '--device=cpu', *flags)
        out, error = capfd.readouterr()
        return status, out + error
    return run


def losses(log):
    return re.findall(r'^step \d+ loss (\S+)', log, re.M)


def test_a_mode_that_is_given_is_emulated_and_the_log_says_so(train, tmp_path):
    _, plain = train()
    status, log = train('--precision_mode=force_fp16', '--output_path=%s' % (tmp_path / 'b'))
    assert status == 0 and 'Emulating precision_mode=force_fp16 of a 910: ' in log
    assert losses(log) != losses(plain)


@pytest.mark.parametrize('flags', [
    ('--precision_mode=must_keep_origin_dtype',), ('--precision_mode=force_fp16', '--emulate_precision=False')])
def test_a_plain_mode_and_an_emulation_that_is_off_change_no_bit(train, tmp_path, flags):
    _, plain = train()
    status, log = train('--output_path=%s' % (tmp_path / 'b'), *flags)
    assert status == 0 and losses(log) == losses(plain)


def test_float16_gradients_that_underflow_are_saved_by_the_loss_scale(train, tmp_path):
    def tested(name, *flags):
        status, log = train('--network=underflow', '--train_steps=20', '--weight_decay=0',
                            '--precision_mode=force_fp16', '--output_path=%s' % (tmp_path / name), *flags)
        assert status == 0
        return [float(loss) for loss in re.findall(r'^test accuracy \S+ loss (\S+)', log, re.M)]
    first, last = tested('a')
    assert first == last  # no weight has moved
    first, last = tested('b', '--loss_scale=8192')
    assert last < first


def test_what_a_gradient_loses_is_told_and_stands_in_the_record_and_the_report_with_a_scale_that_helps(train, tmp_path):
    status, log = train('--network=underflow', '--weight_decay=0', '--precision_mode=allow_mix_precision')
    lost, scale = re.search(r'^Step 1: (\d+) % of the gradient of plain/dense/\S+ became 0 in float16.*: '
                            r'try --loss_scale=(\d+)$', log, re.M).groups()
    assert status == 0 and int(lost) > 5
    run, = records.read(glob.glob(str(tmp_path / 'out' / '*' / 'report'))[0][:-len('/report')])
    assert run.points['recommended_loss_scale'][0] == (1, float(scale))
    assert max(value for name in run.points if name.startswith('gradient_lost/')
               for _, value in run.points[name]) == pytest.approx(int(lost), abs=.6)
    with open(glob.glob(str(tmp_path / 'out' / '*' / 'report.html'))[0], encoding='utf-8') as page:
        html = page.read()
    assert 'On the chip' in html and '在芯片上' in html and 'Roofline of a 910' in html
    _, log = train('--network=underflow', '--weight_decay=0', '--precision_mode=allow_mix_precision',
                   '--loss_scale=' + scale, '--output_path=%s' % (tmp_path / 'b'))
    assert not re.search('^Step 1: .* became 0', log, re.M)


def test_a_chip_that_saturates_skips_the_steps_that_one_with_inf_skips(train, tmp_path):
    for chip in '910', '910B':
        status, log = train('--precision_mode=force_fp16', '--loss_scale=16777216', '--emulate_chip=' + chip,
                            '--output_path=%s' % (tmp_path / chip))
        assert status == 0 and 'Loss scale: 8 of 8 steps skipped' in log


def test_the_chosen_steps_are_dumped_and_two_runs_dump_the_same_bits(train, tmp_path):
    dumps = []
    for name in 'ab':
        output = tmp_path / name
        status, log = train('--data_dump_flag=True', '--data_dump_step=2', '--output_path=%s' % output)
        assert status == 0 and 'Step 2 dumped: ' in log
        folder, = glob.glob(str(output / 'data_dump' / '*' / '*'))
        dumps.append({(one.name, one.index): one.read() for one in dump_reading.outputs_of(folder)})
    assert dumps[0].keys() == dumps[1].keys() and len(dumps[0]) > 30
    for key, values in dumps[0].items():
        np.testing.assert_array_equal(values, dumps[1][key])


def test_an_overflow_of_the_emulated_mode_is_named_and_dumped(train, tmp_path):
    status, log = train('--network=overflow', '--precision_mode=allow_fp32_to_fp16', '--over_dump=True')
    told = re.search(r'Overflow at step (\d+): plain/mul \(Mul\), made at \S+test_rehearsal.py:\d+', log)
    assert not re.search(r'Overflow at step \d+: plain/dense', log)        # its operand is out of range already
    folder = tmp_path / 'out' / 'overflow_dump' / '*' / '0' / '*' / '*' / told.group(1)
    opdebug, *_ = glob.glob(str(folder / 'Opdebug.Node_OpDebug.*'))
    assert overflow_files.read(opdebug).status and glob.glob(str(folder / 'Mul.plain_mul.*'))
    assert dump_files.read_npu(opdebug).outputs[0].array[:4].tobytes() != b'\x5a' * 4    # the form of a 910


def test_an_overflow_is_looked_for_in_the_precision_of_the_recipe(train, tmp_path):
    _, log = train('--network=overflow', '--over_dump=True')
    assert 'Emulating precision_mode=allow_fp32_to_fp16 of a 910: ' in log and 'Overflow at step 0: ' in log


def test_a_profile_of_the_chosen_steps_is_left(train, tmp_path):
    status, log = train('--profiling=True', '--profiling_steps=3-4')
    assert status == 0 and 'Profile of 2 steps: ' in log and 'images/s with profiling' in log
    assert glob.glob(str(tmp_path / 'out' / 'profiling' / 'PROF_*' / 'mindstudio_profiler_output' / 'op_summary_*.csv'))


def test_a_step_is_run_twice_and_the_run_goes_on_as_if_it_had_been_another_one(train, tmp_path):
    logs = []
    for repeated in 3, 7:
        status, log = train('--repeat_step=%d' % repeated, '--output_path=%s' % (tmp_path / str(repeated)))
        assert status == 0
        assert 'Random error detection: step %d, run twice, gave the same bits' % repeated in log
        logs.append(losses(log))
    assert logs[0] == logs[1] and len(logs[0]) == 8


def test_iterations_per_loop_shows_every_second_step_and_trains_as_without(train, tmp_path):
    _, plain = train()
    status, log = train('--npu_option=iterations_per_loop=2', '--npu_option=enable_data_pre_proc=True',
                        '--output_path=%s' % (tmp_path / 'b'))
    assert status == 0
    assert re.findall(r'^step (\d+) loss', log, re.M) == ['2', '4', '6', '8']
    assert losses(log) == losses(plain)[1::2]
    status, log = train('--npu_option=iterations_per_loop=3', '--npu_option=enable_data_pre_proc=True',
                        '--output_path=%s' % (tmp_path / 'c'))
    assert status == 2 and 'iterations_per_loop=3' in log and re.search(r'\b6 or 9\b', log)


def training_graph(device, options=None):
    """The nodes of the toy's training step on `device`, without any switch but what `options` has."""
    given = {'network': 'toy', 'case': 'performance'}
    settled = config.resolve(toy.RECIPE, given, {})
    with tf.Graph().as_default() as graph:
        train_input = toy.train_input(toy.load(settled), settled)
        with device.graph(settled, options or {}):
            step.build(toy.RECIPE, settled, device, Communicator(), train_input.batch, 8, train_input.batches,
                       {})
        # Functions of tf.data have numbers in their names that go on counting.
        return [(node.name, node.op, list(node.input), node.device) for node in graph.as_graph_def().node]


def test_a_step_beyond_the_largest_number_of_float16_is_rehearsed_without_an_overflow():
    with precision.training('swa', 100000, '--precision_mode=force_fp16', '--loss_scale=1024',
                            '--learning_rate_decay=cosine') as (built, session):
        built.global_step.load(70000, session.raw_session())
        for _ in range(3):
            session.run(built.train_op)
        assert session.run(built.applied_steps.op.inputs[0]) == 3


def test_without_switches_the_graph_is_that_of_a_device_without_rehearsals():
    assert training_graph(GPU) == training_graph(GPU._replace(graph=lambda config, options: contextlib.nullcontext()))


def test_a_profile_is_of_the_graph_that_trains_without_it():
    assert training_graph(CPU, {'profiling_mode': True}) == training_graph(CPU)


def test_what_looks_at_operators_sees_those_of_the_npus_graph():
    """The NPU's graph has TensorFlow's own gradients."""
    settled = config.resolve(toy.RECIPE, {'repeat_step': 1, 'case': 'performance'}, {})
    with tf.Graph().as_default() as graph, CPU.graph(settled, {}):
        y = tf.nn.conv2d(tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1]), 1, 'SAME')
        tf.gradients(y, list(y.op.inputs))
        assert 'Conv2DBackpropFilter' in {op.type for op in graph.get_operations()}
