"""Compares two dumps operator by operator, as CANN's comparison tool (msaccucmp) does, and writes its csv.

Either side may be a dump of an NPU or the ground truth of a CPU or GPU (dump_files.py). Operators that GE fused or
renamed are found by the names in the dump itself or in the graph's JSON file.
"""
import csv
import math
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from core import files
from core.ascend.diagnostics import dump_files
from core.ascend.diagnostics.dump_files import INPUT, OUTPUT, DumpedTensor, safe_name
from core.errors import InputError

METRICS = ('CosineSimilarity', 'MaxAbsoluteError', 'AccumulatedRelativeError', 'RelativeEuclideanDistance',
           'KullbackLeiblerDivergence', 'StandardDeviation', 'MeanAbsoluteError', 'RootMeanSquareError',
           'MaxRelativeError', 'MeanRelativeError')
_MISSING = '*'                 # instead of the operator that the other side lacks
_EPSILON = np.finfo(np.float32).eps


class Row(NamedTuple):
    """One compared tensor; what could not be computed is NaN."""
    index: int                     # number of the operator in graph order, from 0
    op_type: str
    left: str                      # operator in the first directory, or *
    right: str                     # operator in the second directory, or *
    data_types: Tuple[str, str]
    kind: str                      # dump_files.INPUT or OUTPUT
    output: int                    # number of the tensor among its kind
    shape: str
    metrics: Dict[str, Any]        # a value for each of METRICS
    reason: str                    # why there is none, or ''

    @property
    def distance(self) -> float:
        """RelativeEuclideanDistance; infinite where the values could not be compared though both are there."""
        value = self.metrics['RelativeEuclideanDistance']
        return math.inf if math.isnan(value) and _MISSING not in (self.left, self.right) else value

    def cells(self, are_npu: Tuple[bool, bool]) -> List[Any]:
        """The row as it stands in the csv; are_npu: whether each side is a dump of an NPU, which has an address."""
        left_type, right_type = self.data_types
        name = self.left if self.left != _MISSING else self.right
        left_address, right_address = (['NaN'] if is_npu else [] for is_npu in are_npu)
        return [self.index, self.op_type, self.left, left_type, *left_address, self.right, right_type, *right_address,
                '%s:%s:%d' % (name, self.kind, self.output), self.shape, *(_cell(self.metrics[m]) for m in METRICS),
                self.reason]


def columns(are_npu: Tuple[bool, bool]) -> List[str]:
    """The csv's header."""
    left_address, right_address = (['Address'] if is_npu else [] for is_npu in are_npu)
    return ['Index', 'OpType', 'NPUDump', 'DataType', *left_address, 'GroundTruth', 'DataType', *right_address,
            'TensorIndex', 'Shape', *METRICS, 'CompareFailReason']


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else 'NaN' if math.isnan(value) else '%.6f' % value


class Comparison(NamedTuple):
    """Two compared dumps."""
    rows: List[Row]                # of inputs and outputs
    are_npu: Tuple[bool, bool]     # whether each side is a dump of an NPU

    @property
    def outputs(self) -> List[Row]:
        """The rows of outputs."""
        return [row for row in self.rows if row.kind == OUTPUT]


_Key = Tuple[str, str, int]        # name in the framework's graph, kind, number


def compare(left: str, right: str, graph: Optional[str] = None) -> Comparison:
    """A Row for each output that either directory holds, and for each input that both do, in graph order.

    graph: GE's graph as JSON (made by `atc --mode=5`), for operators that were fused or renamed; with it the inputs in
    a dump of an NPU are compared with the outputs that they are in the ground truth.
    Raises InputError when a directory holds no dump, nothing matches, or a file is damaged.
    """
    described = read_graph(graph) if graph else _Graph({}, {})
    dumps = dump_files.tensors_of(left), dump_files.tensors_of(right)
    lefts, rights = (_by_original(tensors, described.originals) for tensors in dumps)
    if not set(lefts) & set(rights):
        raise InputError('%s and %s: no operator is in both; where GE has fused or renamed them, give its graph with '
                         '--graph=FILE.json' % (left, right))
    rows: List[Row] = []
    numbers: Dict[str, int] = {}
    for key in _merged(lefts, rights):
        pair = [side.get(key) or side.get(_source(key, described)) for side in (lefts, rights)]
        if key[1] == INPUT and None in pair:
            continue
        name = (lefts.get(key) or rights[key]).name
        rows.append(_row(numbers.setdefault(name, len(numbers)), key, *pair))
    return Comparison(rows, tuple(any(tensor.npu_name for tensor in tensors) for tensors in dumps))


