"""Which of CANN's documented fusions the graph of a training step hits, and what breaks the others.

A rule finds the sites that a fusion is for, in the graph as the adapter hands it over, and checks at each of them
whether the pattern of CANN's pass is there. The conditions are from the passes' sources (canndev and ops-nn) and from
CANN's reference of graph and UB fusions; whether the compiler then fuses depends on sizes as well.
"""
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow as tf

from core.ascend.diagnostics import step_graph

_VARIABLES = ('VariableV2', 'Variable', 'VarHandleOp')
_BATCH_NORMS = ('FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3')
_ADDS = ('Add', 'AddV2')


class Site(NamedTuple):
    """Operators to which a fusion is meant to apply."""
    op: tf.Operation               # its first operator
    broken_by: Optional[tf.Operation]  # the operator that is not of the pattern; None: the pattern is there
    why: str = ''                  # what is wrong, and what to do


class Fusion(NamedTuple):
    """What a fusion finds in a graph."""
    name: str                      # of CANN's pass, as in a fusion_switch_file
    makes: str                     # what of what
    hits: List[Site]
    misses: List[Site]


class _Graph:
    """The operators of a step, without what only rounds or hands on."""

    def __init__(self, ops: Sequence[tf.Operation]):
        self.ops = [op for op in ops if step_graph.ROUNDING not in op.name]
        self._users: Dict[tf.Tensor, List[Tuple[tf.Operation, int]]] = {}
        for op in self.ops:
            if op.type != 'Identity':
                for index, tensor in enumerate(op.inputs):
                    self._users.setdefault(_source(tensor), []).append((op, index))

    def users(self, op: tf.Operation, output: int = 0) -> List[tf.Operation]:
        """The operators that get an output."""
        return [user for user, _ in self._users.get(op.outputs[output], [])]

    def of(self, *types: str) -> Iterator[tf.Operation]:
        """The operators of some types."""
        return (op for op in self.ops if op.type in types)


