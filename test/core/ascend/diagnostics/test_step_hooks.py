"""Dumps, overflow search and random error detection of training steps, on a tiny graph."""
import csv
import glob
import json
import os
import re
import struct

import dump_reading
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.trace_events_pb2 import Trace
from tensorflow.python.framework import ops

from core.ascend.diagnostics import (dump_files, operator_profile, overflow_files, overflow_search, random_errors,
                                     tensor_dump)
from core.ascend.diagnostics.tensor_dump import DumpRequest
from core.ascend.emulation import emulation
from core.ascend.emulation.emulation import NO_EMULATION
from core.errors import InputError


def targets(run):
    return [run.step.train_op, run.step.loss.op]


def dumped(path, *parts):
    """The directories of dumped steps below `path`, by time."""
    return sorted(glob.glob(os.path.join(str(path), '*', *parts)), key=lambda folder: int(os.path.basename(folder)))


def test_exactly_the_chosen_steps_are_dumped_and_training_goes_on_as_without(training, train, tmp_path):
    run = training()
    dump = tensor_dump.Dump(DumpRequest(str(tmp_path), '0|2-3'), run.clock, targets(run), 4)
    losses, weights = train(run, dump)
    folders = dumped(tmp_path, '*')
    assert [os.path.basename(folder) for folder in folders] == ['0', '2', '3']
    outputs = {output.name: output for output in dump_reading.outputs_of(folders[1])}
    np.testing.assert_array_equal(outputs['net_loss'].read(), losses[2])
    assert {'net_MatMul', 'net_scaled', 'net_kernel', 'net_kernel_read', 'batch'} <= set(outputs)
    assert any(name.startswith('gradients_net_MatMul') for name in outputs)

    np.testing.assert_array_equal(weights, train(training())[1])


@pytest.mark.parametrize('steps, due', [('', [0, 1, 2, 3]), ('1', [1]), ('0|2-9', [0, 2, 3]),
                                        ('2-9|1|1-2', [1, 2, 3]), ('7', [])])
def test_dump_step_chooses_the_steps(steps, due):
    assert [step for step in range(4) if DumpRequest('', steps).is_due(step)] == due
    assert DumpRequest('', steps).due_steps(4) == len(due)


def test_weights_are_dumped_as_they_are_before_the_update(training, train, tmp_path):
    run = training()
    train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '0-3'), run.clock, targets(run), 4))
    for folder in dumped(tmp_path, '*'):
        outputs = {output.name: output.read() for output in dump_reading.outputs_of(folder)}
        np.testing.assert_allclose(outputs['batch'] @ outputs['net_kernel'], outputs['net_MatMul'], rtol=1e-5)


def test_layers_that_are_named_are_the_only_ones_dumped(training, train, tmp_path):
    run = training()
    train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '1', layers='net/MatMul net/loss'), run.clock,
                                targets(run), 4))
    folder, = dumped(tmp_path, '*')
    assert {output.name for output in dump_reading.outputs_of(folder)} == {'net_MatMul', 'net_loss'}


def test_a_layer_that_is_not_there_is_refused(training, train, tmp_path):
    run = training()
    with pytest.raises(InputError, match='--dump_layer: .* no operator net/Conv'):
        train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '1', layers='net/Conv'), run.clock, targets(run), 4))


def test_in_the_npus_form_an_operator_has_its_operands_and_results_in_one_file(training, train, tmp_path):
    run = training()
    train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '1', form='npu', device_id=3), run.clock, targets(run), 4))
    folder, = dumped(tmp_path, '3', 'ge_default_1', '1', '*')
    name, = [name for name in os.listdir(folder) if name.startswith('MatMulV2.net_MatMul.')]
    dump = dump_files.read_npu(os.path.join(folder, name))
    x, w = (tensor.array for tensor in dump.inputs)
    np.testing.assert_allclose(x @ w, dump.outputs[0].array, rtol=1e-5)


