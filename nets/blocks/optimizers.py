"""The optimizers that recipes choose from: Recipe.optimizer functions of (learning rate, Config)."""
import tensorflow as tf

from core.settings.config import Config

MOMENTUM = 0.9                 # where a network's own optimizer has none
KERAS_EPSILON = 1e-7           # of Keras's Adam; TensorFlow's own default is 1e-8


def momentum(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """Stochastic gradient descent with momentum, w <- w - learning_rate * a with a <- momentum * a + gradient.

    With --momentum=0 plain stochastic gradient descent.
    """
    return tf.train.MomentumOptimizer(learning_rate, config.momentum)


def nesterov(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """Stochastic gradient descent with Nesterov's momentum."""
    return tf.train.MomentumOptimizer(learning_rate, config.momentum, use_nesterov=True)


def adam(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """Adam (Kingma and Ba, arXiv 1412.6980) with Keras's epsilon."""
    del config
    return tf.train.AdamOptimizer(learning_rate, epsilon=KERAS_EPSILON)