def _source(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor that a value comes from, past Identity and what rounds."""
    tensor = step_graph.before_rounding(tensor)
    while tensor.op.type == 'Identity':
        tensor = step_graph.before_rounding(tensor.op.inputs[0])
    return tensor


def _operands(op: tf.Operation) -> List[tf.Operation]:
    return [_source(tensor).op for tensor in op.inputs]


def _is_constant(op: tf.Operation) -> bool:
    """Whether GE can fold an operator to a constant, because it comes from constants alone."""
    seen, waiting = set(), [op]
    while waiting:
        op = waiting.pop()
        if op.type in _VARIABLES or op.type.startswith(('Placeholder', 'Iterator', 'Random', 'Stateless')):
            return False
        if op not in seen:
            seen.add(op)
            waiting += [tensor.op for tensor in op.inputs]
    return True


def _bias(layer: Sequence[str], name: str) -> Callable[[_Graph], Iterable[Site]]:
    def sites(graph: _Graph) -> Iterator[Site]:
        for op in graph.of(*layer):
            users = graph.users(op)
            added = [user for user in users if user.type == 'BiasAdd'
                     or user.type in _ADDS and any(one.type in _VARIABLES for one in _operands(user))]
            if not added:
                continue
            if added[0].type != 'BiasAdd':
                yield Site(op, added[0], 'an Add of a variable instead of BiasAdd: use tf.nn.bias_add')
            elif len(users) > 1:
                other = next(user for user in users if user is not added[0])
                yield Site(op, other, 'the %s before the bias is used by another operator, too' % name)
            else:
                yield Site(op, None)
    return sites


def _mish(graph: _Graph) -> Iterator[Site]:
    for softplus in graph.of('Softplus'):
        tanh = next((user for user in graph.users(softplus) if user.type == 'Tanh'), None)
        product = tanh and next((user for user in graph.users(tanh) if user.type == 'Mul'
                                 and _source(softplus.inputs[0]) in map(_source, user.inputs)), None)
        if not product:
            continue
        others = [user for user in graph.users(softplus) if user is not tanh]
        others += [user for user in graph.users(tanh) if user is not product]
        yield Site(softplus, others[0] if others else None, 'Softplus or Tanh is used by the backward pass, too: in '
                   'training this is never fused, in an exported graph it is' if others else '')


def _batch_norm(graph: _Graph) -> Iterator[Site]:
    for op in graph.of(*_BATCH_NORMS):
        if op.get_attr('is_training'):
            yield Site(op, None)
    for op in graph.of('SquaredDifference'):
        if op.name.endswith('moments/SquaredDifference'):
            yield Site(op, op, 'a batch norm made of tf.nn.moments: use nets.layers.batch_norm, or '
                       'tf.compat.v1.nn.fused_batch_norm')


def _batch_norm_gradient(graph: _Graph) -> Iterator[Site]:
    return (Site(op, None) for op in graph.of('FusedBatchNormGrad', 'FusedBatchNormGradV2', 'FusedBatchNormGradV3'))


def _conv_batch_norm(is_narrow: Callable[[tf.Operation], bool]) -> Callable[[_Graph], Iterable[Site]]:
    def sites(graph: _Graph) -> Iterator[Site]:
        for op in graph.of('Conv2D'):
            users = graph.users(op)
            direct = next((user for user in users if user.type in _BATCH_NORMS), None)
            between = next((user for user in users if user.type == 'BiasAdd' and any(
                after.type in _BATCH_NORMS for after in graph.users(user))), None)
            if direct and not is_narrow(op):
                yield Site(op, op, 'the convolution is not in float16: choose a --precision_mode that makes it')
            elif direct:
                yield Site(op, None)
            elif between:
                yield Site(op, between, 'a bias before batch norm, which takes it out again: leave it away')
    return sites


def _norm_eltwise(graph: _Graph) -> Iterator[Site]:
    for op in graph.of(*_BATCH_NORMS):
        if not op.get_attr('is_training'):
            continue
        user = next(iter(graph.users(op)), None)
        if user is None:
            continue
        if user.type in ('Relu', 'LeakyRelu', 'Relu6', *_ADDS):
            yield Site(op, None)
        else:
            yield Site(op, user, '%s after batch norm, where the pass knows Relu, LeakyRelu and Add' % user.type)


def _norm_add_relu(graph: _Graph) -> Iterator[Site]:
    for op in graph.of(*_ADDS, 'AddN'):
        norms = [one for one in _operands(op) if one.type in _BATCH_NORMS]
        if not norms:
            continue
        relu = next((user for user in graph.users(op) if user.type == 'Relu'), None)
        others = [user for user in graph.users(op) if user.type not in ('Relu', 'ReluGrad')]
        if relu is None:
            yield Site(op, next(iter(others), op), 'no Relu after the sum')
        else:
            yield Site(op, None)


def _relu(graph: _Graph) -> Iterator[Site]:
    for op in graph.of('Relu'):
        users = graph.users(op)
        yield Site(op, None) if any(user.type == 'ReluGrad' for user in users) else Site(
            op, next(iter(users), op), 'no gradient passes this Relu')


def _weight_decay(graph: _Graph) -> Iterator[Site]:
    for loss in graph.of('L2Loss'):
        variable = _operands(loss)[0]
        if variable.type not in _VARIABLES:
            continue
        product = next((user for user in graph.users(variable) if user.type == 'Mul'
                        and any(after.type == 'AddN' for after in graph.users(user))), None)
        if product is None:
            continue
        total = next(user for user in graph.users(product) if user.type == 'AddN')
        after = graph.users(loss)
        scalar = next((one for one in _operands(product) if one is not variable), variable)
        if len(total.inputs) != 2:
            yield Site(loss, total, 'the gradient has %d parts, where the pass wants two' % len(total.inputs))
        elif len(after) != 1 or after[0].type != 'AddN':
            yield Site(loss, next(iter(after), loss), 'L2Loss has to go into one AddN alone: tf.add_n of all of them')
        elif _operands(product)[0] is not variable:
            yield Site(loss, product, 'the variable is not the first operand of Mul')
        elif _operands(total)[0] is not product:
            yield Site(loss, total, 'the decay is not the first part of the gradient: add the penalty before the loss '
                       'of the data')
        elif not _is_constant(scalar):
            yield Site(loss, scalar, 'the factor of the decay is no constant')
        else:
            yield Site(loss, None)


def _scaled_momentum(graph: _Graph) -> Iterator[Site]:
    for update in graph.of('ApplyMomentum', 'ResourceApplyMomentum'):
        product = _operands(update)[3]
        if product.type != 'Mul':
            continue
        if not any(_is_constant(one) and one.outputs[0].shape.ndims == 0 for one in _operands(product)):
            yield Site(update, product, 'the gradient is scaled by no constant: a static --loss_scale is one')
        elif len(graph.users(product)) > 1:
            yield Site(update, next(user for user in graph.users(product) if user is not update),
                       'the scaled gradient is used by another operator, too')
        else:
            yield Site(update, None)


def _pool(graph: _Graph) -> Iterator[Site]:
    for op in graph.of('MaxPool'):
        gradient = next((user for user in graph.users(op) if user.type == 'MaxPoolGrad'), None)
        yield Site(op, None) if gradient else Site(op, op, 'no gradient passes this pooling')


def _log_softmax(graph: _Graph) -> Iterator[Site]:
    for op in graph.of('LogSoftmax'):
        gradient = next((user for user in graph.users(op) if user.type == 'Exp'), None)
        yield Site(op, None) if gradient else Site(op, op, 'no gradient passes this LogSoftmax')


def _transpose(graph: _Graph) -> Iterator[Site]:
    for op in graph.of('Transpose'):
        beside = [one for one in [*_operands(op)[:1], *graph.users(op)] if one.type == 'Reshape']
        yield Site(op, None) if beside else Site(
            op, op, 'a Transpose without a Reshape beside it moves all of its values: build the layers in one layout')


def find(ops: Sequence[tf.Operation], is_narrow: Callable[[tf.Operation], bool] = lambda op: True) -> List[Fusion]:
    """What each fusion finds among the operators of a step; fusions without a site are left out.

    is_narrow(op): whether the chip gives the result of a convolution in float16.
    """
    graph, found = _Graph(ops), []
    for name, makes, sites in (
            ('AABiasaddConvFusion', 'Conv2D + BiasAdd: one convolution', _bias(('Conv2D',), 'convolution')),
            ('MatMulBiasAddFusionPass', 'MatMul + BiasAdd: one product', _bias(('MatMul',), 'product')),
            ('FusedBatchnormFusionPass', 'batch norm: BNTrainingReduce + BNTrainingUpdate', _batch_norm),
            ('FusedBatchNormGradFusionPass', 'its gradient: BNTrainingUpdateGrad + BNTrainingReduceGrad',
             _batch_norm_gradient),
            ('TbeConvBnreduceFusionPass', 'Conv2D + BNTrainingReduce', _conv_batch_norm(is_narrow)),
            ('TbeBnupdateEltwiseFusionPass', 'BNTrainingUpdate + Relu', _norm_eltwise),
            ('TbeBnupdateEltwiseEltwiseFusionPass', 'BNTrainingUpdate + Add + Relu', _norm_add_relu),
            ('DreluFusionPass', 'Relu + ReluGrad: ReluV2 with a mask of bits + ReluGradV2', _relu),
            ('SoftplusTanhMulPass', 'Softplus + Tanh + Mul: Mish', _mish),
            ('MaxPoolWithArgmaxFusionPass', 'MaxPool + MaxPoolGrad: with argmax', _pool),
            ('MulAddNL2LossFusionPass', 'weight decay: Mul + AddN', _weight_decay),
            ('A_MomentumLossscaleFusionPass', 'unscaled gradient: Mul + ApplyMomentum', _scaled_momentum),
            ('LogSoftmaxGradFusionPass', 'gradient of LogSoftmax: one operator', _log_softmax),
            ('TransposeReshapeFusionPass', 'Transpose + Reshape: ConfusionTranspose', _transpose)):
        known = list(sites(graph))
        if known:
            found.append(Fusion(name, makes, [one for one in known if one.broken_by is None],
                                [one for one in known if one.broken_by is not None]))
    return found


def lines(found: Sequence[Fusion], most: int = 3) -> List[str]:
    """The fusions in words; of each reason for a miss the first `most` lines of code."""
    said = []
    for fusion in found:
        said.append('%-36s %4d hit %4d missed   %s' % (
            fusion.name, len(fusion.hits), len(fusion.misses), fusion.makes))
        for why, misses in by_reason(fusion.misses):
            said.append('    %d x %s' % (len(misses), why))
            made = list(dict.fromkeys(step_graph.line_of(one.broken_by) for one in misses))
            said += ['        %s' % line for line in made[:most]] + ['        and %d more lines' % (
                len(made) - most)] * (len(made) > most)
    return said


def by_reason(misses: Sequence[Site]) -> List[Tuple[str, List[Site]]]:
    """The sites of each reason, the most frequent reason first."""
    groups: Dict[str, List[Site]] = {}
    for one in misses:
        groups.setdefault(one.why, []).append(one)
    return sorted(groups.items(), key=lambda item: -len(item[1]))