def _source(key: _Key, described: '_Graph') -> Optional[_Key]:
    """The key of the output that an input is."""
    name, kind, number = key
    source = described.sources.get((name, number)) if kind == INPUT else None
    return source and (source[0], OUTPUT, source[1])


def _by_original(tensors: Iterable[DumpedTensor], originals) -> Dict[_Key, DumpedTensor]:
    """{key: tensor}, in the order of `tensors`."""
    named = {}
    for tensor in tensors:
        name, number = tensor.name, tensor.index
        if tensor.kind == OUTPUT:
            name, number = originals.get((name, number), (tensor.original_name or name, number))
        named[name, tensor.kind, number] = tensor
    return named


def _merged(lefts: Sequence[Any], rights: Sequence[Any]) -> List[Any]:
    """The keys of both, in the order of `rights`; a key of `lefts` alone comes after the key before it."""
    merged, index = list(rights), -1
    known = {key: index for index, key in enumerate(merged)}
    extra: Dict[int, List[Any]] = {}
    for key in lefts:
        if key in known:
            index = known[key]
        else:
            extra.setdefault(index, []).append(key)
    ordered = list(extra.get(-1, []))
    for index, key in enumerate(merged):
        ordered += [key] + extra.get(index, [])
    return ordered


class _Graph(NamedTuple):
    """What is in GE's graph, with names as files have them."""
    originals: Dict[Tuple[str, int], Tuple[str, int]]  # (operator of GE, output) -> (operator of TensorFlow, output)
    sources: Dict[Tuple[str, int], Tuple[str, int]]    # (operator of GE, input) -> (operator of TensorFlow, output)