def test_statistics_have_the_npus_columns(training, train, tmp_path):
    run = training()
    train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '1', data='stats'), run.clock, targets(run), 4))
    path, = glob.glob(os.path.join(str(tmp_path), '*', '0', 'ge_default_1', '1', '1', 'Mul.net_scaled.*.csv'))
    with open(path) as file:
        header, *rows = csv.reader(file)
    assert ','.join(header) == (
        'Input/Output,Index,Data Size,Data Type,Format,Shape,Max Value,Min Value,Avg Value,Count,Nan Count,'
        'Negative Inf Count,Positive Inf Count')
    assert [row[:6] for row in rows] == [['Input', '0', '24', 'DT_FLOAT', 'ND', '2x3'],
                                         ['Input', '1', '4', 'DT_FLOAT', 'ND', ''],
                                         ['Output', '0', '24', 'DT_FLOAT', 'ND', '2x3']]


@pytest.mark.parametrize('dtype, in_dump, ge', [('float16', 2, 'DT_FLOAT16'), ('bfloat16', 27, 'DT_BF16')])
def test_narrow_tensors_are_dumped_in_their_narrow_type(training, train, tmp_path, dtype, in_dump, ge):
    def run_with(data):
        run = training()
        product = run.step.loss.graph.get_tensor_by_name('net/MatMul:0')
        with ops.control_dependencies(None):
            rounded = emulation.round_to(product, dtype, True)
        done = NO_EMULATION._replace(narrow={product: rounded}, types={product: dtype})
        folder = tmp_path / data
        request = DumpRequest(str(folder), '1', form='npu', data=data)
        train(run, tensor_dump.Dump(request, run.clock, targets(run), 4, done))
        return dumped(folder, '0', 'ge_default_1', '1', '*')[0]
    folder = run_with('tensor')
    name, = [name for name in os.listdir(folder) if name.startswith('MatMulV2.net_MatMul.')]
    content = open(os.path.join(folder, name), 'rb').read()
    length, = struct.unpack_from('<Q', content)
    output, = dump_files.DumpData.FromString(content[8:8 + length]).output
    assert (output.data_type, output.size) == (in_dump, 2 * 2 * 3)
    read = dump_files.read_npu(os.path.join(folder, name))
    values = np.asarray(read.inputs[0].array @ read.inputs[1].array)
    np.testing.assert_allclose(read.outputs[0].array, values, rtol=2 ** -8)
    folder = run_with('stats')
    name, = [name for name in os.listdir(folder) if name.startswith('MatMulV2.net_MatMul.')]
    with open(os.path.join(folder, name)) as file:
        row = list(csv.reader(file))[-1]
    assert row[2:4] == ['12', ge] and float(row[6]) == pytest.approx(values.max(), rel=2 ** -7)


def test_statistics_have_six_significant_digits(tmp_path):
    tensor = dump_files.Tensor(np.float32([1 / 3, -2e5 / 3, np.inf, np.nan]), data_type='float32')
    dump = dump_files.OperatorDump('Mul', 'a', [], [tensor], 0, 0, 0)
    tensor_dump.write_statistics(str(tmp_path / 'a.csv'), dump)
    rows = (tmp_path / 'a.csv').read_text().splitlines()
    assert rows[1] == 'Output,0,16,DT_FLOAT,ND,4,0.333333,-66666.7,-33333.2,4,1,0,1'


@pytest.mark.parametrize('form', ['cpu', 'npu'])
def test_what_an_update_leaves_is_dumped(training, train, tmp_path, form):
    run = training()
    folders = train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '0-1', form=form), run.clock, targets(run), 4)) \
        and dumped(tmp_path, *(['0', 'ge_default_1', '1', '*'] if form == 'npu' else ['*']))
    first, second = ({output.name: output.read() for output in dump_reading.outputs_of(folder)} for folder in folders)
    update = 'Momentum_update_net_kernel_ApplyMomentum'
    np.testing.assert_array_equal(first[update], second['net_kernel'])
    assert abs(first[update] - first['net_kernel']).max() > 0
    assert first['AssignAdd'] == 1


