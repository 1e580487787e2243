"""Kernels for the CPU that are compiled for this machine: convolutions and matrix products of oneDNN, layers in one
pass over their tensors, and what input pipelines do with pictures.

launchers/shell/kernels.sh compiles the C++ files of this directory when the project is set up. A kernel has the label
"fast" and the name and semantics of one of TensorFlow's own operators, so the graph is that of every other device and
TensorFlow's gradients apply. Where the library is missing, because there is no compiler or the machine is another one
than it was compiled for, the graph keeps TensorFlow's kernels.
"""
import contextlib
import functools
import hashlib
import os
from typing import AbstractSet, Any, Callable, Iterator, Optional, Tuple

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue

from core import operators
from core.operators import own_operators

DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, '.kernels')
_LABEL = AttrValue(s=b'fast')
_TYPES = operators.types_with('compiled')
# What is before the output layer of a perceptron with a normalised hidden layer, and of an exported one.
_HIDDEN = ('Reshape', 'Relu', 'BiasAdd', 'MatMul')
_PERCEPTRONS = ('Squeeze', 'FusedBatchNormV3', *_HIDDEN), ('Squeeze', 'BiasAdd', 'Mul', *_HIDDEN)
_ACTIVATIONS = {'Relu': 'relu', 'LeakyRelu': 'leaky_relu', 'Mish': 'mish'}
# How often a thread of OpenMP looks for work of the next operator before it sleeps. Threads that look 20,000 times keep
# TensorFlow's own threads and the input pipeline from a core, which makes a step of swa half as long again; threads
# that sleep at once make a step of cutmix a third longer.
_SPIN_COUNT = '1000'


@functools.lru_cache(maxsize=None)
def library() -> Optional[Any]:
    """The module of the library's operators, which this call loads; None without a library of these sources for this
    machine."""
    try:
        with open(os.path.join(DIRECTORY, 'cpu')) as cpu, open(os.path.join(DIRECTORY, 'sources')) as sources:
            if cpu.read().strip() != cpu_flags() or set(sources.read().splitlines()) != _sources():
                return None
    except OSError:
        return None
    os.environ.setdefault('GOMP_SPINCOUNT', _SPIN_COUNT)
    try:
        return tf.load_op_library(os.path.join(DIRECTORY, 'kernels.so'))
    except tf.errors.NotFoundError:    # another build of TensorFlow than that it was compiled for
        return None


def _sources():
    """The C++ files of this directory as sha256sum prints them."""
    here, found = os.path.dirname(os.path.abspath(__file__)), set()
    for name in os.listdir(here):
        if name.endswith(('.cc', '.h')):
            with open(os.path.join(here, name), 'rb') as file:
                found.add('%s  %s' % (hashlib.sha256(file.read()).hexdigest(), name))
    return found


def shared_exchange() -> Optional[Callable]:
    """Device.shared_exchange: the operator of core/cpu/kernels/shared_memory.cc; None without a library."""
    return library() and library().shared_exchange


def cpu_flags() -> str:
    """The instruction sets of this machine's CPU, as /proc/cpuinfo names them."""
    with open('/proc/cpuinfo') as lines:
        return next((line.strip() for line in lines if line.startswith('flags')), '')


@contextlib.contextmanager
def used(may_differ: bool) -> Iterator[None]:
    """The context in which a graph is built that then has the library's kernels; there must be a library().

    may_differ: whether the graph may have operators that TensorFlow itself does not have.
    """
    functions = {'mish': library().mish, 'batch_norm': _batch_norm, 'perceptron': _perceptron,
                 'normalized_colors': library().normalized_colors} if may_differ else {}
    names = ('round_to', 'round_variable', 'is_within')
    with own_operators({**{name: getattr(library(), name) for name in names}, **functions}):
        yield
    if may_differ:
        _drop_idle_operators()
        _join_mish()
        _join_convolutions()
        _join_perceptrons()
        _join_class_scores()
        _join_weight_decay()
        _open_gates()
        _join_updates()
    for op in tf.get_default_graph().get_operations():
        if op.type in _TYPES and op.get_attr('T') == tf.float32 and _is_covered(op):
            op._set_attr('_kernel', _LABEL)


def replace(old: tf.Tensor, new: tf.Tensor, but: AbstractSet[tf.Operation] = frozenset()) -> None:
    """Gives `new` to all that take `old` in a graph that is complete; but: operators that keep it."""
    for consumer in (op for op in old.consumers() if op not in but):
        for i, x in enumerate(consumer.inputs):
            if x is old:
                consumer._update_input(i, new)


