"""What TensorFlow's operators become on the chip."""
import pytest
import tensorflow as tf

from core.ascend import chip_operators


@pytest.mark.parametrize('op_type, on_chip', [
    ('MatMul', 'MatMulV2'), ('Mean', 'ReduceMean'), ('Conv2D', 'Conv2D'), ('ApplyMomentum', 'ApplyMomentum'),
    ('Conv2DBackpropFilter', 'Conv2DBackpropFilter'), ('AddV2', 'Add'), ('Tanh', 'Tanh')])
def test_types_are_those_of_todays_cann(op_type, on_chip):
    assert chip_operators.chip_type(op_type) == on_chip


@pytest.mark.parametrize('op_type, on_910, on_910b', [
    ('Conv2D', 'AI_CORE', 'AI_CORE'), ('Relu', 'AI_CORE', 'AI_VECTOR_CORE'), ('IteratorGetNext', 'AI_CPU', 'AI_CPU'),
    ('CollectiveReduce', 'COMMUNICATION', 'COMMUNICATION'), ('VariableV2', None, None), ('_Retval', None, None)])
def test_a_910_has_its_vector_units_in_the_cores_of_the_cube(op_type, on_910, on_910b):
    assert chip_operators.task_type(op_type, '910') == on_910
    assert chip_operators.task_type(op_type, '910B') == on_910b


@pytest.mark.parametrize('dtype, profiler, ge', [
    ('float32', 'FLOAT', 'DT_FLOAT'), ('float16', 'FLOAT16', 'DT_FLOAT16'), ('int64', 'INT64', 'DT_INT64'),
    ('bfloat16', 'DT_BF16', 'DT_BF16'), ('float64', 'DOUBLE', 'DT_DOUBLE'), ('bool', 'BOOL', 'DT_BOOL')])
def test_data_types_have_the_spellings_of_profiler_and_ge(dtype, profiler, ge):
    assert (chip_operators.profiler_type(dtype), chip_operators.ge_type(dtype)) == (profiler, ge)


def test_kernels_and_what_is_computed_of_them_are_hwcn_and_images_are_not():
    with tf.Graph().as_default() as graph:
        images = tf.ones([3, 3, 4, 4])       # of the kernel's shape, to tell them apart by their use alone
        kernel = tf.get_variable('kernel', [3, 3, 4, 4])
        y = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, 'SAME'))
        loss = tf.reduce_sum(y) + tf.nn.l2_loss(kernel)
        tf.train.MomentumOptimizer(.1, .9).minimize(loss)
        forms = chip_operators.Forms(graph, {})
        layouts = {tensor.name: forms.layout(tensor, 4) for op in graph.get_operations()
                   for tensor in op.outputs if tensor.shape.ndims == 4}
        update = next(op for op in graph.get_operations() if op.type == 'ApplyMomentum')
    hwcn = {name for name, layout in layouts.items() if layout == 'HWCN'}
    assert {'kernel:0', 'kernel/read:0', 'kernel/Momentum:0', 'gradients/Conv2D_grad/Conv2DBackpropFilter:0',
            update.outputs[0].name} <= hwcn
    assert not {'ones:0', 'Conv2D:0', 'Relu:0', 'gradients/Relu_grad/ReluGrad:0'} & hwcn
    assert layouts['Conv2D:0'] == layouts['Relu:0'] == 'NHWC' and forms.layout(y, 2) == 'ND'


def test_what_an_update_leaves_has_the_type_of_its_variable_also_under_a_condition():
    with tf.Graph().as_default() as graph:
        one, other = (tf.get_variable(name, [2], use_resource=False) for name in ('one', 'other'))
        tf.cond(tf.placeholder(tf.bool, []), lambda: tf.group(tf.assign_sub(one, [1., 1.])), tf.no_op)
        tf.assign_sub(other, [1., 1.])
        forms = chip_operators.Forms(graph, {one.op.outputs[0]: 'float16'})
        found = {op.inputs[1].op.name.split('/')[0]: forms.data_type(op.outputs[0])
                 for op in graph.get_operations() if op.type == 'AssignSub'}
    assert found == {'cond': 'float16', 'AssignSub': 'float32'}


@pytest.mark.parametrize('op_type, is_cube', [
    ('Conv2D', True), ('MatMul', True), ('Conv2DBackpropInput', True), ('Relu', False), ('Mean', False)])
def test_convolutions_and_matrix_products_are_the_cubes(op_type, is_cube):
    assert chip_operators.is_cube(op_type) is is_cube


def test_an_operator_that_is_kept_wide_gets_float32_of_a_narrow_tensor_and_every_other_type_as_it_is():
    with tf.Graph().as_default() as graph:
        narrow, number = tf.ones([2]), tf.ones([2], tf.int64)
        wide, other = tf.abs(narrow).op, tf.square(narrow).op
        forms = chip_operators.Forms(graph, {narrow: 'float16'}, {wide})
        assert [forms.operand_type(op, narrow) for op in (wide, other)] == ['float32', 'float16']
        assert [forms.operand_type(op, number) for op in (wide, other)] == ['int64', 'int64']