def test_a_graph_of_ge_lies_beside_every_dump(training, train, tmp_path):
    run = training()
    product = run.step.loss.graph.get_tensor_by_name('net/MatMul:0')
    with ops.control_dependencies(None):
        rounded = emulation.round_to(product, 'float16', True)
    run.step.loss.graph.get_operation_by_name('net/scaled')._update_input(0, rounded)
    done = NO_EMULATION._replace(narrow={product: rounded}, types={product: 'float16', rounded: 'float16'})
    train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '1'), run.clock, targets(run), 4, done))
    with open(str(tmp_path / 'ge_proto_00000_rehearsal_Build.json')) as file:
        graph, = json.load(file)['graph']
    operators = {op['name']: op for op in graph['op']}
    assert graph['name'] == 'ge_default_1' and not [name for name in operators if 'emulated' in name]
    matmul, scaled = operators['net/MatMul'], operators['net/scaled']
    assert matmul['type'] == 'MatMulV2' and matmul['input'][:2] == ['batch:0', 'net/kernel/read:0']
    assert scaled['input'][0] == 'net/MatMul:0' and scaled['input_desc'][0]['dtype'] == 'DT_FLOAT16'
    assert matmul['output_desc'][0]['dtype'] == 'DT_FLOAT16' and matmul['output_desc'][0]['shape'] == {'dim': [2, 3]}
    assert {'key': '_datadump_original_op_names', 'value': {'list': {'s': ['net/MatMul']}}} in matmul['attr']
    text = (tmp_path / 'ge_proto_00000_rehearsal_Build.txt').read_text()
    assert text.startswith('name: "ge_default_1"\ngraph {\n  name: "ge_default_1"\n  op {\n    name: "')
    assert '      dtype: DT_FLOAT16\n      layout: "ND"\n      shape {\n        dim: 2\n        dim: 3\n' in text
    assert text.count('{') == text.count('}')


def test_a_dump_that_does_not_fit_on_the_disk_is_refused_with_its_size(training, train, tmp_path, monkeypatch):
    run = training()
    monkeypatch.setattr(tensor_dump.shutil, 'disk_usage', lambda path: tensor_dump.shutil._ntuple_diskusage(1, 1, 100))
    with pytest.raises(InputError, match=r'\d+ bytes, and .* has 100 free; .*--dump_layer'):
        train(run, tensor_dump.Dump(DumpRequest(str(tmp_path), '1'), run.clock, targets(run), 4))


def search(run, path, limits=None):
    done = NO_EMULATION._replace(limits=limits or {})
    return overflow_search.OverflowSearch(run, str(path), done, 0, is_old_form=True)


def test_a_search_that_finds_nothing_says_so_in_the_log_and_for_the_launcher(training, train, tmp_path, capfd):
    run = training()
    train(run, search(run, tmp_path))
    assert capfd.readouterr().out.splitlines()[-1] == 'No overflow in 4 steps'
    assert (tmp_path / 'summary_0.txt').read_text() == 'No overflow in 4 steps\n'


def test_a_planted_overflow_is_named_with_its_line_and_dumped_with_its_operands(training, train, tmp_path, capfd):
    run = training(3e38)
    losses, _ = train(run, search(run, tmp_path))
    out, _ = capfd.readouterr()
    assert 'Overflow at step 0: net/scaled (Mul), made at ' in out and 'conftest.py:' in out
    assert out.splitlines()[-1] == 'Overflow in 4 of 4 steps'
    folder = dumped(tmp_path, '0', 'ge_default_1', '1', '*')[0]
    opdebug, = [name for name in os.listdir(folder) if name.startswith('Opdebug.Node_OpDebug.')]
    overflow = overflow_files.read(os.path.join(folder, opdebug))
    name, = [name for name in os.listdir(folder) if name.startswith('Mul.net_scaled.')]
    dump = dump_files.read_npu(os.path.join(folder, name))
    assert (dump.task_id, dump.stream_id) == (overflow.task_id, overflow.stream_id)
    assert not np.isfinite(dump.outputs[0].array).all() and np.isfinite(dump.inputs[0].array).all()
    assert np.isfinite(losses).all()


