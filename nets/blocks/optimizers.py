"""The optimizers that recipes choose from: Recipe.optimizer functions of (learning rate, Config).

adamw, lamb and lars decay the weights themselves, by --weight_decay and only those with two axes and more: no biases,
no scales and offsets of a normalisation. A network that has one of them needs no penalty.
"""
from typing import Any, Optional, Sequence, Tuple

import tensorflow as tf

from core.device import keep_dtype
from core.settings.config import Config

Pairs = Sequence[Tuple[Any, tf.Variable]]      # of gradients, None where there is none, and their variables

MOMENTUM = 0.9                 # where a network's own optimizer has none
KERAS_EPSILON = 1e-7           # of Keras's Adam; TensorFlow's own default is 1e-8
WEIGHT_DECAY = 0.01            # where a network has none, and its optimizer decays the weights
LAMB_EPSILON = 1e-6            # of the authors' code


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


def ftrl(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """FTRL-Proximal (McMahan et al. 2013) without its own penalties: for embeddings and linear models."""
    del config
    return tf.train.FtrlOptimizer(learning_rate)


def adamw(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101): beside Adam's step
    w <- w - learning_rate * weight_decay * w."""
    # Here, because importing tf.contrib takes more than a second.
    from tensorflow.contrib.opt import AdamWOptimizer

    class AdamW(AdamWOptimizer):
        """Decays those of the variables that are to be."""

        def apply_gradients(self, grads_and_vars: Pairs, global_step: Optional[tf.Variable] = None,
                            name: Optional[str] = None) -> tf.Operation:
            pairs = list(grads_and_vars)
            decayed = [v for _, v in pairs if decays(v)] or [None]     # of [] the class makes all
            # The class decays a weight without a look at the gradients: it could do so before they have read it.
            with tf.control_dependencies([gradient for gradient, _ in pairs]):
                return super().apply_gradients(pairs, global_step, name, decayed)
    return Around(AdamW(learning_rate * config.weight_decay, learning_rate, epsilon=KERAS_EPSILON))


def lars(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """LARS (You et al., arXiv 1708.03888): momentum with a learning rate for each layer, by the norm of its weights."""
    from tensorflow.contrib.opt import LARSOptimizer
    others = [v.name for v in tf.trainable_variables() if not decays(v)]
    return Around(LARSOptimizer(learning_rate, config.momentum, config.weight_decay, skip_list=others))


def lamb(learning_rate: tf.Tensor, config: Config) -> tf.train.Optimizer:
    """LAMB (You et al., arXiv 1904.00962), for large batches."""
    return Around(Lamb(learning_rate, config.weight_decay))


class Around(tf.train.Optimizer):
    """An optimizer around another one. Its arithmetic is float32 in every precision mode."""

    def __init__(self, optimizer: tf.train.Optimizer):
        super().__init__(use_locking=False, name=type(self).__name__)
        self._optimizer = optimizer

    def compute_gradients(self, *args: Any, **kwargs: Any) -> Pairs:
        """As the other optimizer."""
        return self._optimizer.compute_gradients(*args, **kwargs)

    def apply_gradients(self, grads_and_vars: Pairs, global_step: Optional[tf.Variable] = None,
                        name: Optional[str] = None) -> tf.Operation:
        """Updates the variables, and adds 1 to `global_step`."""
        pairs = [(gradient, variable) for gradient, variable in grads_and_vars if gradient is not None]
        with keep_dtype():
            return self._applied(pairs, global_step)

    def _applied(self, pairs, global_step):
        return self._optimizer.apply_gradients(pairs, global_step)


class Lamb(tf.train.AdamOptimizer):
    """Adam's direction with decoupled weight decay, made as long in each layer as the layer's weights."""

    def __init__(self, learning_rate: tf.Tensor, weight_decay: float):
        super().__init__(learning_rate, epsilon=LAMB_EPSILON, name='Lamb')
        self._weight_decay = weight_decay

    def _apply_dense(self, grad, var):
        m, v = self.get_slot(var, 'm'), self.get_slot(var, 'v')
        power_1, power_2 = self._get_beta_accumulators()
        mean = self._beta1_t * m + (1 - self._beta1_t) * grad
        square = self._beta2_t * v + (1 - self._beta2_t) * grad ** 2
        direction = mean / (1 - power_1) / (tf.sqrt(square / (1 - power_2)) + self._epsilon_t)
        ratio = 1.
        if decays(var):
            direction += self._weight_decay * var
            lengths = tf.norm(var), tf.norm(direction)
            ratio = tf.where(tf.minimum(*lengths) > 0, tf.div_no_nan(*lengths), 1.)
        return tf.group(var.assign_sub(self._lr_t * ratio * direction), m.assign(mean), v.assign(square))

    def _apply_sparse(self, grad, var):
        return self._apply_dense(tf.convert_to_tensor(grad), var)

    def _resource_apply_dense(self, grad, handle):
        return self._apply_dense(grad, handle)

    def _resource_apply_sparse(self, grad, handle, indices):
        return self._apply_dense(tf.convert_to_tensor(tf.IndexedSlices(grad, indices, tf.shape(handle))), handle)


def decays(variable: tf.Variable) -> bool:
    """Whether the optimizers above decay a variable."""
    return variable.shape.ndims > 1