def _drop_idle_operators():
    """Leaves out what changes nothing once the gradients are built, such as tf.nn's reshapes of what has the form."""
    for op in tf.get_default_graph().get_operations():
        if op.type in ('StopGradient', 'Reshape'):
            x, y = op.inputs[0], op.outputs[0]
            if op.type == 'StopGradient' or _form(x) == _form(y) is not None:
                replace(y, x)


def _form(tensor):
    """The static shape without the first size, which has to be what the others leave; None where more is unknown."""
    shape = tensor.shape[1:]
    return (tensor.shape.rank, *shape.as_list()) if shape.is_fully_defined() else None


def _join_mish():
    """Replaces each x * tanh(softplus(x)), which is what an exported graph has, by one operator."""
    for op in tf.get_default_graph().get_operations():
        if op.type == 'Mul' and op.get_attr('T') == tf.float32 and op.inputs[1].op.type == 'Tanh':
            softplus = op.inputs[1].op.inputs[0].op
            if softplus.type == 'Softplus' and softplus.inputs[0] is op.inputs[0]:
                replace(op.outputs[0], library().mish(op.inputs[0]))


def _join_convolutions():
    """Replaces each convolution and what follows it, bias, batch norm by averages, shortcut and activation, by one
    operator, where nobody else takes the tensors between, such as a gradient."""
    for op in tf.get_default_graph().get_operations():
        if op.type != 'Conv2D' or op.get_attr('T') != tf.float32 or not _is_covered(op) or _is_conditional(op):
            continue
        last, biases, batch_norm, shortcut, epsilon, activation, alpha = op, [], [], [], 0., 'identity', 0.
        user = _only_user(last)
        if user and user.type == 'BiasAdd':
            biases, last, user = [user.inputs[1]], user, _only_user(user)
        if user and user.type == 'FusedBatchNormV3' and not user.get_attr('is_training') and _is_covered(user):
            batch_norm, epsilon, last, user = user.inputs[1:], user.get_attr('epsilon'), user, _only_user(user)
        if user and user.type in ('Add', 'AddV2') and _shape(user.inputs[0]) == _shape(user.inputs[1]) is not None:
            shortcut, last, user = [x for x in user.inputs if x.op is not last], user, _only_user(user)
        if user and user.type in _ACTIVATIONS:
            activation, last = _ACTIVATIONS[user.type], user
            alpha = user.get_attr('alpha') if activation == 'leaky_relu' else 0.
        if last is not op:
            replace(last.outputs[0], library().convolution_activation(
                *op.inputs, biases, batch_norm, shortcut, activation=activation, alpha=alpha, epsilon=epsilon,
                name=op.name + '/ConvolutionActivation', **{
                    name: op.get_attr(name) for name in ('strides', 'padding', 'explicit_paddings', 'dilations')}))


def _join_perceptrons():
    """Replaces each perceptron with a hidden layer that is normalised by averages by one operator.

    In an exported graph a product and a sum have become of the batch norm.
    """
    for product in tf.get_default_graph().get_operations():
        of_norm, of_export = (_before(product, types) for types in _PERCEPTRONS)
        *_, norm, _, _, bias, hidden = of_norm or of_export or [None] * 5
        if not hidden or _is_conditional(product) or any(
                op.inputs[0].dtype != tf.float32 or op.get_attr('transpose_a') or op.get_attr('transpose_b')
                for op in (product, hidden)):
            continue
        units = hidden.outputs[0].shape[-1:]
        if norm.outputs[0].shape.as_list()[1:] != [1, 1, *units.as_list()] or norm.inputs[1].shape != units:
            continue
        if of_norm and not norm.get_attr('is_training'):
            gamma, beta, *averages = norm.inputs[1:]
            epsilon = norm.get_attr('epsilon')
        elif of_export:
            gamma, beta, epsilon = norm.inputs[1], of_export[1].inputs[1], 0.
            averages = [tf.zeros(units), tf.ones(units)]
        else:
            continue
        last, offset = product, tf.zeros(product.outputs[0].shape[-1:])
        user = _only_user(product)
        if user and user.type == 'BiasAdd' and user.outputs[0].consumers():    # not what is fetched
            last, offset = user, user.inputs[1]
        replace(last.outputs[0], library().perceptron(
            *hidden.inputs, bias.inputs[1], gamma, beta, product.inputs[1], offset, averages, epsilon=epsilon)[0])


