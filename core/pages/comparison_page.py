"""The page of launchers/compare.py: where two dumps begin to differ, and how far they do along the graph."""
import math
from typing import List, Optional, Sequence

from core.ascend.diagnostics.comparison import Row
from core.pages.charts import Curve, chart
from core.pages.page import fill
from core.reporting.record import save
from core.pages.text import Words, both, escape, number

_DISTANCE = both('relative Euclidean distance')
_COSINE = both('cosine similarity')
_ALONG = both('output, in graph order')


def write(path: str, rows: Sequence[Row], first: Optional[Row], threshold: float, worst: Sequence[Row]) -> str:
    """Writes the page about the compared `rows` and returns its path.

    first: the first row beyond the threshold, None without one; worst: the rows that differ most. Raises OSError.
    """
    heading = '<h1>%s</h1>' % both('Comparison of two dumps').html()
    body = [_verdict(first, threshold), '<section><div class="grid">%s</div></section>' % _charts(rows),
            _table(both('Worst outputs'), worst),
            _table(both('Outputs that could not be compared'), [row for row in rows if row.reason])]
    return save(path, fill('comparison', heading, '\n'.join(filter(None, body))))


def _verdict(first: Optional[Row], threshold: float) -> str:
    if first is None:
        verdict = both('Every output is within the threshold of %g.', threshold)
    else:
        verdict = both('The first output beyond the threshold of %g is %s (%s): relative Euclidean distance %g.',
                       threshold, '%s:%d' % (first.left, first.output), first.op_type, first.distance)
    return '<p class="under">%s</p>' % verdict.html()


def _charts(rows: Sequence[Row]) -> str:
    def points(metric):
        return [(number, row.metrics[metric]) for number, row in enumerate(rows) if math.isfinite(row.metrics[metric])]
    no_unit = Words('', '')
    return ''.join(chart(metric, title, no_unit, [Curve(title, points(metric), colour)], _ALONG)
                   for metric, title, colour in (('RelativeEuclideanDistance', _DISTANCE, 1),
                                                 ('CosineSimilarity', _COSINE, 2)))


def _table(title: Words, rows: Sequence[Row]) -> str:
    """A section with a row of the page for each compared output; '' without rows."""
    if not rows:
        return ''
    names = (both('output'), both('type'), both('shape'),
             _DISTANCE, _COSINE, both('largest error'), both('note'))
    lines: List[str] = ['<tr>%s</tr>' % ''.join('<th>%s</th>' % name.html() for name in names)]
    for row in rows:
        name = row.left if row.left != '*' else row.right
        cells = ['<code>%s:%d</code>' % (escape(name), row.output), escape(row.op_type), escape(row.shape)]
        values = [row.metrics[metric] for metric in (
            'RelativeEuclideanDistance', 'CosineSimilarity', 'MaxAbsoluteError')]
        cells += [number(value) if math.isfinite(value) else '–' for value in values]
        lines.append('<tr>%s</tr>' % ''.join('<td>%s</td>' % cell for cell in [*cells, escape(row.reason)]))
    return '<section><h2>%s</h2><div class="card scroll"><table class="outputs">%s</table></div></section>' % (
        title.html(), ''.join(lines))
