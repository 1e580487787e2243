"""Runs: every run under an output path, as a table, as CSV and as a page that compares them. Needs no TensorFlow."""
import glob
import json
import os
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from core.errors import InputError
from core.log import one_line, printable
from core.pages import page, records
from core.pages.records import RecordedRun
from core.reporting import record
from core.pages.charts import Curve, chart
from core.pages.text import Words, both, csv_lines, escape, of_metric

MOST_DRAWN = 8                 # runs in one chart: as many as page.html has colours


class Column(NamedTuple):
    """A column of the table."""
    words: Words
    value: Callable[[RecordedRun], Any]    # for sorting and CSV; None where the run has none
    text: Callable[[Any], str] = str


def _started(run):
    return run.start['started']


COLUMNS = {
    'network': Column(both('network'), lambda run: run.start['network']),
    'case': Column(both('case'), lambda run: run.start['case']),
    'when': Column(both('when'), _started, page.moment),
    'steps': Column(both('steps'), lambda run: run.step),
    'images/s': Column(both('images/s'), RecordedRun.images_per_second, '{:.1f}'.format),
    'metric': Column(both('metric'), lambda run: run.headline),
    'value': Column(both('value'), lambda run: run.result, '{:.4f}'.format),
    'best': Column(both('best'), lambda run: run.best and run.best[1], '{:.4f}'.format),
    'epoch': Column(both('epoch'), lambda run: run.best_epoch),
    'precision': Column(both('precision in force'), lambda run: run.start['precision']),
    'ranks': Column(both('ranks'), lambda run: run.start['ranks']),
    'status': Column(both('status'), lambda run: run.status.splitlines()[0]),
    'results': Column(both('results'), lambda run: run.run_dir),
}


def find(output_path: str, leave_out: Callable[[str], None]) -> List[RecordedRun]:
    """The runs with results in `output_path` or its history, oldest first.

    leave_out(line) is called for each record that cannot be read. Raises InputError when there is no such directory.
    """
    if not os.path.isdir(output_path):
        raise InputError('--output_path=%s: no such directory' % output_path)
    root = glob.escape(os.path.abspath(output_path))
    found = []
    for pattern in (('*',), ('history', '*')):
        for path in glob.glob(os.path.join(record.directory(os.path.join(root, *pattern)), record.FILE)):
            try:
                found += records.read(os.path.dirname(os.path.dirname(path)))
            except (OSError, ValueError) as error:
                leave_out(one_line('%s: left out: %s' % (path, getattr(error, 'strerror', None) or error)))
    return sorted(found, key=_started)


def cell(run: RecordedRun, column: Column) -> str:
    """The text of a cell of the table."""
    value = column.value(run)
    return '-' if value is None else printable(column.text(value))


def chosen(runs: Sequence[RecordedRun], filters: Sequence[str], order: str) -> List[RecordedRun]:
    """The runs that match every filter COLUMN=VALUE, sorted by the column `order`, backwards with a - before it.

    A VALUE matches the cell or its beginning, so that status=failed finds every failure. The name of a metric is a
    column, too: the value of the runs that are judged by it.
    Raises InputError for a column that there is none of.
    """
    for text in filters:
        name, equals, value = text.partition('=')
        column = _column('--filter=%s' % text, name if equals else '', runs)
        runs = [run for run in runs if cell(run, column).startswith(value)]
    value = _column('--sort=%s' % order, order[order.startswith('-'):], runs).value
    known = sorted((run for run in runs if value(run) is not None), key=value, reverse=order.startswith('-'))
    return known + [run for run in runs if value(run) is None]


def _column(flag, name, runs):
    if name in COLUMNS:
        return COLUMNS[name]
    if name not in {run.headline for run in runs}:
        raise InputError('%s: its column must be one of %s' % (flag, ', '.join(COLUMNS)))
    return COLUMNS['value']._replace(value=lambda run: run.result if run.headline == name else None)