def test_a_planted_overflow_of_the_backward_pass_is_named(training, train, tmp_path, capfd):
    run = training()
    backward = run.step.loss.graph.get_tensor_by_name('gradients/net/scaled_grad/Mul:0')
    train(run, search(run, tmp_path, {backward: 1e-9}))
    assert 'Overflow at step 0: gradients/net/scaled_grad/Mul (Mul), made at ' in capfd.readouterr().out


def test_an_update_that_overflows_is_named_and_its_victims_are_not(training, train, tmp_path, capfd):
    run = training()
    graph = run.step.loss.graph
    update = graph.get_operation_by_name('Momentum/update_net/kernel/ApplyMomentum')
    with ops.control_dependencies(None):
        update._update_input(2, tf.constant(np.inf, name='infinite'))
    train(run, search(run, tmp_path))
    out, _ = capfd.readouterr()
    assert 'Overflow at step 0: ApplyMomentum of net/kernel, made at ' in out
    assert 'Overflow at step 0: 1 operators leave their range, 1 of them with operands within theirs' in out
    victims = [line for line in out.splitlines() if line.startswith('Overflow at step 1: ')]
    assert len(victims) == 2 and ' operators leave their range, 0 of them ' in victims[0]
    assert victims[1] == 'Overflow at step 1: 1 variables were out of range before it, net/kernel among them'
    folder, = dumped(tmp_path, '0', 'ge_default_1', '1', '*')
    name, = [name for name in os.listdir(folder) if name.startswith('ApplyMomentum.')]
    dump = dump_files.read_npu(os.path.join(folder, name))
    assert np.isfinite(dump.inputs[0].array).all() and not np.isfinite(dump.outputs[0].array).all()


def test_a_scalar_that_is_nan_has_left_its_range(training, train, tmp_path, capfd):
    run = training()
    with ops.control_dependencies(None):
        run.step.loss.op._update_input(0, tf.constant(np.full([2, 3], np.nan, np.float32)))
    train(run, search(run, tmp_path, {run.step.loss: 65504.}))
    assert 'Overflow at step 0: net/loss (Mean)' in capfd.readouterr().out


def test_the_search_leaves_the_training_as_it_is(training, train, tmp_path):
    run = training()
    backward = run.step.loss.graph.get_tensor_by_name('gradients/net/scaled_grad/Mul:0')
    _, weights = train(run, search(run, tmp_path, {backward: 1e-9}))
    np.testing.assert_array_equal(weights, train(training())[1])


def test_a_step_that_is_run_twice_has_the_same_bits(training, train, capfd):
    run = training()
    _, weights = train(run, random_errors.RepeatStep(run, 2))
    assert 'step 2, run twice, gave the same bits in all of its ' in capfd.readouterr().out
    np.testing.assert_array_equal(weights, train(training())[1])


def test_the_operator_that_differs_between_two_runs_is_named(training, train, capfd):
    run = training()
    noisy = tf.py_func(lambda: np.float32(np.random.rand()), [], tf.float32, name='noise')
    matmul = run.step.loss.graph.get_operation_by_name('net/scaled')
    with ops.control_dependencies(None):
        matmul._update_input(1, noisy * 1.)
    train(run, random_errors.RepeatStep(run, 1))
    out = capfd.readouterr().out
    assert 'step 1, run twice, first differs in ' in out and ('(PyFunc)' in out or '(Mul)' in out)


def profile(run, path, first, last, narrow=None):
    request = operator_profile.ProfileRequest(str(path), first, last, 2, '910B')
    return operator_profile.Profile(run.clock, request, narrow or {})


def operators_of(path):
    """The rows of the op_summary below `path`."""
    summary, = glob.glob(os.path.join(str(path), 'PROF_*', 'mindstudio_profiler_output', 'op_summary_*.csv'))
    with open(summary) as file:
        return list(csv.DictReader(file))


