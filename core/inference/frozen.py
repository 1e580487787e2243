"""Frozen graphs: one input, one output, constants instead of variables, and nothing that inference does not need."""
from typing import Dict, List, Tuple

import numpy as np
import tensorflow as tf

from core import operators

Nodes = Dict[str, tf.compat.v1.NodeDef]


def freeze(session: tf.Session, output: tf.Tensor, name: str) -> tf.compat.v1.GraphDef:
    """The graph of `output`, which is called `name`: what depends on no placeholder becomes a constant of its value.

    Operators that pass their input on are taken out. A batch normalisation with constant statistics becomes part of
    the convolution or matrix product before it, or, where its input goes elsewhere too, a product and a sum.
    """
    graph_def = tf.graph_util.extract_sub_graph(session.graph.as_graph_def(), [output.op.name])
    operators.tell_unlisted(session.graph.get_operation_by_name(node.name) for node in graph_def.node)
    nodes = _without_identities({node.name: node for node in graph_def.node})
    last = _resolved(output.op.name, {node.name: node for node in graph_def.node})
    nodes = _with_constants(session, nodes, last)
    _fold_batch_norms(nodes)
    return _finished(nodes, last, name, graph_def.versions)


def values(node: tf.compat.v1.NodeDef) -> np.ndarray:
    """The value of a Const node."""
    return tf.make_ndarray(node.attr['value'].tensor)


def _split(reference: str) -> Tuple[str, int]:
    """(node, number of its output) of a reference such as `split:1`; control inputs stand before this."""
    name, _, number = reference.partition(':')
    return name, int(number or 0)


def _resolved(reference: str, nodes: Nodes) -> str:
    """The reference to what reaches `reference` through operators that pass their input on."""
    name, number = _split(reference)
    while operators.row(nodes[name].op).has('passes'):
        name, number = _split(nodes[name].input[number])
    return '%s:%d' % (name, number) if number else name


def _without_identities(nodes: Nodes) -> Nodes:
    kept = {}
    for name, node in nodes.items():
        if not operators.row(node.op).has('passes'):
            kept[name] = copy = tf.compat.v1.NodeDef()
            copy.CopyFrom(node)
            copy.device = ''
            for attribute in [attribute for attribute in copy.attr if attribute.startswith('_')]:
                del copy.attr[attribute]
            del copy.input[:]
            copy.input.extend(_resolved(one, nodes) for one in node.input if not one.startswith('^'))
    return kept


def _with_constants(session: tf.Session, nodes: Nodes, last: str) -> Nodes:
    """The nodes that depend on a placeholder, and a constant for each value that they take from the others."""
    is_constant = {}                   # TensorFlow lists nodes in the order in which they were made, inputs first
    for name, node in nodes.items():
        is_constant[name] = node.op == 'Const' or operators.row(node.op).has('variable') or (
            bool(node.input) and all(is_constant[_split(one)[0]] for one in node.input))
    varying = {name: node for name, node in nodes.items() if not is_constant[name]}
    wanted = sorted({one for node in varying.values() for one in node.input if is_constant[_split(one)[0]]})
    fetched = session.run(['%s:%d' % _split(one) for one in wanted])
    names = {one: one.replace(':', '_output_') for one in wanted}
    kept = {names[one]: constant_node(names[one], value) for one, value in zip(wanted, fetched)}
    for name, node in varying.items():
        inputs = [names.get(one, one) for one in node.input]
        del node.input[:]
        node.input.extend(inputs)
        kept[name] = node
    return kept


def constant_node(name: str, value: np.ndarray) -> tf.compat.v1.NodeDef:
    """A Const node."""
    node = tf.compat.v1.NodeDef(name=name, op='Const')
    node.attr['dtype'].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def _fold_batch_norms(nodes: Nodes) -> None:
    for node in [node for node in nodes.values() if operators.row(node.op).has('batch_norm')]:
        x, *constants = node.input
        gamma, beta, mean, variance = (values(nodes[name]).astype(np.float64) for name in constants)
        scale = gamma / np.sqrt(variance + node.attr['epsilon'].f)
        offset = beta - mean * scale
        users = _users(nodes)
        before = nodes[_split(x)[0]]
        if before.op == 'BiasAdd' and len(users[before.name]) == 1 and nodes[before.input[1]].op == 'Const':
            bias, below = values(nodes[before.input[1]]), nodes[_split(before.input[0])[0]]
        else:
            bias, below = 0., before
        if operators.row(below.op).has('layer') and len(users[below.name]) == 1 and nodes[below.input[1]].op == 'Const':
            _scale_kernel(nodes, below, scale)
            _become_bias(nodes, node, below.name, offset + bias * scale)
        else:
            product = tf.compat.v1.NodeDef(name=node.name + '/scaled', op='Mul', input=[x, node.name + '/scale'])
            product.attr['T'].type = tf.float32.as_datatype_enum
            nodes[product.name] = product
            nodes[product.input[1]] = constant_node(product.input[1], scale.astype(np.float32))
            _become_bias(nodes, node, product.name, offset)


def _users(nodes: Nodes) -> Dict[str, List[str]]:
    users = {name: [] for name in nodes}
    for node in nodes.values():
        for one in node.input:
            users[_split(one)[0]].append(node.name)
    return users


def _scale_kernel(nodes: Nodes, convolution: tf.compat.v1.NodeDef, scale: np.ndarray) -> None:
    """Multiplies the outputs of `convolution`, by a kernel of its own: another operator may share the old one."""
    name = convolution.name + '/folded_kernel'
    kernel = values(nodes[convolution.input[1]]) * scale
    nodes[name] = constant_node(name, kernel.astype(np.float32))
    convolution.input[1] = name


def _become_bias(nodes: Nodes, node: tf.compat.v1.NodeDef, x: str, bias: np.ndarray) -> None:
    """Turns a batch normalisation into the sum of `x` and `bias`."""
    name = node.name + '/bias'
    nodes[name] = constant_node(name, bias.astype(np.float32))
    node.Clear()
    node.MergeFrom(tf.compat.v1.NodeDef(name=name[:-len('/bias')], op='BiasAdd', input=[x, name]))
    node.attr['T'].type = tf.float32.as_datatype_enum
    node.attr['data_format'].s = b'NHWC'


def _finished(nodes: Nodes, last: str, name: str, versions) -> tf.compat.v1.GraphDef:
    """The GraphDef of what `last` depends on, in an order in which inputs come first; `last` is called `name`."""
    ordered, waiting = {}, [last]
    while waiting:
        node = nodes[waiting[-1]]
        missing = [one for one in (_split(reference)[0] for reference in node.input) if one not in ordered]
        waiting.extend(missing)
        if not missing:
            ordered[waiting.pop()] = node
    ordered[last].name = name
    return tf.compat.v1.GraphDef(node=ordered.values(), versions=versions)