def table(runs: Sequence[RecordedRun]) -> str:
    """The runs as lines of text."""
    rows = [list(COLUMNS)] + [[cell(run, column) for column in COLUMNS.values()] for run in runs]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows)


def as_csv(runs: Sequence[RecordedRun]) -> str:
    """The runs as CSV, with numbers in full."""
    rows = [list(COLUMNS)]
    for run in runs:
        values = {name: column.value(run) for name, column in COLUMNS.items()}
        values['when'] = cell(run, COLUMNS['when'])
        rows.append(['' if value is None else value for value in values.values()])
    return csv_lines(rows).rstrip('\n')


def as_html(runs: Sequence[RecordedRun], output_path: str) -> str:
    """A page with the table, the curves of the newest runs in common charts, and what two runs differ in."""
    drawn = sorted(runs, key=_started)[-MOST_DRAWN:]
    title = both('Runs')
    body = ['<p class="under"><code>%s</code></p>' % escape(os.path.abspath(output_path)),
            '<div class="card scroll">%s</div>' % _html_table(runs),
            '<h2>%s</h2>' % both('Curves of the newest %d runs', len(drawn)).html(),
            '<div class="grid">%s</div>' % _charts(drawn), _differences(runs)]
    return page.fill('Runs', '<h1>%s</h1>' % title.html(), '\n'.join(body))


def _html_table(runs):
    head = ''.join('<th>%s</th>' % column.words.html() for column in COLUMNS.values())
    rows = []
    for run in runs:
        cells = {name: '<td>%s</td>' % escape(cell(run, column)) for name, column in COLUMNS.items()}
        cells['status'] = '<td class="status"><span class="pill %s">%s</span></td>' % (
            run.state, escape(cell(run, COLUMNS['status'])))
        rows.append('<tr>%s</tr>' % ''.join(cells.values()))
    return '<table class="runs" data-figure="runs"><tr>%s</tr>%s</table>' % (head, ''.join(rows))


def _label(run):
    return '%s %s %s' % (run.start['network'], run.start['case'], page.moment(_started(run)))


def _charts(runs):
    def together(name, words, unit, *series):
        def points(run):
            return next((run.points[each] for each in series if run.points.get(each)), [])
        return chart(name, words, unit, [Curve(Words(_label(run), _label(run)), points(run), colour)
                                         for colour, run in enumerate(runs, 1)])
    return ''.join([
        together('loss', both('Loss'), both('loss'), 'epoch/loss', 'batch/loss'),
        *(together(name, both('Test %s', of_metric(name)), of_metric(name), 'test/' + name)
          for name in sorted({run.headline for run in runs})),
        together('learning_rate', *[both('Learning rate')] * 2, 'learning_rate'),
        together('images_per_second', both('Speed of a rank'), both('images/s'),
                 'images_per_second')])


def _differences(runs):
    """Two lists of runs; a script of the page shows what the chosen two were asked to do differently."""
    if len(runs) < 2:
        return ''
    settings: List[Dict[str, str]] = [{name: value for name, value, _ in run.start['settings']} for run in runs]
    choices = ['<select>%s</select>' % ''.join(
        '<option value="%d"%s>%s</option>' % (index, ' selected' if index == first else '', escape(_label(run)))
        for index, run in enumerate(runs)) for first in (len(runs) - 2, len(runs) - 1)]
    return ('<h2>%s</h2><div class="card differences" data-figure="differences"><table><thead><tr><th>%s</th>'
            '<th>%s</th><th>%s</th></tr></thead><tbody></tbody></table><p class="same" hidden>%s</p>'
            '<script type="application/json">%s</script></div>') % (
                both('What two runs were asked to do differently').html(),
                both('parameter').html(), *choices,
                both('The same configuration.').html(),
                json.dumps(settings, ensure_ascii=False).replace('<', '\\u003c'))
