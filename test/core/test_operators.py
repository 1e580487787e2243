"""The table of operator types."""
import glob
import os
import re

import tensorflow as tf
from launching import ROOT

from core import operators


def test_every_row_has_a_type_of_tensorflow_or_of_a_library_and_known_words():
    with open(operators.TABLE) as file:
        lines = file.read().splitlines()
    explained = [line[10:].split('  ')[0] for line in lines if line.startswith('#') and line[10:11].isalpha()]
    words = {word.partition(':')[0] for text in explained for word in text.split(', ')}
    for name, row in operators.table().items():
        assert row.unit in ('cube', 'vector', 'cpu', 'exchange', 'none') and row.colour in ('white', 'black', 'gray')
        assert set(row.traits) <= words, name
    names = [line.split('\t')[0] for line in lines if not line.startswith('#')]
    assert len(names) == len(set(names))


def test_what_the_table_is_read_for():
    assert {'Conv2D', 'MatMul'} == operators.types_with('layer')
    assert operators.row('Mean') == ('ReduceMean', 'vector', 'black', {})
    assert operators.row('FusedBatchNormGradV3').traits['outputs'] == 3
    assert operators.chip_name('ReduceMeanD') == 'ReduceMean' and operators.chip_name('Conv2D') == 'Conv2D'


def test_every_kernel_of_the_library_stands_in_the_table():
    registered = set()
    for path in glob.glob(os.path.join(ROOT, 'core', 'cpu', 'kernels', '*.cc')):
        with open(path) as file:
            text = file.read()
        registered |= set(re.findall(r'REGISTER_FAST\((\w+)', text))
        registered |= set(re.findall(r'Name\("(\w+)"\)[^;]*?Label\("fast"\)', text))
    assert registered == operators.types_with('compiled')


def test_a_type_without_a_row_is_told_once(capfd):
    with tf.Graph().as_default() as graph:
        tf.linalg.expm(tf.eye(2))
        tf.matrix_determinant(tf.eye(2))
        ops = graph.get_operations()
    assert 'MatrixDeterminant' in operators.tell_unlisted(ops) and not operators.tell_unlisted(ops)
    told = capfd.readouterr().out
    assert told.count('table.tsv lacks: ') == 1 and 'MatrixDeterminant' in told and 'gray' in told
