"""Emulated precision modes: bit for bit what NumPy's float16 gives, and nothing where a mode changes nothing."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from core.device import keep_dtype
from core.ascend import switches
from core.ascend.emulation import emulation, precision_rules, rehearsal
from core.settings.config import resolve
from core.settings.flags import parse
from launchers.networks.registry import recipe_of
from nets import layers

X = (np.random.RandomState(0).normal(size=[8, 12]) * 3).astype(np.float32)
W = np.random.RandomState(1).normal(size=[12, 5]).astype(np.float32)
B = np.random.RandomState(2).normal(size=[5]).astype(np.float32)


def half(values):
    return np.asarray(values, np.float32).astype(np.float16).astype(np.float32)


def dense(mode, chip='910', saturates=True, **files):
    """The bits of relu(x @ w + b), of its mean, and the gradient of the mean by w, under a mode."""
    with tf.Graph().as_default() as graph:
        x, w, b = tf.placeholder(tf.float32, X.shape), tf.placeholder(tf.float32, W.shape), tf.constant(B)
        y = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w), b))
        mean = tf.reduce_mean(y)
        gradient, = tf.gradients(mean, [w])
        fetches = [tf.multiply(tensor, 1.) for tensor in (y, mean, gradient)]
        rules = precision_rules.rules(mode, chip, saturates, **files) if mode else None
        if rules:
            emulation.emulate(graph, rules)
        with tf.Session() as session:
            return session.run(fetches, {x: X, w: W})


def reference(operand=half, product=half, vector=half):
    """The same by NumPy: operand rounds what the cube takes, product what it gives, vector what comes after."""
    y = vector(np.maximum(vector(product(operand(X) @ operand(W)) + vector(B)), 0))
    return y


@pytest.mark.parametrize('mode, chip', [('must_keep_origin_dtype', '910'), ('origin', '910B')])
def test_a_plain_mode_leaves_the_graph_as_it_is(mode, chip):
    for plain, emulated in zip(dense(None), dense(mode, chip)):
        assert (plain == emulated).all()
    with tf.Graph().as_default() as graph:
        tf.matmul(tf.constant(X), tf.constant(W))
        before = graph.as_graph_def()
        emulation.emulate(graph, precision_rules.rules(mode, chip, True))
        assert graph.as_graph_def() == before


def exact(values):
    return values


@pytest.mark.parametrize('mode, rounding', [
    ('allow_mix_precision', dict(operand=half, product=half, vector=half)),
    ('mixed_float16', dict(operand=half, product=half, vector=half)),
    ('force_fp16', dict(operand=half, product=half, vector=half)),
    ('allow_fp32_to_fp16', dict(operand=half, product=half, vector=exact)),
    ('force_fp32', dict(operand=half, product=exact, vector=exact)),
    ('cube_fp16in_fp32out', dict(operand=half, product=exact, vector=exact)),
])
def test_each_mode_has_the_bits_of_numpys_float16(mode, rounding):
    y, mean, _ = dense(mode)
    expected = reference(**rounding)
    if rounding['product'] is half:
        assert (y == expected).mean() > .95  # float32 sums in another order may fall on the other side of a tie
        np.testing.assert_allclose(y, expected, rtol=1e-3)
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        assert abs(y - reference(operand=exact, product=exact, vector=exact)).max() > 1e-4
    if rounding['vector'] is half:
        assert (half(y) == y).all()
    assert (half(mean) == mean) == (mode == 'force_fp16')  # a mean is black: float32 in mixed precision


@pytest.mark.parametrize('mode', ['allow_mix_precision_bf16', 'mixed_bfloat16', 'allow_fp32_to_bf16'])
def test_bfloat16_modes_keep_eight_bits_of_the_fraction(mode):
    y, _, _ = dense(mode, '910B', saturates=False)
    bits = y.view(np.uint32) & 0xffff
    assert (bits == 0).all() == (mode != 'allow_fp32_to_bf16')


@pytest.mark.parametrize('mode, chip', [('allow_mix_precision', '910'), ('allow_mix_precision_bf16', '910B')])
def test_a_gray_operator_follows_what_is_neither_a_constant_nor_a_variable(mode, chip):
    with tf.Graph().as_default() as graph:
        y = tf.matmul(tf.constant(X), tf.constant(W))
        v = tf.get_variable('v', [5])
        resource = tf.get_variable('r', [5], use_resource=True)
        following = [0.5 * y, y * 0.5, 1 - y, v + y, resource + y, y / 3]
        of_float32 = [tf.log(y) + v, 2 * tf.log(y), v * 2., tf.log(y) + y]
        done = emulation.emulate(graph, precision_rules.rules(mode, chip, True))
        assert [tensor in done.narrow for tensor in following + of_float32] == [True] * 6 + [False] * 4


def ten_bits(values):
    """Rounded to 10 bits of the fraction, ties to even; in float64, which is exact."""
    fraction, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.rint(fraction * 2 ** 11), exponent - 11).astype(np.float32)


@pytest.mark.parametrize('chip, enable, of_convolution, of_product', [
    ('910B', None, True, False), ('910B', True, True, True), ('910B', False, False, False), ('910', None, False, False),
    ('910', True, False, False)])
def test_a_mode_that_keeps_float32_takes_operands_of_convolutions_in_hf32_on_later_chips(
        chip, enable, of_convolution, of_product):
    images = np.random.RandomState(0).normal(size=[2, 6, 6, 3]).astype(np.float32)
    kernel = np.random.RandomState(1).normal(size=[3, 3, 3, 4]).astype(np.float32)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x, k, w = tf.constant(images), tf.constant(kernel), tf.constant(W)
        gradient = tf.random.stateless_normal([2, 6, 6, 4], [0, 1])
        y = tf.nn.conv2d(x, k, 1, 'SAME')
        of_x, of_k = tf.gradients(y, [x, k], gradient)
        fetches = [tf.multiply(one, 1.) for one in (y, of_x, of_k, tf.matmul(tf.constant(X), w))]
        emulation.emulate(graph, precision_rules.rules('origin', chip, False, enable_hf32=enable))
        got, given = session.run([fetches, gradient])

        def take(values):
            return ten_bits(values) if of_convolution else values
        expected = tf.nn.conv2d(take(images), take(kernel), 1, 'SAME')
        sources = tf.constant(take(images)), tf.constant(take(kernel))
        of_sources = tf.gradients(tf.nn.conv2d(*sources, 1, 'SAME'), sources, tf.constant(take(given)))
        for one, other in zip(got, session.run([expected, *of_sources])):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        exact = [X @ W, ten_bits(X) @ ten_bits(W)]
        np.testing.assert_allclose(got[3], exact[of_product], rtol=1e-6, atol=1e-6)
        assert abs(exact[0] - exact[1]).max() > 1e-4


def test_rounding_to_hf32_leaves_ten_bits_of_the_fraction():
    values = np.concatenate([X.ravel(), [0, -0., 1 + 2. ** -11, 1 + 3 * 2. ** -11, np.inf, -np.inf]]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        rounded, nan = session.run([emulation.round_to(tf.constant(values), 'hf32', False),
                                    emulation.round_to(tf.constant(np.float32(np.nan)), 'hf32', False)])
    finite = np.isfinite(values)
    assert (rounded[finite] == ten_bits(values[finite])).all() and (rounded[~finite] == values[~finite]).all()
    assert rounded[-4:-2].tolist() == [1, 1 + 2 ** -9] and np.isnan(nan)


@pytest.mark.parametrize('flags, words', [
    (['--emulate_chip=910B', '--precision_mode_v2=origin'], 'emulated origin of a 910B with HF32'),
    (['--emulate_chip=910B', '--precision_mode_v2=origin', '--enable_hf32=False'], 'emulated origin of a 910B'),
    (['--enable_hf32=True'], 'emulated must_keep_origin_dtype of a 910B with HF32'), ([], 'float32'),
    (['--emulate_chip=910', '--precision_mode_v2=origin'], 'emulated origin of a 910')])
def test_the_record_tells_hf32(flags, words):
    recipe, given = recipe_of(parse(['--network=sesemi', '--case=performance', *flags]), {})
    config = resolve(recipe, given, {})
    assert rehearsal.precision(config, switches.switch_options(config)) == words


def test_rounding_is_numpys_for_every_float16_and_between_them():
    values = np.arange(2 ** 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = values[np.isfinite(values)]
    values = np.concatenate([values, np.nextafter(values, np.inf), values * np.float32(1.0004)]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        rounded = session.run(emulation.round_to(tf.constant(values), 'float16', False))
        bfloat = session.run(emulation.round_to(tf.constant(values), 'bfloat16', False))
    assert (rounded == half(values)).all()
    assert (bfloat == values.astype(tf.bfloat16.as_numpy_dtype).astype(np.float32)).all()


@pytest.mark.parametrize('saturates, expected', [
    (True, [65504, -65504, 65504, 0]), (False, [np.inf, -np.inf, np.inf, np.nan])])
def test_beyond_the_range_a_chip_saturates_or_has_inf(saturates, expected):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant([1e5, -1e6, np.inf, np.nan], tf.float32)
        np.testing.assert_array_equal(session.run(emulation.round_to(x, 'float16', saturates)), expected)


def test_whatever_is_rounded_has_a_limit_operands_too():
    with tf.Graph().as_default() as graph:
        x = tf.constant(X) * 1e6
        y = tf.matmul(x, tf.constant(W))
        done = emulation.emulate(graph, precision_rules.rules('allow_fp32_to_fp16', '910', True))
        assert done.limits[x] == done.limits[y] == 65504


def test_the_gradient_of_a_kernel_stays_float32_and_that_of_the_input_does_not():
    images = np.random.RandomState(0).normal(size=[2, 6, 6, 3]).astype(np.float32)
    kernel = np.random.RandomState(1).normal(size=[3, 3, 3, 4]).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x, k = tf.constant(images), tf.constant(kernel)
        y = tf.nn.conv2d(x, k, 1, 'SAME')
        of_x, of_k = tf.gradients(tf.reduce_sum(y * y), [x, k])
        fetches = [tf.stop_gradient(of_x), tf.multiply(of_k, 1.)]
        emulation.emulate(graph, precision_rules.rules('allow_fp32_to_fp16', '910', True))
        with tf.Session() as session:
            of_x, of_k = session.run(fetches)
    assert (half(of_x) == of_x).all() and not (half(of_k) == of_k).all()


def test_mish_stays_finite_in_float16_on_a_chip_that_has_inf():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [5])
        y = tf.matmul(tf.eye(5), layers.mish(x)[:, None])
        slope, = tf.gradients(y, x)
        emulation.emulate(graph, precision_rules.rules('force_fp16', '910B', False))
        y, slope = session.run([y, slope], {x: [-1e4, -9, 0, 9, 1e4]})
        np.testing.assert_allclose(y[:, 0], [0, -9 * np.exp(-9), 0, 9, 1e4], rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(slope, [0, -8 * np.exp(-9), .6, 1, 1], rtol=3e-3, atol=1e-5)


def mixlist(tmp_path, **lists):
    path = tmp_path / 'mixlist.json'
    path.write_text(json.dumps({name.replace('_', '-'): change for name, change in lists.items()}))
    return str(path)


def test_an_operator_put_on_the_black_list_keeps_float32(tmp_path):
    path = mixlist(tmp_path, black_list={'to-add': ['MatMulV2']}, white_list={'to-remove': ['MatMulV2']})
    for plain, emulated in zip(dense(None), dense('allow_mix_precision', mixlist_file=path)):
        assert (plain == emulated).all()


def test_an_operator_put_on_the_white_list_is_narrow(tmp_path):
    path = mixlist(tmp_path, black_list={'to-remove': ['ReduceMeanD']}, white_list={'to-add': ['ReduceMeanD']})
    _, mean, _ = dense('allow_mix_precision', mixlist_file=path)
    assert half(mean) == mean


@pytest.mark.parametrize('chip, stops', [('910', True), ('910B', False)])
def test_a_mode_that_keeps_float32_tells_where_a_910_has_no_kernel_for_it(chip, stops, capfd):
    asked = SimpleNamespace(emulate_precision=True, emulate_chip=chip, npu_sat_mode=None, enable_hf32=None)
    with tf.Graph().as_default(), rehearsal.emulated(asked, {'precision_mode': 'must_keep_origin_dtype'}):
        tf.nn.conv2d(tf.zeros([1, 4, 4, 1]), tf.zeros([3, 3, 1, 1]), 1, 'SAME')
    told = 'Expect a 910 to stop in must_keep_origin_dtype: of this run it has only float16 kernels for 1 operators'
    assert (told in capfd.readouterr().out) == stops


def test_a_single_operators_types_can_be_customized(tmp_path):
    path = tmp_path / 'types.cfg'
    path.write_text('# by type\nOpType::MatMulV2:InputDtype:float32,float32,OutputDtype:float32\n')
    y, _, _ = dense('force_fp32', customize_dtypes=str(path))
    assert (y == dense(None)[0]).all()


def test_an_operator_that_keeps_its_type_is_left_alone():
    with tf.Graph().as_default() as graph:
        with graph._attr_scope({'_keep_dtype': tf.AttrValue(i=1)}):
            y = tf.matmul(tf.constant(X), tf.constant(W))
        y = tf.stop_gradient(y)
        emulation.emulate(graph, precision_rules.rules('allow_fp32_to_fp16', '910', True))
        with tf.Session() as session:
            np.testing.assert_array_equal(session.run(y), session.run(tf.matmul(tf.constant(X), tf.constant(W))))


@pytest.mark.parametrize('chip', ['910', '910B'])
def test_force_fp16_holds_variables_in_float16(chip):
    with tf.Graph().as_default() as graph:
        w, step = tf.get_variable('w', initializer=W), tf.train.get_or_create_global_step()
        average = tf.get_variable('average', [], trainable=False, initializer=tf.zeros_initializer())
        with keep_dtype():
            count = tf.get_variable('count', [], trainable=False, initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.matmul(tf.constant(X), w) ** 2)
        with tf.control_dependencies([tf.train.MomentumOptimizer(.1, .9).minimize(loss),
                                      tf.assign_add(average, 1 / 3), tf.assign_add(count, 1 / 3)]):
            train_op = tf.assign_add(step, 1).op
        emulation.emulate(graph, precision_rules.rules('force_fp16', chip, chip == '910'), train_op)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train_op)
            assert abs(session.run(w) - W).max() > .01  # the update has not been lost
            for variable in tf.global_variables('w') + [average]:
                values = session.run(variable)
                assert (half(values) == values).all() and values.any(), variable.name
            assert session.run(count) == np.float32(1 / 3)


def test_force_fp16_updates_weights_by_float16_gradients():
    def change(mode):
        with tf.Graph().as_default() as graph:
            w = tf.get_variable('w', initializer=np.zeros(2, np.float32))
            step = tf.train.get_or_create_global_step()
            with tf.control_dependencies([tf.train.GradientDescentOptimizer(1e3).apply_gradients(
                    [(tf.placeholder_with_default(np.float32([2e-8, 1]), [2]), w)])]):
                train_op = tf.assign_add(step, 1).op
            emulation.emulate(graph, precision_rules.rules(mode, '910', True), train_op)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train_op)
                return session.run(w).tolist()
    assert change('allow_mix_precision') == pytest.approx([-2e-5, -1e3])
    assert change('force_fp16') == [0., -1e3]          # float16 has no number between 0 and 6e-8
