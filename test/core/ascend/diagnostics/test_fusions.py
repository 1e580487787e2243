"""The fusions of CANN that a graph hits, and the lines that break the others."""
import inspect

import tensorflow as tf

from core.ascend import fusion_passes
from core.ascend.diagnostics import fusions, step_graph

HERE = __file__


def found(build, is_narrow=lambda op: True, decay=0., scale=1.):
    """{pass: Fusion} of a step that trains what build(images) gives by momentum."""
    with tf.Graph().as_default():
        y = build(tf.placeholder(tf.float32, [4, 8, 8, 16], 'images'))
        loss = tf.reduce_mean(y)
        if decay:
            loss = decay * tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()]) + loss
        optimizer = tf.train.MomentumOptimizer(.1, .9)
        pairs = [(gradient if scale == 1 else gradient * scale, v) for gradient, v in optimizer.compute_gradients(loss)]
        train = optimizer.apply_gradients(pairs)
        return {one.name: one for one in fusions.find(step_graph.operators([train, loss.op]), is_narrow)}


def kernel(name='kernel'):
    return tf.get_variable(name, [3, 3, 16, 16])


def conv(x, name='kernel'):
    return tf.nn.conv2d(x, kernel(name), 1, 'SAME')


def norm(x, name='norm'):
    return tf.compat.v1.nn.fused_batch_norm(x, tf.get_variable(name + '/scale', [16]), tf.get_variable(
        name + '/offset', [16]))[0]


def counts(fusion):
    return len(fusion.hits), len(fusion.misses)


def only_miss(fusion):
    assert counts(fusion) == (0, 1)
    return fusion.misses[0]


def test_a_residual_block_hits_what_cann_has_for_it():
    def build(x):
        y = tf.nn.relu(norm(conv(x)))
        return tf.nn.relu(norm(conv(y, 'second'), 'second') + x)
    hits = {name: counts(fusion) for name, fusion in found(build).items()}
    assert hits.pop('TbeBnupdateEltwiseFusionPass') == (2, 0)
    assert hits == {'FusedBatchnormFusionPass': (2, 0), 'FusedBatchNormGradFusionPass': (2, 0),
                    'TbeConvBnreduceFusionPass': (2, 0), 'TbeBnupdateEltwiseEltwiseFusionPass': (1, 0),
                    'DreluFusionPass': (2, 0)}


def test_a_bias_before_batch_norm_breaks_it_and_its_line_is_named():
    def build(x):
        y = conv(x)
        biased = tf.nn.bias_add(y, tf.get_variable('bias', [16]))
        return tf.nn.relu(norm(biased))
    result = found(build)
    miss = only_miss(result['TbeConvBnreduceFusionPass'])
    line = inspect.getsourcelines(build)[1] + 2
    assert miss.broken_by.type == 'BiasAdd' and step_graph.line_of(miss.broken_by).startswith('%s:%d' % (HERE, line))
    assert any('%s:%d' % (HERE, line) in text for text in fusions.lines(list(result.values())))
    assert counts(result['AABiasaddConvFusion']) == (1, 0)


def test_a_convolution_in_float32_is_not_fused_with_batch_norm():
    assert 'float16' in only_miss(found(lambda x: norm(conv(x)), lambda op: False)['TbeConvBnreduceFusionPass']).why


def test_a_bias_that_is_added_by_hand_or_a_product_that_is_used_twice_is_not_fused():
    def by_hand(x):
        return tf.matmul(tf.reshape(x, [4, 1024]), tf.get_variable('dense', [1024, 2])) + tf.get_variable('bias', [2])

    def twice(x):
        product = tf.matmul(tf.reshape(x, [4, 1024]), tf.get_variable('dense', [1024, 2]))
        return tf.nn.bias_add(product, tf.get_variable('bias', [2])) * tf.tanh(product)
    assert 'tf.nn.bias_add' in only_miss(found(by_hand)['MatMulBiasAddFusionPass']).why
    assert only_miss(found(twice)['MatMulBiasAddFusionPass']).broken_by.type == 'Tanh'


def test_mish_is_one_operator_in_an_exported_graph_only():
    def build(x):
        y = conv(x)
        return y * tf.tanh(tf.nn.softplus(y))
    assert 'in training this is never fused' in only_miss(found(build)['SoftplusTanhMulPass']).why
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [4, 8, 8, 16]))
        assert counts(fusions.find(graph.get_operations())[0]) == (1, 0)


def test_batch_norm_by_hand_is_a_miss():
    def build(x):
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        return conv((x - mean) * tf.math.rsqrt(variance + 1e-3))
    assert 'tf.nn.moments' in only_miss(found(build)['FusedBatchnormFusionPass']).why


def test_weight_decay_is_fused_where_it_is_one_of_two_parts_of_the_gradient():
    def two(x):
        return tf.square(conv(tf.square(conv(x)), 'second'))

    def shared(x):
        return tf.square(tf.nn.conv2d(tf.square(conv(two(x), 'third')), tf.trainable_variables()[2], 1, 'SAME'))
    print(fusions.lines([found(two, decay=1e-4)['MulAddNL2LossFusionPass']]))
    result = found(shared, decay=1e-4)['MulAddNL2LossFusionPass']
    assert sum(counts(result)) == 3 and ['3 parts' in one.why for one in result.misses].count(True) == 1


def test_a_gradient_that_a_constant_scales_goes_into_the_update():
    assert counts(found(lambda x: tf.square(conv(x)), scale=1 / 1024)['A_MomentumLossscaleFusionPass']) == (1, 0)


def test_every_fusion_has_the_name_of_a_pass_of_cann():
    with open(fusions.__file__) as source:
        text = source.read()
    named = [name for name in fusion_passes.passes({}) if "'%s'" % name in text]
    assert len(named) >= 12