def read_graph(path: str) -> _Graph:
    """The _Graph in the JSON file `path`. Raises InputError when the file is no such graph."""
    try:
        ops = [op for graph in files.json_object(path)['graph'] for op in graph.get('op', [])]
        originals = dict(pair for op in ops for pair in _originals_of(op))
        sources = {one: originals.get(source, source) for op in ops for one, source in _sources_of(op)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = error if type(error) is ValueError else 'has another form'
        raise InputError('--graph=%s: not a graph of GE as JSON: %s; make one with '
                         'atc --mode=5 --om=ge_proto_..._Build.txt --json=FILE' % (path, why)) from None
    return _Graph(originals, sources)


def _sources_of(op: Dict[str, Any]):
    """The pairs ((operator, input), (operator of GE, output)) that one operator of the graph has."""
    inputs = [one.rpartition(':') for one in op.get('input', []) if one and not one.endswith(':-1')]
    for number, (name, _, output) in enumerate(inputs):
        yield (safe_name(op['name']), number), (safe_name(name), int(output))


def _originals_of(op: Dict[str, Any]):
    """The pairs of names that one operator of the graph has."""
    name = safe_name(op['name'])
    fused = _attributes(op).get('_datadump_original_op_names', {}).get('list', {}).get('s', [])
    for index, described in enumerate(op.get('output_desc', [])):
        attributes = _attributes(described)
        original = attributes.get('_datadump_origin_name', {}).get('s') or (fused[-1] if fused else '')
        if original:
            origin_index = int(attributes.get('_datadump_origin_output_index', {}).get('i', 0))
            yield (name, index), (safe_name(original), origin_index)


def _attributes(described: Dict[str, Any]) -> Dict[str, Any]:
    return {attribute['key']: attribute['value'] for attribute in described.get('attr', [])}


def _row(index: int, key: _Key, left: Optional[DumpedTensor], right: Optional[DumpedTensor]) -> Row:
    _, *which = key
    op_type = next((output.op_type for output in (left, right) if output and output.op_type), 'NaN')
    names = [tensor.name if tensor else _MISSING for tensor in (left, right)]
    if not (left and right):
        return Row(index, op_type, *names, ('NaN', 'NaN'), *which, 'NaN', _no_metrics(),
                   'only one of the dumps has this operator')
    ours, theirs = left.read(), right.read()
    types = str(ours.dtype), str(theirs.dtype)
    shape = '[%s]' % ','.join(map(str, ours.shape))
    if ours.size != theirs.size:
        return Row(index, op_type, *names, types, *which, shape, _no_metrics(),
                   'the shapes differ: %s and %s' % (list(ours.shape), list(theirs.shape)))
    values, reason = metrics(ours, theirs)
    return Row(index, op_type, *names, types, *which, shape, values, reason)


def _no_metrics() -> Dict[str, Any]:
    return dict.fromkeys(METRICS, math.nan)


def metrics(ours: np.ndarray, theirs: np.ndarray) -> Tuple[Dict[str, Any], str]:
    """({metric: value}, reason) of two arrays of one size; `theirs` is the reference. The formulas are msaccucmp's."""
    if 'c' in (ours.dtype.kind, theirs.dtype.kind):   # complex numbers are compared as pairs of real ones
        ours, theirs = (np.ravel(values).astype(np.complex128).view(np.float64) for values in (ours, theirs))
    x, y = (np.ravel(values).astype(np.float64) for values in (ours, theirs))
    if not x.size:
        return _of_equal(), 'there are no values'
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        if np.array_equal(np.nan_to_num(x), np.nan_to_num(y)) and np.array_equal(np.isnan(x), np.isnan(y)):
            return _of_equal(), 'NaN or infinite values, the same in both'
        return _no_metrics(), 'NaN or infinite values'
    difference = np.abs(x - y)
    large = np.abs(y) > _EPSILON
    relative = difference[large] / np.abs(y[large])
    return {
        'CosineSimilarity': _cosine(x, y),
        'MaxAbsoluteError': difference.max(),
        'AccumulatedRelativeError': relative.sum(),
        'RelativeEuclideanDistance': _quotient(np.linalg.norm(x - y), np.linalg.norm(y)),
        'KullbackLeiblerDivergence': _divergence(x, y),
        'StandardDeviation': '(%.3f;%.3f),(%.3f;%.3f)' % (x.mean(), x.std(), y.mean(), y.std()),
        'MeanAbsoluteError': difference.mean(),
        'RootMeanSquareError': math.sqrt((difference ** 2).mean()),
        'MaxRelativeError': relative.max() if relative.size else 0.,
        'MeanRelativeError': relative.mean() if relative.size else 0.,
    }, ''


def _of_equal() -> Dict[str, Any]:
    """The metrics of an array without values, or with NaN or infinite ones, and its copy."""
    zeros = dict.fromkeys(METRICS, 0.)
    return dict(zeros, CosineSimilarity=1., StandardDeviation='(NaN;NaN),(NaN;NaN)')


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    if lengths == 0:
        return 1. if not x.any() and not y.any() else 0.
    return float(x @ y / lengths)


def _quotient(distance: float, length: float) -> float:
    return distance / length if length else 0. if distance == 0 else math.inf


def _divergence(x: np.ndarray, y: np.ndarray) -> float:
    """KL divergence of the values, shifted and scaled to 0..1, as distributions."""
    def distribution(values):
        span = values.max() - values.min()
        scaled = np.maximum((values - values.min()) / span if span else values, _EPSILON)
        return scaled / scaled.sum()
    p, q = distribution(x), distribution(y)
    return float((p * np.log(p / q)).sum())


def write_csv(path: str, comparison: Comparison) -> None:
    """Writes all rows in the form of the comparison tool's result_TIME.csv."""
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(columns(comparison.are_npu))
        writer.writerows(row.cells(comparison.are_npu) for row in comparison.rows)


def first_beyond(rows: Iterable[Row], threshold: float) -> Optional[Row]:
    """The first row in graph order with a RelativeEuclideanDistance above `threshold`."""
    return next((row for row in rows if row.distance > threshold), None)


def worst(rows: Iterable[Row], count: int) -> List[Row]:
    """The `count` rows of the largest RelativeEuclideanDistance, the largest first, without equal ones."""
    return sorted((row for row in rows if row.distance > 0), key=lambda row: -row.distance)[:count]