def _join_class_scores():
    """Replaces the cross entropy of logits and one-hot labels of classes, and whether the largest logit is that of the
    class, by one operator where nobody takes the gradient, which a cross entropy computes, too."""
    for op in tf.get_default_graph().get_operations():
        if op.type != 'SoftmaxCrossEntropyWithLogits' or op.get_attr('T') != tf.float32 or not _is_covered(op) or \
                op.outputs[1].consumers() or _is_conditional(op):
            continue
        logits, labels = op.inputs
        if labels.op.type != 'OneHot' or not _is_covered(labels.op) or labels.op.get_attr('TI') != tf.int32 or [
                tf.get_static_value(value) for value in labels.op.inputs[2:]] != [1, 0]:
            continue
        classes = labels.op.inputs[0]
        losses, right = library().class_scores(logits, classes, name=op.name + '/ClassScores')
        replace(op.outputs[0], losses)
        for largest in _users(logits, 'ArgMax'):
            for equal in _users(largest.outputs[0], 'Equal'):
                for cast in _users(equal.outputs[0], 'Cast'):
                    if any(x is classes for x in equal.inputs) and cast.get_attr('DstT') == tf.float32 and \
                            tf.get_static_value(largest.inputs[1]) in (1, -1):
                        replace(cast.outputs[0], right)


def _users(tensor, kind):
    """The operators of a type that take the tensor."""
    return [op for op in tensor.consumers() if op.type == kind]


def _before(op, types):
    """The operators of these types, one the first input of the other, the last of which is op's; [] for others."""
    found = []
    if op.type == 'MatMul':
        for kind in types:
            op = op.inputs[0].op
            if op.type != kind or len(op.outputs[0].consumers()) != 1:
                return []
            found.append(op)
    return found


def _only_user(op):
    """The operator that takes the first output of `op`, as its first input or by a sum; None where several do."""
    users = op.outputs[0].consumers()
    is_alone = len(users) == 1 and not any(x.consumers() for x in op.outputs[1:]) and not users[0].control_inputs
    return users[0] if is_alone and (users[0].inputs[0].op is op or users[0].type in ('Add', 'AddV2')) else None


def _shape(tensor):
    """The static shape, of which only the batch may be unknown; None where more is, or the rank."""
    shape = tensor.shape.as_list() if tensor.shape.ndims == 4 else [None, None]
    return None if None in shape[1:] else shape


def _is_conditional(op):
    """Whether an operator is in a branch or a loop, which no operator outside of it may read."""
    return op._get_control_flow_context() is not None


def _join_weight_decay():
    """Replaces each sum of a gradient and that of an L2Loss, which is rate * weights, by one operator.

    The two would write and read the weights' size of memory twice more, which counts in a network of large kernels.
    """
    for op in tf.get_default_graph().get_operations():
        if op.type != 'AddN' or len(op.inputs) != 2 or op.get_attr('T') != tf.float32:
            continue
        decay = next((x.op for x in op.inputs if x.op.type == 'Mul' and x.op.inputs[1].shape.rank == 0), None)
        if decay is None or decay.inputs[0].shape != op.outputs[0].shape:
            continue
        gradient = next(x for x in op.inputs if x.op is not decay)
        replace(op.outputs[0], library().add_weight_decay(
            gradient, *decay.inputs, name=op.name + '/AddWeightDecay'))


def _open_gates():
    """Leaves uncomputed what nobody uses, such as the gradient of the images, which costs as much as any other, and
    gradients of one operator without what would let them wait for each other.

    TensorFlow lets the gradients of an operator's inputs wait for each other, and computes all of them for it.
    """
    for gate in tf.get_default_graph().get_operations():
        if gate.type == 'NoOp' and gate.name.endswith('tuple/group_deps'):
            gradients = [op for op in gate._control_outputs if op.type == 'Identity' and op.outputs[0].consumers()]
            computing = _without_repeats(op.inputs[0].op for op in gradients)
            gate._remove_all_control_inputs()
            gate._add_control_inputs(computing)
            if len(computing) == 1:
                for op in gradients:
                    replace(op.outputs[0], op.inputs[0])


def _join_updates():
    """Replaces each exchange of gradients and the updates by them, where all are of momentum, by one operator.

    Every rank then reads the gradients of all ranks and writes its weights, and nobody the means, which would be two
    more passes over memory as large as the weights.
    """
    joined, no_decay = {}, tf.zeros([])
    for exchange in tf.get_default_graph().get_operations():
        if exchange.type != 'SharedExchange' or (exchange.get_attr('what'), exchange.get_attr('T')) != (
                b'mean', tf.float32):
            continue
        consumers = [mean.consumers() for mean in exchange.outputs]
        updates = [ops[0] for ops in consumers if len(ops) == 1 and ops[0].type == 'ApplyMomentum']
        shared = {(*update.inputs[2::2], update.get_attr('use_nesterov')) for update in updates}  # rate, momentum
        if len(updates) < len(consumers) or len(shared) > 1 or not all(map(_is_covered, updates)):
            continue
        (rate, momentum, use_nesterov), = shared
        gradients, decays = zip(*(_decay(*pair) or (pair[0], no_decay) for pair in zip(exchange.inputs, updates)))
        with tf.control_dependencies(_without_repeats(op for update in updates for op in update.control_inputs)):
            joined.update(dict.fromkeys(updates, library().shared_momentum(
                *([update.inputs[i] for update in updates] for i in (0, 1)), rate, gradients, momentum, decays,
                use_nesterov, *map(exchange.get_attr, ('descriptor', 'offset', 'rank', 'ranks')))))
    for op in _without_repeats(op for update in joined for op in update._control_outputs):
        before = _without_repeats(joined.get(each, each) for each in op.control_inputs)
        op._remove_all_control_inputs()
        op._add_control_inputs(before)


