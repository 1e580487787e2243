"""The graph of a rehearsal in the forms in which GE dumps its own: ge_proto_..._Build.txt, and as JSON.

CANN's comparison tool finds a dumped operator's ground truth through this graph (`msaccucmp compare -f`), and so does
precision_tool. The text is what DUMP_GE_GRAPH=2 writes on an NPU (a ge.proto.ModelDef), the JSON what
`atc --mode=5 --om=ge_proto_..._Build.txt --json=FILE` makes of it.
"""
import json
import os
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import tensorflow as tf

from core.ascend.chip_operators import Forms, chip_type, ge_type
from core.ascend.diagnostics import step_graph

NAME = 'ge_proto_00000_rehearsal_Build'
_INDENT = '  '
# Values of GE's enumerations, which stand without quotes in the text.
_ENUMERATIONS = frozenset(('dtype',))


def write(directory: str, model_name: str, ops: Sequence[tf.Operation], forms: Forms) -> str:
    """Writes both files into `directory`, which is made; returns the path of the JSON.

    model_name: of the directory that the dumps of this graph lie in; ops: in an order of computation.
    """
    targets = _targets(ops)
    model = {'name': model_name, 'graph': [{'name': model_name, 'op': [
        dict(_operator(number, op, forms), **targets[op]) for number, op in enumerate(ops)]}]}
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, NAME)
    _write(path + '.txt', '\n'.join(_text(model)) + '\n')
    _write(path + '.json', json.dumps(model, indent=1))
    return path + '.json'


def _write(path: str, text: str) -> None:
    part = '%s.%d' % (path, os.getpid())     # ranks may write the same graph at the same time
    with open(part, 'w') as file:
        file.write(text)
    os.replace(part, path)


def _operator(number: int, op: tf.Operation, forms: Forms) -> Dict[str, Any]:
    sources = [step_graph.before_rounding(tensor) for tensor in op.inputs]
    return {
        'name': op.name, 'type': chip_type(op.type), 'id': number, 'stream_id': 0,
        'input': ['%s:%d' % (tensor.op.name, tensor.value_index) for tensor in sources] + [
            '%s:-1' % other.name for other in op.control_inputs if step_graph.ROUNDING not in other.name],
        'attr': [{'key': '_datadump_original_op_names', 'value': {'list': {'s': [op.name]}}}],
        'input_desc': [_described(tensor, forms, forms.operand_type(op, tensor)) for tensor in op.inputs],
        'output_desc': [dict(_described(tensor, forms, forms.data_type(tensor)),
                             attr=_origin(op, index, forms.layout(tensor, _ndims(tensor))))
                        for index, tensor in enumerate(op.outputs)]}


def _targets(ops: Sequence[tf.Operation]) -> Dict[tf.Operation, Dict[str, Any]]:
    """{operator: dst_name and dst_index}: the operators that get its outputs, as GE's ModelBuilder writes them.

    First, with the index -1, the operators that wait for it. Then a text for each output in use: the names of its
    operators, joined by colons, with the index that it has among the operands of the last one.
    """
    waiting: Dict[tf.Operation, List[str]] = {op: [] for op in ops}
    getting: Dict[tf.Operation, Dict[int, List[Tuple[str, int]]]] = {op: {} for op in ops}
    for op in ops:
        for index, tensor in enumerate(map(step_graph.before_rounding, op.inputs)):
            if tensor.op in getting:
                getting[tensor.op].setdefault(tensor.value_index, []).append((op.name, index))
        for other in op.control_inputs:
            if other in waiting:
                waiting[other].append(op.name)
    found = {}
    for op in ops:
        users = [users for _, users in sorted(getting[op].items())]
        joined = [[name for name, _ in named] for named in users]
        found[op] = {'dst_name': [':'.join(names) for names in [waiting[op], *joined] if names],
                     'dst_index': [-1] * bool(waiting[op]) + [named[-1][1] for named in users]}
    return found


def _described(tensor: tf.Tensor, forms: Forms, data_type: str) -> Dict[str, Any]:
    shape = [-1 if size is None else size for size in tensor.shape.as_list()] if tensor.shape.ndims else []
    return {'dtype': ge_type(data_type), 'layout': forms.layout(tensor, _ndims(tensor)),
            'shape': {'dim': shape}}


def _ndims(tensor: tf.Tensor) -> int:
    return tensor.shape.ndims or 0


def _origin(op: tf.Operation, index: int, layout: str) -> List[Dict[str, Any]]:
    return [{'key': '_datadump_origin_name', 'value': {'s': op.name}},
            {'key': '_datadump_origin_output_index', 'value': {'i': index}},
            {'key': '_datadump_origin_format', 'value': {'s': layout}}]


def _text(message: Dict[str, Any], depth: int = 0) -> Iterator[str]:
    """The lines of a message in protocol buffers' text format."""
    indent = _INDENT * depth
    for field, value in message.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield '%s%s {' % (indent, field)
                yield from _text(one, depth + 1)
                yield indent + '}'
            else:
                quoted = isinstance(one, str) and field not in _ENUMERATIONS
                yield '%s%s: %s' % (indent, field, json.dumps(one) if quoted else one)
