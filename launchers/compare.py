"""Compares two dumps operator by operator: python3 -m launchers compare DIR_A DIR_B [--graph=FILE.json] [--flag=value].

Either directory holds the dump of one step: of an NPU, or ground truth of a CPU or GPU. Prints the first operator
beyond the threshold and the worst ones, and writes result_TIME.csv, as CANN's comparison tool has it, and a page.
"""
import os
import sys
import time
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'compare'] + sys.argv[1:])

from core.ascend.diagnostics import comparison
from core.errors import InputError
from core.log import printable
from core.pages import comparison_page
from core.settings import flags, kinds
from core.settings.table import Switch
from launchers import command

DIFFERENT = 1                  # exit status when an operator is beyond the threshold
WORST = 20
GROUP = 'compare'
OWN_SWITCHES = (
    Switch(GROUP, 'graph', kinds.file_path(), None, 'graph of GE in JSON (atc --mode=5), which tells what was fused'),
    Switch(GROUP, 'threshold', kinds.number(least=0), 0.01,
           'largest relative Euclidean distance that counts as equal'),
    Switch(GROUP, 'output', kinds.path(), '.', 'directory of the csv and of the page'),
)
USAGE = command.Usage(
    'python3 -m launchers compare DIR_A DIR_B [--flag=value ...]',
    'Compares the dumps of a step in two directories: dump files of an NPU, or NAME.INDEX.TIMESTAMP.npy files. The '
    'second is the\nreference. The exit status is 1 when an operator is beyond the threshold.', OWN_SWITCHES)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status: 0 within the threshold, 1 beyond it, 2 for bad input."""
    def act():
        given, words = flags.parse_with_words(argv, OWN_SWITCHES)
        if len(words) != 2:
            raise InputError('%d directories are named; DIR_A and DIR_B are needed, and -h tells more' % len(words))
        return _compare(*words, **dict({row.name: row.default for row in OWN_SWITCHES}, **given))
    return command.status_of(act, argv, USAGE)


def _compare(left, right, graph, threshold, output) -> int:
    compared = comparison.compare(left, right, graph)
    rows = compared.outputs
    first, worst = comparison.first_beyond(rows, threshold), comparison.worst(rows, WORST)
    print('%d outputs compared, of %d in either directory' % (sum(not row.reason for row in rows), len(rows)))
    print(_verdict(first, threshold))
    for row in worst:
        print('  %-12.6g %-12.6g %s:%d' % (
            row.distance, row.metrics['CosineSimilarity'], printable(row.left), row.output))
    os.makedirs(output, exist_ok=True)
    path = os.path.join(output, 'result_%s.csv' % time.strftime('%Y%m%d%H%M%S'))
    if os.path.lexists(path):
        raise InputError('%s: is there; compare once more, a second later, or into another --output' % path)
    comparison.write_csv(path, compared)
    page = comparison_page.write(os.path.splitext(path)[0] + '.html', rows, first, threshold, worst)
    print('%s\n%s' % (path, page))
    return DIFFERENT if first else 0


def _verdict(first, threshold) -> str:
    if first is None:
        return 'every operator is within the threshold of %g' % threshold
    return 'the first operator beyond the threshold of %g is number %d: %s:%d (%s), relative Euclidean distance %g' % (
        threshold, first.index, printable(first.left), first.output, printable(first.op_type), first.distance)
