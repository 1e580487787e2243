"""Two dumps compared: the tool's columns and formulas, and the operator that is wrong."""
import csv
import json
import math

import numpy as np
import pytest

from core.ascend.diagnostics import comparison, dump_files
from core.ascend.diagnostics.dump_files import OperatorDump, Tensor
from core.errors import InputError

RANDOM = np.random.RandomState(0)
LAYERS = {'net/conv%d/Conv2D' % i: RANDOM.normal(size=[2, 4, 4, 3]).astype(np.float32) for i in range(5)}


def ground_truth(directory, layers=LAYERS):
    directory.mkdir()
    for time, (name, values) in enumerate(layers.items()):
        dump_files.write_ground_truth(str(directory), name, 0, values, 10 ** 15 + time)
    return str(directory)


def npu(directory, layers=LAYERS, name=lambda op: op, original=lambda op: op):
    directory.mkdir()
    for time, (op, values) in enumerate(layers.items()):
        output = Tensor(values.astype(np.float16), 'NHWC', values.shape, 'NHWC', original(op))
        dump_files.write_npu(str(directory), OperatorDump('Conv2D', name(op), [], [output], time, 0, 10 ** 15 + time))
    return str(directory)


def test_the_csv_has_the_comparison_tools_columns(tmp_path):
    compared = comparison.compare(npu(tmp_path / 'npu'), ground_truth(tmp_path / 'cpu'))
    comparison.write_csv(str(tmp_path / 'result.csv'), compared)
    with open(str(tmp_path / 'result.csv')) as file:
        header, first, *_ = csv.reader(file)
    assert ','.join(header) == (
        'Index,OpType,NPUDump,DataType,Address,GroundTruth,DataType,TensorIndex,Shape,CosineSimilarity,'
        'MaxAbsoluteError,AccumulatedRelativeError,RelativeEuclideanDistance,KullbackLeiblerDivergence,'
        'StandardDeviation,MeanAbsoluteError,RootMeanSquareError,MaxRelativeError,MeanRelativeError,'
        'CompareFailReason')
    assert first[:9] == ['0', 'Conv2D', 'net_conv0_Conv2D', 'float16', 'NaN', 'net_conv0_Conv2D', 'float32',
                         'net_conv0_Conv2D:output:0', '[2,4,4,3]']


def test_inputs_are_rows_and_the_index_counts_operators(tmp_path):
    x, kernel, y = (RANDOM.normal(size=[2, 2]).astype(np.float32) for _ in range(3))
    for name, planted in (('a', y), ('b', y + 1)):
        (tmp_path / name).mkdir()
        for time, (op, inputs, output) in enumerate((('first', [x], kernel), ('second', [kernel, x], planted))):
            dump_files.write_npu(str(tmp_path / name), OperatorDump('Mul', op, list(map(Tensor, inputs)), [
                Tensor(output), Tensor(output)], time, 0, 10 ** 15 + time))
    compared = comparison.compare(str(tmp_path / 'a'), str(tmp_path / 'b'))
    assert [(row.index, row.left, row.kind, row.output) for row in compared.rows] == [
        (0, 'first', 'input', 0), (0, 'first', 'output', 0), (0, 'first', 'output', 1), (1, 'second', 'input', 0),
        (1, 'second', 'input', 1), (1, 'second', 'output', 0), (1, 'second', 'output', 1)]
    comparison.write_csv(str(tmp_path / 'result.csv'), compared)
    header, first, *_ = csv.reader((tmp_path / 'result.csv').read_text().splitlines())
    assert header[:10] == ['Index', 'OpType', 'NPUDump', 'DataType', 'Address', 'GroundTruth', 'DataType', 'Address',
                           'TensorIndex', 'Shape']
    assert first[:10] == ['0', 'Mul', 'first', 'float32', 'NaN', 'first', 'float32', 'NaN', 'first:input:0', '[2,2]']
    assert [row.left for row in compared.outputs if row.distance > 0] == ['second', 'second']


def test_with_the_graph_inputs_are_compared_with_the_outputs_that_they_are(tmp_path):
    x, y = np.float32([1, 2]), np.float32([3, 4])
    (tmp_path / 'npu').mkdir()
    dump_files.write_npu(str(tmp_path / 'npu'), OperatorDump(
        'Relu', 'net/relu', [Tensor(x + 1)], [Tensor(y, original_name='net/relu')], 0, 0, 10 ** 15))
    right = ground_truth(tmp_path / 'cpu', {'net/x': x, 'net/relu': y})
    graph = {'graph': [{'op': [{'name': 'net/relu', 'type': 'Relu', 'input': ['net/x:0', 'net/control:-1']}]}]}
    (tmp_path / 'graph.json').write_text(json.dumps(graph))
    rows = comparison.compare(str(tmp_path / 'npu'), right, str(tmp_path / 'graph.json')).rows
    compared = [row for row in rows if '*' not in (row.left, row.right)]
    assert [(row.left, row.right, row.kind, row.distance > 0) for row in compared] == [
        ('net_relu', 'net_x', 'input', True), ('net_relu', 'net_relu', 'output', False)]
    assert len(comparison.compare(str(tmp_path / 'npu'), right).rows) == 2     # without it, outputs alone