def _decay(gradient, update):
    """(gradient without, decay) of a gradient with the weight decay of the variable that `update` writes, or None."""
    op = gradient.op
    return (op.inputs[0], op.inputs[2]) if (
        op.type == 'AddWeightDecay' and op.inputs[1].op.inputs[0] is update.inputs[0]) else None


def _without_repeats(operations):
    return list(dict.fromkeys(operations))


def _is_covered(op):
    if op.type in ('ApplyMomentum', 'ApplyAdam'):
        return not op.get_attr('use_locking')
    first, *others = (x.shape for x in op.inputs)
    if op.type == 'SoftmaxCrossEntropyWithLogits':     # without labels that are broadcast
        return first.as_list() == others[0].as_list()
    if op.type == 'ArgMax':
        return tf.get_static_value(op.inputs[1]) in (-1, (first.rank or 0) - 1)     # of the last axis
    if op.type == 'OneHot':
        return op.get_attr('axis') == -1 and op.get_attr('TI') in (tf.int32, tf.int64)
    return 'data_format' not in op.node_def.attr or op.get_attr('data_format') == b'NHWC'


def _batch_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, activation: Callable,
                shortcut: Optional[tf.Tensor]) -> Optional[Tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """(activation(normalised x + shortcut), mean, unbiased variance) of training images; None where no kernel has the
    activation.

    A bias that was added to x changes the mean alone, so it need not be added to every value.
    """
    name, alpha = _name(activation)
    if name is None or x.dtype != tf.float32:
        return None
    biases = [x.op.inputs[1]] if x.op.type == 'BiasAdd' else []
    images = x.op.inputs[0] if biases else x
    return tuple(library().batch_norm_activation(
        images, biases, [] if shortcut is None else [shortcut], gamma, beta, epsilon, name, alpha)[:3])


def _name(activation):
    if isinstance(activation, functools.partial) and activation.func is tf.nn.leaky_relu:
        return 'leaky_relu', activation.keywords['alpha']
    return {'relu': 'relu', 'mish': 'mish'}.get(activation.__name__), 0.


@tf.RegisterGradient('BatchNormActivation')
def _batch_norm_gradient(op, dy, *_):
    x, *others, gamma, beta = op.inputs
    n, epsilon, activation, alpha = (op.get_attr(name) for name in ('n', 'epsilon', 'activation', 'alpha'))
    dx, dgamma, dbeta, dshortcut = library().batch_norm_activation_grad(
        dy, x, others[n:], gamma, beta, *op.outputs[3:], epsilon, activation.decode(), alpha)
    return [dx] + [tf.zeros_like(bias) for bias in others[:n]] + dshortcut + [dgamma, dbeta]


def _perceptron(logits: tf.Tensor) -> tf.Tensor:
    """The training logits of a perceptron with a batch-normalised hidden layer: one operator in place of the chain.

    The updates of batch norm's averages take their values from it, too, so the chain is not computed. A batch norm that
    --freeze keeps as it is stays in the chain.
    """
    output, product = logits.op, logits.op.inputs[0].op
    norm = product.inputs[0].op.inputs[0].op
    if not norm.get_attr('is_training'):
        return logits
    hidden = norm.inputs[0].op.inputs[0].op.inputs[0].op       # behind a reshape and a ReLU
    y, mean, variance, _ = library().perceptron(
        *hidden.inputs[0].op.inputs, hidden.inputs[1], *norm.inputs[1:3], product.inputs[1], output.inputs[1],
        averages=[], epsilon=norm.get_attr('epsilon'))
    replace(norm.outputs[1], mean)
    replace(norm.outputs[2], variance)
    return y


@tf.RegisterGradient('Perceptron')
def _perceptron_gradient(op, dy, *_):
    return [None, *library().perceptron_grad(dy, *op.inputs[:6], op.outputs[1], op.outputs[3], op.get_attr('epsilon'))]


@tf.RegisterGradient('Mish')
def _mish_gradient(op, dy):
    return library().mish_grad(dy, op.inputs[0])
