"""Operations, bytes and times of operators, counted by hand."""
import pytest
import tensorflow as tf

from core import operators
from core.ascend.chip_operators import Forms
from core.ascend.diagnostics import profile_files, roofline, step_graph
from core.ascend.emulation import emulation, precision_rules
from core.errors import InputError


def costs(build, mode='allow_mix_precision', chip='910'):
    """{name: Cost} of the operators that build() makes."""
    with tf.Graph().as_default() as graph:
        build()
        rules = precision_rules.rules(mode, chip, chip == '910')
        done = emulation.emulate(graph, rules)
        ops = [op for op in graph.get_operations() if step_graph.ROUNDING not in op.name]
        return {one.op.name: one for one in roofline.costs(ops, Forms(graph, done.types, done.wide))}


def convolution():
    x = tf.placeholder(tf.float32, [4, 10, 10, 3], 'x')
    y = tf.nn.conv2d(x, tf.get_variable('kernel', [3, 3, 3, 20]), 1, 'VALID', name='conv')
    tf.gradients(tf.nn.relu(y, 'relu'), [x, *tf.trainable_variables()])


def test_a_convolution_and_its_gradients_are_products_of_padded_channels():
    found = costs(convolution)
    positions = 4 * 8 * 8
    for name in ('conv', 'gradients/conv_grad/Conv2DBackpropInput', 'gradients/conv_grad/Conv2DBackpropFilter'):
        assert found[name].unit == operators.CUBE
        assert found[name].operations == 2 * positions * 3 * 3 * 3 * 20
        assert found[name].padded == 2 * positions * 3 * 3 * 16 * 32
    # float16 operands and results, all with their channels padded to 16: images 3 -> 16, the kernel 3x20 -> 16x32
    conv = found['conv']
    assert conv.bytes == 2 * (4 * 10 * 10 * 16 + 3 * 3 * 16 * 32 + positions * 32)
    assert roofline.PEAKS['910'].cube == 2 * 4096 * 32 * 1e9
    assert roofline.PEAKS['910B'][:3] == pytest.approx((363.7e12, 90.9e12, 11.37e12), rel=1e-3)    # 1.85 GHz
    assert conv.seconds['910'] == pytest.approx(max(conv.padded / 262.144e12, conv.bytes / 1.024e12))
    assert roofline.most_padded(list(found.values()), '910').op.type.startswith('Conv2D')


def test_a_matrix_product_has_its_three_sizes():
    def build():
        a, b = tf.placeholder(tf.float32, [30, 7]), tf.placeholder(tf.float32, [9, 30])
        tf.matmul(a, b, transpose_a=True, transpose_b=True, name='product')
        tf.matmul(tf.ones([5, 2, 8, 32]), tf.ones([5, 2, 32, 16]), name='batched')
    found = costs(build)
    assert (found['product'].operations, found['product'].padded) == (2 * 7 * 30 * 9, 2 * 16 * 32 * 16)
    assert (found['batched'].operations, found['batched'].padded) == (2 * 10 * 8 * 32 * 16, 2 * 10 * 16 * 32 * 16)


def test_an_operator_of_many_values_is_bound_by_the_memory_and_twice_as_fast_in_float16():
    def build():
        tf.tanh(tf.matmul(tf.ones([1024, 16]), tf.ones([16, 4096])), 'tanh')
    narrow, wide = costs(build)['tanh'], costs(build, 'force_fp32')['tanh']
    assert narrow.bound == {'910': roofline.MEMORY, '910B': roofline.MEMORY}
    assert narrow.bytes == 2 * 2 * 1024 * 4096 and wide.bytes == 2 * narrow.bytes
    assert wide.seconds['910'] == pytest.approx(2 * narrow.seconds['910']) == pytest.approx(wide.bytes / 1.024e12)


def test_float32_operands_of_a_products_are_slower_where_the_chip_takes_them():
    def build():
        tf.matmul(tf.ones([4096, 4096]), tf.ones([4096, 4096]), name='product')
    narrow, wide = costs(build)['product'], costs(build, 'must_keep_origin_dtype', '910B')['product']
    assert wide.bound['910B'] == operators.CUBE
    assert wide.seconds['910B'] == pytest.approx(4 * narrow.seconds['910B'])


def test_a_step_is_the_sum_of_its_operators():
    found = list(costs(convolution).values())
    total = roofline.total(found, '910')
    assert total.seconds == pytest.approx(sum(one.seconds['910'] for one in found)) == pytest.approx(
        sum(total.parts.values())) == pytest.approx(sum(total.units.values()))
    assert total.padding == pytest.approx(16 * 32 / (3 * 20)) and total.tasks == len(found)
    assert [name for name, _ in roofline.by_type(found, '910')][-1] != ''


def test_the_measured_time_of_a_type_is_the_mean_of_its_operators_runs(tmp_path):
    path = tmp_path / 'op_summary_1.csv'
    path.write_text('Device_id,Op Name,OP Type,Task Duration(us)\n0,a,ReduceMeanD,10\n0,a,ReduceMeanD,30\n'
                    '0,b,ReduceMean,5\n0,c,Conv2D,100\t\n0,d,Relu,0\n0,d,Relu,0.5\n')
    assert profile_files.seconds_by_type(str(path)) == {'ReduceMean': pytest.approx(25e-6), 'Conv2D': pytest.approx(
        1e-4), 'Relu': pytest.approx(.25e-6)}
    for text in 'a,b\n1,2\n', 'Op Name,OP Type,Task Duration(us)\na,b,many\n', 'Op Name,OP Type,Task Duration(us)\na\n':
        path.write_text(text)
        with pytest.raises(InputError, match='is no op_summary_'):
            profile_files.seconds_by_type(str(path))