def test_a_corrupted_operator_is_found_and_the_ones_before_it_are_not_accused(tmp_path):
    corrupted = dict(LAYERS)
    corrupted['net/conv3/Conv2D'] = np.roll(LAYERS['net/conv3/Conv2D'], 1)
    rows = comparison.compare(npu(tmp_path / 'npu', corrupted), ground_truth(tmp_path / 'cpu')).rows
    assert comparison.first_beyond(rows, 0.01).left == 'net_conv3_Conv2D'
    assert comparison.worst(rows, 2)[0].left == 'net_conv3_Conv2D'
    assert [row.index for row in rows if row.distance > .01] == [3]


def test_tensors_without_values_are_equal(tmp_path):
    layers = {'net/empty': np.zeros(0, np.float32)}
    row, = comparison.compare(ground_truth(tmp_path / 'a', layers), ground_truth(tmp_path / 'b', layers)).rows
    assert row.distance == 0 and row.reason == 'there are no values'


def test_operators_renamed_by_ge_are_matched_by_the_name_in_the_dump(tmp_path):
    left = npu(tmp_path / 'npu', name=lambda op: 'fused_' + op)
    rows = comparison.compare(left, ground_truth(tmp_path / 'cpu')).rows
    assert len(rows) == 5 and rows[2].left == 'fused_net_conv2_Conv2D' and rows[2].right == 'net_conv2_Conv2D'


def test_operators_fused_by_ge_are_matched_through_its_graph(tmp_path):
    left = npu(tmp_path / 'npu', name=lambda op: 'fused_' + op, original=lambda op: '')
    ops = [{'name': 'fused_' + op, 'type': 'Conv2D', 'output_desc': [{}], 'attr': [
        {'key': '_datadump_original_op_names', 'value': {'list': {'s': ['net/before', op]}}}]} for op in LAYERS]
    (tmp_path / 'graph.json').write_text(json.dumps({'graph': [{'op': ops}]}))
    right = ground_truth(tmp_path / 'cpu')
    with pytest.raises(InputError, match='no operator is in both.*--graph'):
        comparison.compare(left, right)
    rows = comparison.compare(left, right, str(tmp_path / 'graph.json')).rows
    assert len(rows) == 5 and comparison.first_beyond(rows, .01) is None


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / 'graph.json').write_text('[]')
    with pytest.raises(InputError, match='not a graph of GE as JSON'):
        comparison.read_graph(str(tmp_path / 'graph.json'))


def test_an_operator_of_one_side_stands_in_graph_order_without_figures(tmp_path):
    more = {'net/start': np.ones(2, np.float32), **LAYERS, 'net/end': np.ones(2, np.float32)}
    rows = comparison.compare(npu(tmp_path / 'npu', more), ground_truth(tmp_path / 'cpu')).rows
    assert [row.right for row in rows][0] == '*' and [row.right for row in rows][-1] == '*'
    assert math.isnan(rows[0].metrics['CosineSimilarity']) and 'only one of the dumps' in rows[0].reason
    assert rows[0].cells((True, False))[7] == 'net_start:output:0'
    rows = comparison.compare(ground_truth(tmp_path / 'less'), ground_truth(tmp_path / 'more', more)).rows
    assert (rows[0].left, rows[0].cells((False, False))[6]) == ('*', 'net_start:output:0')
    assert comparison.worst(rows, 9) == []             # those of both are equal
    assert comparison.first_beyond(rows, .01) is None


def test_the_formulas_agree_with_a_computation_by_hand():
    values, reason = comparison.metrics(np.float32([1, 2, 5]), np.float32([1, 4, 4]))
    assert reason == ''
    assert values['MaxAbsoluteError'] == 2 and values['MeanAbsoluteError'] == 1
    assert values['AccumulatedRelativeError'] == pytest.approx(.5 + .25)
    assert values['MaxRelativeError'] == .5 and values['MeanRelativeError'] == pytest.approx(.25)
    assert values['RelativeEuclideanDistance'] == pytest.approx(math.sqrt(5 / 33))
    assert values['RootMeanSquareError'] == pytest.approx(math.sqrt(5 / 3))
    assert values['CosineSimilarity'] == pytest.approx(29 / math.sqrt(30 * 33))
    p, q = np.array([1e-30, .25, 1]), np.array([1e-30, 1, 1])
    expected = sum(a / p.sum() * math.log((a / p.sum()) / (b / q.sum())) for a, b in zip(p[1:], q[1:]))
    assert values['KullbackLeiblerDivergence'] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('ours, theirs, distance', [
    ([0, 0], [0, 0], 0), ([1, 0], [0, 0], math.inf), ([math.nan, 1], [1, 1], math.nan),
    ([math.inf, 1], [math.inf, 1], 0)])
def test_zeros_and_values_that_are_not_finite_have_a_distance_that_says_so(ours, theirs, distance):
    values, _ = comparison.metrics(np.float32(ours), np.float32(theirs))
    assert values['RelativeEuclideanDistance'] == pytest.approx(distance, nan_ok=True)


def test_values_that_cannot_be_compared_are_beyond_every_threshold(tmp_path):
    broken = dict(LAYERS)
    broken['net/conv1/Conv2D'] = LAYERS['net/conv1/Conv2D'] * math.nan
    rows = comparison.compare(npu(tmp_path / 'npu', broken), ground_truth(tmp_path / 'cpu')).rows
    assert comparison.first_beyond(rows, 1e6).left == 'net_conv1_Conv2D'
