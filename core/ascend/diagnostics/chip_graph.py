"""GE's graph of a real run: which type every operator had on the chip.

Read from ge_proto_..._Build.txt, which DUMP_GE_GRAPH=2 writes (a ge.proto.ModelDef in protocol buffers' text format),
or from the JSON that `atc --mode=5` makes of it.
"""
import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from core import files
from core.errors import InputError

_TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*(?:([\w.+-]+|\[[^\]]*\])|("(?:[^"\\]|\\.)*")|([{}<>:;,]))')
_SPELLED = {'FLOAT': 'float32', 'DOUBLE': 'float64', 'BF16': 'bfloat16'}   # after DT_: as TensorFlow spells it


class ChipOperator(NamedTuple):
    """An operator of GE's graph."""
    name: str
    type: str
    originals: Tuple[str, ...]     # names of the operators of TensorFlow's graph that it is made of, in order
    operands: Tuple[str, ...]      # data types: float32, float16, ...
    results: Tuple[str, ...]


def read(path: str) -> List[ChipOperator]:
    """The operators of the graph in a file of either form. Raises InputError for a file that is neither."""
    try:
        text = files.text(path)
        model = files.json_of(text) if text.lstrip().startswith('{') else _message(_tokens(text))
        found = [_operator(op) for graph in _many(model['graph']) for op in _many(graph.get('op'))]
        if not found:
            raise ValueError('has no operators')
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError('--graph=%s: is no graph of GE: %s; give a ge_proto_..._Build.txt of DUMP_GE_GRAPH=2, or the '
                         'JSON that atc --mode=5 makes of it' % (
                             path, error if type(error) is ValueError else 'has another form')) from None
    return found


def _operator(op: Dict[str, Any]) -> ChipOperator:
    named = [attribute['value'] for attribute in _many(op.get('attr'))
             if _one(attribute['key']) == '_datadump_original_op_names']
    originals = [name for value in named for one in _many(value) for names in _many(one.get('list'))
                 for name in _many(names.get('s'))]
    operands, results = (tuple(_spelled(_one(described['dtype'])) for described in _many(op.get(which)))
                         for which in ('input_desc', 'output_desc'))
    return ChipOperator(_one(op['name']), _one(op['type']), tuple(filter(None, originals)) or (_one(op['name']),),
                        operands, results)


def _spelled(dtype: str) -> str:
    name = dtype[len('DT_'):] if dtype.startswith('DT_') else dtype
    return _SPELLED.get(name, name.lower())


def _many(value: Any) -> List[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _one(value: Any) -> str:
    one, = _many(value)
    if not isinstance(one, str):
        raise ValueError('has a name that is no text')
    return one


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while text[position:].strip() if len(text) - position < 80 else True:
        match = _TOKEN.match(text, position)
        if not match:
            raise ValueError('is not text of protocol buffers from character %d on' % position)
        position = match.end()
        yield match.group(match.lastindex)


def _message(tokens: Iterator[str], depth: int = 0) -> Dict[str, List[Any]]:
    """The fields of a message up to its closing brace, each a list."""
    found: Dict[str, List[Any]] = {}
    if depth > 60:
        raise ValueError('is nested too deeply')
    for field in tokens:
        if field in '}>':
            if depth:
                return found
            raise ValueError('closes a message that is not open')
        if field in ';,':
            continue
        word = next(tokens, '')
        if word == ':':
            word = next(tokens, '')
        if word in ('{', '<'):
            value: Any = _message(tokens, depth + 1)
        elif not word or word in '}>:;,':
            raise ValueError('has no value for %.40s' % field)
        else:
            value = _text(word) if word.startswith('"') else word
        found.setdefault(field, []).append(value)
    if depth:
        raise ValueError('ends within a message')
    return found


def _text(quoted: str) -> str:
    try:
        return json.loads(quoted)
    except ValueError:             # escapes that JSON does not have
        return quoted[1:-1]
