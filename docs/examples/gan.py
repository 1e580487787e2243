"""A GAN (Goodfellow et al. 2014, arXiv 1406.2661): bash test/train_performance_1p.sh --network=docs/examples/gan.py

Two losses in one step: the discriminator sees generated points as if they were data, the generator is judged by a
discriminator of which the weights are constants. One optimizer moves both at the same time; its momentum is that of
Radford et al. 2015, arXiv 1511.06434. Built-in data: points near an ellipse; --data_path has train.npz and test.npz of
the same points as x and as y, [n, 2] float32. About 20 seconds to an `apart` of 0.3, with --ema_decay=0.99.
"""
import numpy as np
import tensorflow as tf

from core.recipe import Head, Recipe, Scores, Total
from data import inputs
from data.arrays import arrays
from data.dataset import DataSet, Split
from nets import layers
from nets.blocks import heads, schedules


def load(config):
    """The DataSet."""
    if not config.synthetic:
        return arrays(config.data_path)
    random = np.random.RandomState(0)
    angle = random.uniform(0, 2 * np.pi, 1280)
    x = np.stack([1 + 2 * np.cos(angle), np.sin(angle)], 1) + .1 * random.normal(size=[1280, 2])
    return DataSet(*(Split(part, part) for part in np.split(x.astype(np.float32), [1024])), ())


def network(x, scope, size, getter=None):
    """[n, size] of [n, k], with weights below gan/`scope`, which getter(getter, ...) changes."""
    with tf.variable_scope('gan/' + scope, reuse=tf.AUTO_REUSE, custom_getter=getter):
        for _ in range(2):
            x = tf.nn.leaky_relu(layers.dense(x, 64))
        return layers.dense(x, size)


def net(x, is_training):
    """Points [n, 2] of the generator; logits [n, 1] of data, and of the points for either network."""
    del is_training
    points = network(x['noise'], 'generator', 2)
    return {'points': points, 'data': network(x['points'], 'discriminator', 1),
            'fake': network(tf.stop_gradient(points), 'discriminator', 1),
            'judged': network(points, 'discriminator', 1, lambda getter, **args: tf.stop_gradient(getter(**args)))}


def score(outputs, labels, config):
    """Both losses; `apart`: the largest difference of the means of points and squares, generated and data."""
    losses = tf.add_n([tf.nn.softplus(sign * outputs[name][:, 0]) for name, sign in (
        ('data', -1), ('fake', 1), ('judged', -1))])
    ours, true = (tf.concat([x, x ** 2], 1) for x in (outputs['points'], labels))
    return Scores(losses, {'apart': Total(tf.concat([ours - true, tf.ones_like(ours[:, :1])], 1), lambda sums: float(
        abs(sums[:-1] / sums[-1]).max()))})


BATCH = lambda x, y, seed: ({'noise': tf.random.stateless_normal([x.shape[0].value, 8], seed), 'points': x}, y)  # noqa
RECIPE = Recipe(
    defaults=dict(train_epochs=60, batch_size=64, learning_rate=1e-3, weight_decay=0., display_step=160, val_epoch=10),
    load=load, **inputs.of_data_set(BATCH, BATCH), learning_rate=schedules.constant,
    optimizer=lambda learning_rate, config: tf.train.AdamOptimizer(learning_rate, .5),
    model=heads.model(net, Head(score, 'apart', smaller_is_better=True, of_outputs=False)))
