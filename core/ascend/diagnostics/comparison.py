"""Compares two dumps operator by operator, as CANN's comparison tool (msaccucmp) does, and writes its csv.

Either side may be a dump of an NPU or the ground truth of a CPU or GPU (dump_files.py). Operators that GE fused or
renamed are found by the names that the dump itself or the graph's JSON file tells.
"""
import csv
import math
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from core import files
from core.ascend.diagnostics import dump_files
from core.ascend.diagnostics.dump_files import Output, safe_name
from core.errors import InputError

METRICS = ('CosineSimilarity', 'MaxAbsoluteError', 'AccumulatedRelativeError', 'RelativeEuclideanDistance',
           'KullbackLeiblerDivergence', 'StandardDeviation', 'MeanAbsoluteError', 'RootMeanSquareError',
           'MaxRelativeError', 'MeanRelativeError')
COLUMNS = ('Index', 'OpType', 'NPUDump', 'DataType', 'Address', 'GroundTruth', 'DataType', 'TensorIndex',
           'Shape') + METRICS + ('CompareFailReason',)
_MISSING = '*'                 # in place of the operator that the other side lacks
_EPSILON = np.finfo(np.float32).eps


class Row(NamedTuple):
    """One compared output; what could not be computed is NaN."""
    index: int                     # place in graph order, from 0
    op_type: str
    left: str                      # operator in the first directory, or *
    right: str                     # operator in the second directory, or *
    data_types: Tuple[str, str]
    output: int
    shape: str
    metrics: Dict[str, Any]        # a value for each of METRICS
    reason: str                    # why there is none, or ''

    @property
    def distance(self) -> float:
        """RelativeEuclideanDistance; infinite where the values could not be compared though both are there."""
        value = self.metrics['RelativeEuclideanDistance']
        return math.inf if math.isnan(value) and _MISSING not in (self.left, self.right) else value

    def cells(self) -> List[Any]:
        """The row as it stands in the csv."""
        left_type, right_type = self.data_types
        name = self.left if self.left != _MISSING else self.right
        return [self.index, self.op_type, self.left, left_type, 'NaN', self.right, right_type,
                '%s:output:%d' % (name, self.output), self.shape, *(_cell(self.metrics[m]) for m in METRICS),
                self.reason]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else 'NaN' if math.isnan(value) else '%.6f' % value


def compare(left: str, right: str, graph: Optional[str] = None) -> List[Row]:
    """A Row for each output that either directory holds, in graph order.

    graph: GE's graph as JSON (made by `atc --mode=5`), for operators that were fused or renamed.
    Raises InputError when a directory holds no dump, nothing matches, or a file is damaged.
    """
    originals = original_names(graph) if graph else {}
    lefts = _by_original(dump_files.outputs_of(left), originals)
    rights = _by_original(dump_files.outputs_of(right), originals)
    if not set(lefts) & set(rights):
        raise InputError('%s and %s: no operator is in both; where GE has fused or renamed them, give its graph with '
                         '--graph=FILE.json' % (left, right))
    return [_row(index, lefts.get(key), rights.get(key)) for index, key in enumerate(_merged(lefts, rights))]


def _by_original(outputs: Iterable[Output], originals) -> Dict[Tuple[str, int], Output]:
    """{(name, index) in the framework's graph: Output}, in the order of `outputs`."""
    named = {}
    for output in outputs:
        key = originals.get((output.name, output.index), (output.original_name or output.name, output.index))
        named[key] = output
    return named


def _merged(lefts: Sequence[Any], rights: Sequence[Any]) -> List[Any]:
    """The keys of both, in the order of `rights`; those of `lefts` alone come after the key before them."""
    merged, place = list(rights), -1
    known = {key: index for index, key in enumerate(merged)}
    extra: Dict[int, List[Any]] = {}
    for key in lefts:
        if key in known:
            place = known[key]
        else:
            extra.setdefault(place, []).append(key)
    ordered = list(extra.get(-1, []))
    for index, key in enumerate(merged):
        ordered += [key] + extra.get(index, [])
    return ordered


def original_names(path: str) -> Dict[Tuple[str, int], Tuple[str, int]]:
    """{(operator of GE, output): (operator of TensorFlow, output)} from the graph JSON `path`, as safe names.

    Raises InputError when the file is no such graph.
    """
    try:
        graphs = files.json_object(path)['graph']
        return dict(pair for graph in graphs for op in graph.get('op', []) for pair in _originals_of(op))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = error if type(error) is ValueError else 'has another form'
        raise InputError('--graph=%s: not a graph of GE as JSON: %s; make one with '
                         'atc --mode=5 --om=ge_proto_..._Build.txt --json=FILE' % (path, why)) from None


def _originals_of(op: Dict[str, Any]):
    """The pairs of original_names() that one operator of the graph tells."""
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


def _row(index: int, left: Optional[Output], right: Optional[Output]) -> Row:
    there = left or right
    op_type = next((output.op_type for output in (left, right) if output and output.op_type), 'NaN')
    names = [output.name if output else _MISSING for output in (left, right)]
    if not (left and right):
        return Row(index, op_type, *names, ('NaN', 'NaN'), there.index, 'NaN', _no_metrics(),
                   'only one of the dumps has this operator')
    ours, theirs = left.read(), right.read()
    types = str(ours.dtype), str(theirs.dtype)
    shape = str(list(ours.shape))
    if ours.size != theirs.size:
        return Row(index, op_type, *names, types, there.index, shape, _no_metrics(),
                   'the shapes differ: %s and %s' % (list(ours.shape), list(theirs.shape)))
    values, reason = metrics(ours, theirs)
    return Row(index, op_type, *names, types, there.index, shape, values, reason)


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


def write_csv(path: str, rows: Iterable[Row]) -> None:
    """Writes the rows in the form of the comparison tool's result_TIME.csv."""
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(row.cells() for row in rows)


def first_beyond(rows: Iterable[Row], threshold: float) -> Optional[Row]:
    """The first row in graph order whose RelativeEuclideanDistance is above `threshold`."""
    return next((row for row in rows if row.distance > threshold), None)


def worst(rows: Iterable[Row], count: int) -> List[Row]:
    """The `count` rows of the largest RelativeEuclideanDistance, the largest first."""
    return sorted((row for row in rows if not math.isnan(row.distance)), key=lambda row: -row.distance)[:count]
