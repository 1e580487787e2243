"""The benchmark's own sums and its flags; what it measures needs a quiet machine and no test."""
import pytest
import tensorflow as tf

import benchmark
import flops
from core.errors import InputError
from nets import layers


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def test_a_convolution_of_the_images_is_counted_forward_and_for_its_kernel(graph):
    layers.conv2d(tf.zeros([2, 8, 8, 3]), 5, 3, strides=2)
    # 2 images of 4 x 4 positions and 5 channels, each the sum of 3 x 3 x 3 products
    assert flops.training_step(graph) == 2 * (2 * 4 * 4 * 5 * 27 * 2)


def test_a_later_convolution_is_counted_for_its_input_as_well(graph):
    maps = layers.conv2d(tf.zeros([2, 8, 8, 3]), 5, 1)
    layers.conv2d(maps, 7, (3, 1), padding='VALID')
    first, second = flops.layers(graph)
    assert first.training == 2 * (2 * 8 * 8 * 5 * 3 * 2)
    assert second.training == 3 * (2 * 6 * 8 * 7 * (3 * 1 * 5) * 2)


def test_a_dense_layer_is_counted(graph):
    hidden = layers.dense(tf.zeros([16, 2]), 50)
    layers.dense(tf.nn.relu(hidden), 3)
    assert flops.training_step(graph) == 2 * (2 * 16 * 2 * 50) + 3 * (2 * 16 * 50 * 3)


@pytest.mark.parametrize('flag', ['--network=lenet', '--with=jax', '--with=', '--steps=0', '--seconds=1e3', '--sec=5',
                                  'cspnet'])
def test_a_flag_that_is_wrong_is_refused(flag):
    with pytest.raises(InputError):
        benchmark.parser().parse_args([flag])
