"""Compares two dumps operator by operator: python3 -m launchers.compare DIR_A DIR_B [--graph=FILE.json] [--flag=value].

Either directory holds the dump of one step: of an NPU, or ground truth of a CPU or GPU. Prints the first operator
beyond the threshold and the worst ones, and writes result_TIME.csv, as CANN's comparison tool has it, and a page.
"""
import argparse
import os
import sys
import time
from typing import Sequence

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')     # TensorFlow's start-up lines would hide the answer

from core.ascend.diagnostics import comparison  # noqa: E402
from core.errors import InputError, RunEnd  # noqa: E402
from core.pages import comparison_page  # noqa: E402
from core.settings import kinds  # noqa: E402

DIFFERENT = 1                  # exit status when an operator is beyond the threshold
WORST = 20


def main(argv: Sequence[str]) -> int:
    """The exit status: 0 within the threshold, 1 beyond it, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        compared = comparison.compare(arguments.left, arguments.right, arguments.graph)
        rows = compared.outputs
        first = comparison.first_beyond(rows, arguments.threshold)
        print('%d outputs compared, of %d in either directory' % (
            sum(not row.reason for row in rows), len(rows)))
        print(_verdict(first, arguments.threshold))
        for row in comparison.worst(rows, WORST):
            print('  %-12.6g %-12.6g %s:%d' % (row.distance, row.metrics['CosineSimilarity'], row.left, row.output))
        os.makedirs(arguments.output, exist_ok=True)
        path = os.path.join(arguments.output, 'result_%s.csv' % time.strftime('%Y%m%d%H%M%S'))
        if os.path.lexists(path):
            raise InputError('%s: is there; compare once more, a second later, or into another --output' % path)
        comparison.write_csv(path, compared)
        page = comparison_page.write(os.path.splitext(path)[0] + '.html', rows, first, arguments.threshold,
                                     comparison.worst(rows, WORST))
        print('%s\n%s' % (path, page))
        return DIFFERENT if first else 0
    except RunEnd as end:
        print(end, file=sys.stderr)
        return end.status
    except OSError as error:
        print('%s: %s' % (error.filename, error.strerror), file=sys.stderr)
        return 1


def _verdict(first, threshold) -> str:
    if first is None:
        return 'every operator is within the threshold of %g' % threshold
    return 'the first operator beyond the threshold of %g is number %d: %s:%d (%s), relative Euclidean distance %g' % (
        threshold, first.index, first.left, first.output, first.op_type, first.distance)


def _threshold(text):
    """A number >= 0; float() alone would take nan, with which everything is equal."""
    try:
        return kinds.number(least=0).parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python3 -m launchers.compare', allow_abbrev=False,
        description='Compares the dumps of a step in two directories; the second one is the reference.')
    parser.add_argument('left', metavar='DIR_A', help='dump files of an NPU, or NAME.INDEX.TIMESTAMP.npy files')
    parser.add_argument('right', metavar='DIR_B', help='the reference, of either form')
    parser.add_argument('--graph', metavar='FILE.json', help='graph of GE (atc --mode=5), which tells what was fused')
    parser.add_argument('--threshold', type=_threshold, default=0.01, metavar='X',
                        help='largest relative Euclidean distance that counts as equal (default: %(default)s)')
    parser.add_argument('--output', default='.', metavar='DIR', help='where the csv and the page go (default: here)')
    return parser


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
