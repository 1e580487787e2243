"""GE's graph of a rehearsal, in the fields that CANN's tools read."""
import json

import tensorflow as tf

from core.ascend.chip_operators import Forms
from core.ascend.diagnostics import ge_graph


def test_an_operator_names_who_gets_its_outputs_and_who_waits_for_it(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4], 'x')
        halves = tf.split(x, 2, name='halves')
        tf.add(halves[1], halves[1], name='twice')
        with tf.control_dependencies([x]):
            tf.subtract(tf.constant([1., 1.], name='one'), halves[1], name='less')
        path = ge_graph.write(str(tmp_path), 'ge_default_1', graph.get_operations(), Forms(graph, {}))
    with open(path) as file:
        ops = {op['name']: op for op in json.load(file)['graph'][0]['op']}
    # GE leaves out an output that nobody gets, and takes the operand of the last user.
    assert (ops['halves']['dst_name'], ops['halves']['dst_index']) == (['twice:twice:less'], [1])
    assert (ops['x']['dst_name'], ops['x']['dst_index']) == (['one', 'halves'], [-1, 1])
    assert (ops['less']['dst_name'], ops['less']['dst_index']) == ([], [])
    text = (tmp_path / (ge_graph.NAME + '.txt')).read_text()
    assert 'dst_name: "twice:twice:less"\n' in text and 'dst_index: -1\n' in text