def test_a_profile_of_chosen_steps_has_their_operators_and_the_log_has_the_largest(training, train, tmp_path, capfd):
    run = training(.5)
    _, weights = train(run, profile(run, tmp_path, 1, 2))
    out = capfd.readouterr().out
    folder, = glob.glob(os.path.join(str(tmp_path), 'PROF_*', 'mindstudio_profiler_output'))
    names = sorted(name.rpartition('_')[0] for name in os.listdir(folder))
    assert names == ['msprof', 'op_statistic', 'op_summary', 'step_trace']
    operators = operators_of(tmp_path)
    assert {'net/MatMul', 'net/scaled'} <= {row['Op Name'] for row in operators}
    with open(glob.glob(os.path.join(folder, 'step_trace_*.csv'))[0]) as file:
        assert [row['Iteration ID'] for row in csv.DictReader(file)] == ['1', '2']
    assert 'Profile of 2 steps: ' in out and 'images/s with profiling' in out
    assert 'Profile: of a step input waiting ' in out and len([line for line in out.splitlines() if '%' in line]) <= 10
    np.testing.assert_array_equal(weights, train(training(.5))[1])


def test_a_profile_has_the_chips_tasks_alone_each_once(training, train, tmp_path):
    run = training(.5)
    train(run, profile(run, tmp_path, 1, 2))
    rows = operators_of(tmp_path)
    assert all(re.fullmatch('[A-Za-z0-9_]+', row['OP Type']) for row in rows)
    assert len({(row['Op Name'], row['Task Start Time(us)']) for row in rows}) == len(rows)
    types = {row['Op Name']: (row['OP Type'], row['Task Type']) for row in rows}
    assert types['net/MatMul'] == ('MatMulV2', 'AI_CORE') and types['net/scaled'] == ('Mul', 'AI_VECTOR_CORE')
    assert types['batch'] == ('IteratorGetNext', 'AI_CPU')
    assert types['Momentum/update_net/kernel/ApplyMomentum'][0] == 'ApplyMomentum'
    assert not {'VariableV2', 'Identity', 'Const', '_Retval', '_Arg', 'Reshape'} & {row['OP Type'] for row in rows}


def test_a_profile_names_the_types_of_the_chip(training, train, tmp_path):
    run = training(.5)
    product = run.step.loss.graph.get_tensor_by_name('net/MatMul:0')
    train(run, profile(run, tmp_path, 1, 1, {product: 'float16', product.op.inputs[1]: 'bfloat16'}))
    row, = [row for row in operators_of(tmp_path) if row['Op Name'] == 'net/MatMul']
    assert (row['Input Data Types'], row['Output Data Types']) == ('FLOAT;DT_BF16', 'FLOAT16')
    count, = [row for row in operators_of(tmp_path) if row['OP Type'] == 'AssignAdd']
    assert count['Input Data Types'] == 'INT64;INT64'


def test_the_first_step_is_no_step_without_profiling(training, train, tmp_path, capfd):
    run = training()
    train(run, profile(run, tmp_path, 1, 3))
    assert 'images/s with' not in capfd.readouterr().out


def traced(*events):
    """The trace of a profiler: (device, name and type, label) of each event, an event each 10 us that takes 5."""
    trace = Trace()
    for number, (device, name, label) in enumerate(events):
        number_of_device = sum(map(ord, device))
        trace.devices[number_of_device].name = device
        event = trace.trace_events.add(device_id=number_of_device, resource_id=3447682752)
        event.timestamp_ps, event.duration_ps = 10 * 10 ** 6 * number, 5 * 10 ** 6
        event.args['long name'], event.args['label'] = name, label
    return trace


def on_cpu(run, kind='false'):
    return 'id=%d,device=/job:localhost/replica:0/task:0/device:CPU:0,async=%s' % (run, kind)


