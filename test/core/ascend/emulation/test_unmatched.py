"""Entries of the users' lists that match no operator."""
import json

import pytest
import tensorflow as tf

from core.ascend.diagnostics import step_graph
from core.ascend.emulation import unmatched
from core.errors import InputError


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        tf.reduce_mean(tf.matmul(tf.ones([2, 3]), tf.ones([3, 2]), name='layer/MatMul'))
        yield graph


def test_an_entry_of_a_mix_list_that_matches_nothing_is_told_with_the_nearest_name(graph, tmp_path):
    path = tmp_path / 'mix.json'
    path.write_text(json.dumps({'white-list': {'to-add': ['ReduceMeanD', 'Mean']}, 'black-list': {
        'to-add': ['ReduceMeen', 'NoSuchThing'], 'to-remove': ['ReduceMean']}}))
    assert sorted(unmatched.lines(graph, {'modify_mixlist': str(path)})) == [
        '%s: no operator of this graph is a Mean; did you mean ReduceMean?' % path,
        '%s: no operator of this graph is a NoSuchThing' % path,
        '%s: no operator of this graph is a ReduceMeen; did you mean ReduceMean?' % path]


def test_so_is_one_of_customize_dtypes_by_type_and_by_name(graph, tmp_path):
    path = tmp_path / 'types.cfg'
    path.write_text('OpType::MatMul:InputDtype:float16\nOpType::MatMulV2:InputDtype:float16\n'
                    'layer/MatMul::InputDtype:float16\nlayer/MatMul_1::InputDtype:float16\n')
    assert unmatched.lines(graph, {'customize_dtypes': str(path)}) == [
        '%s: no operator of this graph is a MatMul; did you mean MatMulV2?' % path,
        '%s: no operator of this graph is a layer/MatMul_1; did you mean layer/MatMul?' % path]


def test_a_dump_layer_that_is_not_there_is_refused_with_the_nearest_name(graph):
    with pytest.raises(InputError, match='no operator layer/MatMull, did you mean layer/MatMul?'):
        step_graph.named(graph.get_operations(), 'layer/MatMull')
