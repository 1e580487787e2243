"""GE's graph of a real run beside the rehearsal."""
import json

import pytest
import tensorflow as tf

from core.ascend.chip_operators import Forms
from core.ascend.diagnostics import chip_graph, ge_graph
from core.ascend.emulation import disagreement, emulation, precision_rules
from core.errors import InputError


@pytest.fixture
def rehearsal(tmp_path):
    """(what the emulation did, the operators, path of GE's graph as JSON) of a dense layer in mixed precision."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 3], 'x')
        y = tf.nn.relu(tf.matmul(x, tf.get_variable('kernel', [3, 2]), name='product'), name='relu')
        tf.reduce_mean(y, name='mean')
        ops = graph.get_operations()
        done = emulation.emulate(graph, precision_rules.rules('allow_mix_precision', '910B', False))
        yield done, ops, ge_graph.write(str(tmp_path), 'ge_default_1', ops, Forms(graph, done.types, done.wide))


def test_a_rehearsal_agrees_with_its_own_graph_in_both_forms(rehearsal):
    done, ops, path = rehearsal
    for form in path, path.replace('.json', '.txt'):
        rows, missing = disagreement.rows(done, ops, chip_graph.read(form))
        assert {row.op.name for row in rows} >= {'product', 'relu', 'mean'} and missing == 0
        assert all(row.agrees for row in rows)


def test_an_operator_with_another_type_on_the_chip_is_named(rehearsal, tmp_path):
    done, ops, path = rehearsal
    with open(path) as file:
        model = json.load(file)
    relu = next(op for op in model['graph'][0]['op'] if op['name'] == 'relu')
    relu['output_desc'][0]['dtype'] = 'DT_FLOAT'
    product = next(op for op in model['graph'][0]['op'] if op['name'] == 'product')
    model['graph'][0]['op'].remove(product)
    changed = tmp_path / 'chip.json'
    changed.write_text(json.dumps(model))
    rows, missing = disagreement.rows(done, ops, chip_graph.read(str(changed)))
    assert [row.op.name for row in rows if not row.agrees] == ['relu'] and missing == 1
    assert disagreement.lines(rows, missing)[1].split() == (
        'Relu rehearsal float16 -> float16, chip float16 -> float32: 1 operators, relu').split()


def test_of_fused_operators_the_first_shows_operands_and_the_last_results(rehearsal, tmp_path):
    done, ops, _ = rehearsal
    path = tmp_path / 'fused.txt'
    path.write_text('''name: "ge_default_1"
graph {  # of a real run
  op {
    name: "productrelu"
    type: "MatMulV2"
    attr { key: "_datadump_original_op_names" value { list { val_type: VT_LIST_STRING s: "product" s: "relu" } } }
    input_desc { name: "x1" dtype: DT_FLOAT16 layout: "FRACTAL_NZ" shape { dim: 4 dim: 3 } }
    output_desc { dtype: DT_FLOAT16 size: 16 }
  }
}
''')
    rows, _ = disagreement.rows(done, ops, chip_graph.read(str(path)))
    assert [(row.op.name, row.on_chip, row.agrees) for row in rows] == [
        ('product', ('float16', None), True), ('relu', (None, 'float16'), True)]


@pytest.mark.parametrize('text', [
    '', '{', '{}', '{"graph": 3}', '{"graph": [{"op": [{"name": "x"}]}]}', 'graph { op { name: "a" ', 'graph: }',
    'graph { } }', 'graph {}', '\x00\x01', 'graph { op { name: 3 type: "A" output_desc { shape { dim: 1 } } } }',
    'a {' * 500, '{"graph": [{"op": [{"name": ["a", "b"], "type": "X"}]}]}', '[' * 100000])
def test_a_file_that_is_no_graph_is_refused(text, tmp_path):
    path = tmp_path / 'graph'
    path.write_text(text)
    with pytest.raises(InputError, match='is no graph of GE'):
        chip_graph.read(str(path))
