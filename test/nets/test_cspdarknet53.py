"""CSPDarknet53 has the paper's shape, learns, and tests an image alike alone and in a batch."""
import margins
import numpy as np
import pytest
import tensorflow as tf

from core.ascend.diagnostics import fusions
from nets import cspdarknet53 as cspdarknet
from nets.cspdarknet53 import Stage, cspdarknet53

# Without Grappler a network of this depth starts in a fraction of the time.
CONFIG = tf.ConfigProto()
CONFIG.graph_options.rewrite_options.disable_meta_optimizer = True


# The same network in small, for what does not depend on its size.
SMALL = [Stage(16, 1, 16, 8), Stage(32, 1, 16, 16), Stage(64, 2, 32, 32), Stage(64, 1, 32, 32), Stage(64, 1, 32, 32)]


@pytest.fixture(scope='module')
def graph():
    with tf.Graph().as_default() as graph:
        cspdarknet53(tf.placeholder(tf.float32, [8, 32, 32, 3]), True)
        return graph


def conv_bn(taps, c, o):
    return taps * taps * c * o + 2 * o


def expected_parameters():
    """Counted from the paper's table, not from the code's."""
    total, c = conv_bn(3, 3, 32) + 1024 * 10 + 10, 32
    for width, blocks in [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)]:
        half = width if width == 64 else width // 2
        bottleneck = width // 2
        total += conv_bn(3, c, width) + 2 * conv_bn(1, width, half)
        total += blocks * (conv_bn(1, half, bottleneck) + conv_bn(3, bottleneck, half))
        total += conv_bn(1, half, half) + conv_bn(1, 2 * half, width)
        c = width
    return total


@pytest.mark.slow
def test_has_the_parameters_of_the_paper(graph):
    variables = graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)
    assert sum(v.shape.num_elements() for v in variables) == expected_parameters() == 26627434


@pytest.mark.slow
def test_every_kernel_starts_as_the_learning_rate_of_1e_3_wants_it(monkeypatch):
    monkeypatch.setattr(cspdarknet, 'STAGES', SMALL)
    with tf.Graph().as_default(), tf.Session() as sess:
        cspdarknet53(tf.zeros([2, 32, 32, 3]), True)
        kernels = [v for v in tf.trainable_variables() if v.op.name.endswith('/kernel')]
        sess.run(tf.global_variables_initializer())
        values = np.concatenate([kernel.ravel() for kernel in sess.run(kernels)])
    # A normal distribution of std 0.01 cut off at two of these has a std of 0.0088.
    assert abs(values).max() <= 0.02 and values.std() == pytest.approx(0.0088, rel=0.01)


def test_has_72_convolutions_from_32x32_down_to_1x1(graph):
    convolutions = [op for op in graph.get_operations() if op.type == 'Conv2D']
    assert len(convolutions) == 72
    sizes = [op.outputs[0].shape[1].value for op in convolutions]
    assert [sizes.count(size) for size in (32, 16, 8, 4, 2, 1)] == [1, 7, 9, 21, 21, 13]


def test_at_224_the_maps_have_the_sizes_of_the_authors_network_for_imagenet():
    with tf.Graph().as_default() as graph:
        cspdarknet53(tf.placeholder(tf.float32, [1, 224, 224, 3]), False)
        sizes = [op.outputs[0].shape[1].value for op in graph.get_operations() if op.type == 'Conv2D']
    # The convolutions of cfg/csdarknet53.cfg of github.com/WongKinYiu/CrossStagePartialNetworks, but for the classifier
    assert [sizes.count(size) for size in (224, 112, 56, 28, 14, 7)] == [1, 7, 9, 21, 21, 13]


@pytest.mark.slow
def test_the_test_network_shares_everything_with_the_training_network(monkeypatch):
    monkeypatch.setattr(cspdarknet, 'STAGES', SMALL)
    with tf.Graph().as_default():
        logits = cspdarknet53(tf.zeros([4, 32, 32, 3]), True, classes=7)
        variables = tf.global_variables()
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        cspdarknet53(tf.placeholder(tf.float32, [None, 32, 32, 3]), False, classes=7)
        assert logits.shape.as_list() == [4, 7]
        assert tf.global_variables() == variables
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == updates


@pytest.mark.slow
@pytest.mark.margin
def test_learns_colours_and_tests_a_single_image_as_in_a_batch(monkeypatch):
    monkeypatch.setattr(cspdarknet, 'STAGES', SMALL)
    labels = np.arange(32) % 4
    values = np.random.RandomState(0)
    colours = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [-2, -2, -2]])
    batch = colours[labels][:, None, None, :] + values.randn(32, 32, 32, 3)
    with tf.Graph().as_default():
        tf.set_random_seed(margins.SEED)
        images = tf.constant(batch, tf.float32)
        logits = cspdarknet53(images, True, classes=4)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        optimizer = tf.train.MomentumOptimizer(1e-2, 0.9)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = optimizer.minimize(loss)
        test_images = tf.placeholder(tf.float32, [None, 32, 32, 3])
        test_logits = cspdarknet53(test_images, False, classes=4)
        with tf.Session(config=CONFIG) as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(16):
                sess.run(train)
            together = sess.run(test_logits, {test_images: batch})
            alone = sess.run(test_logits, {test_images: batch[:1]})
            margins.above('cspdarknet53: right of 32 that it was trained on', sum(together.argmax(1) == labels), 20)
            np.testing.assert_allclose(alone, together[:1], rtol=1e-3, atol=1e-3)


def test_every_mish_of_the_inference_graph_is_one_that_cann_fuses():
    with tf.Graph().as_default() as graph:
        cspdarknet53(tf.placeholder(tf.float32, [8, 32, 32, 3]), False)
        mish, = [one for one in fusions.find(graph.get_operations()) if one.name == 'SoftplusTanhMulPass']
        activations = sum(op.type == 'Softplus' for op in graph.get_operations())
    assert (len(mish.hits), mish.misses) == (activations, []) and activations == 72