def test_a_step_is_what_the_cpu_ran_with_its_mark_and_a_gpus_stream_until_the_next_one():
    host, stream = '/host:CPU', '/device:GPU:0/stream:all'
    steps = operator_profile.timed_steps(traced(
        (stream, 'early:Conv2D', 'kernel'), (host, 'relu:Relu', on_cpu(7)), (host, 'Iterator::Model', ''),
        (host, 'other:Relu', on_cpu(8)), (stream, 'first:Conv2D', 'kernel'), (host, 'mark:NoOp', on_cpu(7)),
        (host, 'launch:Conv2D', on_cpu(7).replace('CPU', 'GPU')), (host, 'mark:NoOp', on_cpu(9)),
        (stream, 'second:Conv2D:Conv2D', 'kernel'), ('/device:GPU:0/memcpy', 'copy:MEMCPYHtoD', '')), 'mark')
    assert [[one.name for one in step] for step in steps] == [['relu', 'first', 'mark'], ['mark', 'second']]
    assert steps[0][0] == ('relu', 'Relu', 10, 5, 3447682752, False) and steps[1][1].op_type == 'Conv2D'


def test_what_is_waited_for_takes_until_its_first_use():
    with tf.Graph().as_default() as graph:
        batch = tf.placeholder(tf.float32, [2], name='batch')
        tf.nn.relu(batch, name='relu')
        tf.nn.tanh(batch, name='tanh')
    step, = operator_profile.timed_steps(traced(
        ('/host:CPU', 'batch:IteratorGetNext', on_cpu(1, 'true')), ('/host:CPU', 'mark:NoOp', on_cpu(1)),
        ('/host:CPU', 'tanh:Tanh', on_cpu(1)), ('/host:CPU', 'relu:Relu', on_cpu(1))), 'mark')
    found = operator_profile.Describer(graph, '910', {}).operators(step, 1000)
    assert [(op.name, op.start, op.duration) for op in found] == [
        ('batch', 1000, 20), ('tanh', 1020, 5), ('relu', 1030, 5)]


def test_a_joined_operator_has_the_type_of_its_main_one_and_the_log_names_it():
    step = [operator_profile.Timed(name, op_type, 0, 5, 1, False) for name, op_type in (
        ('net/norm', 'BatchNormActivation'), ('net/sum', 'AddN'))]
    describer = operator_profile.Describer(tf.Graph(), '910', {})
    assert describer.notes() == []
    assert [(op.name, op.op_type) for op in describer.operators(step, 0)] == [
        ('net/norm', 'BNTrainingUpdate'), ('net/sum', 'AddN')]
    assert describer.notes() == ['Profile: one task here, several on an NPU: BatchNormActivation (as BNTrainingUpdate)']


def test_a_profile_has_the_steps_that_hooks_see_and_no_other_run_of_the_session(training, train, tmp_path):
    class RunsTheSession(tf.train.SessionRunHook):
        def before_run(self, run_context):
            run_context.session.run(run.step.loss)

    run = training(.5)
    train(run, profile(run, tmp_path, 1, 2), RunsTheSession(), random_errors.RepeatStep(run, 2))
    assert [row['Op Name'] for row in operators_of(tmp_path)].count('net/MatMul') == 2
    assert run.step.loss.graph.get_operation_by_name('profiled_step').device == '/device:CPU:0'    # with a GPU, too


def test_the_backward_pass_begins_with_what_waits_for_the_forward_pass(training):
    names = operator_profile.backward_names(training().step.loss.graph)
    assert {'gradients/net/scaled_grad/Mul', 'gradients/net/MatMul_grad/MatMul_1'} <= names
    assert not [name for name in names if name.startswith('net/') or 'Shape' in name or 'Momentum' in name]
    assert 'gradients/Fill' not in names and 'gradients/net/loss_grad/truediv' not in names


def test_a_run_shorter_than_the_profiled_steps_still_leaves_its_profile(training, train, tmp_path):
    run = training()
    train(run, profile(run, tmp_path, 2, 100))
    assert glob.glob(os.path.join(str(tmp_path), 'PROF_*', 'mindstudio_profiler_output', 'op_summary_*.csv'))
