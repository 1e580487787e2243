"""report.html: one self-contained page about a run, made of its record and pictures. Needs no TensorFlow."""
import json
import math
import os
import string
import time
from typing import Any, Dict, Iterable, List, Tuple

from core import files
from core.errors import InputError
from core.pages import chip_section, records
from core.pages.records import RecordedRun
from core.reporting import record
from core.pages.charts import Curve, axis_label, chart
from core.pages.text import Words, both, duration, escape, number, of_metric, of_record

NAME = 'report.html'
_TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'page.html')
_GENERATOR = '<meta name="generator" content="launchers">'   # of the template, by which a page is known again
_HEAD = 1000                   # characters of a page that it is in
_MOST_NAMED = 20               # classes of a confusion matrix: with more, a cell has no room for its number

STATES = {state: both(state) for state in (
    record.DONE, record.STOPPED, record.FAILED, records.RUNNING, records.KILLED)}
TRAIN, EPOCH = both('training batch'), both('training, mean of the epoch')
TEST, VALIDATION = both('test set'), both('validation part')


def write(run_dir: str, panels: Dict[str, Dict[str, Any]]) -> str:
    """Writes the page of the newest run with results in `run_dir` there, in one step, and returns its path.

    Raises OSError, or ValueError for a record of another form.
    """
    return record.save(os.path.join(run_dir, NAME), render(records.read(run_dir)[-1], panels))


def check_own(flag: str, path: str) -> None:
    """Raises InputError when what lies at `path` is not a page made here."""
    try:
        if not os.path.lexists(path) or _GENERATOR in files.text(path)[:_HEAD]:
            return
    except ValueError:             # no page at all
        pass
    raise InputError('%s=%s: is there, and is not such a page; choose another path, or add --overwrite' % (flag, path))


def fill(title: str, heading: str, body: str) -> str:
    """The template around the body of a page."""
    with open(_TEMPLATE, encoding='utf-8') as file:
        return string.Template(file.read()).substitute(
            title=escape(title), heading=heading, body=body, chinese=both('English').zh)


def render(run: RecordedRun, panels: Dict[str, Dict[str, Any]]) -> str:
    """The page; panels: what core/pages/pictures.py made, by name."""
    start = run.start
    title = '%s · %s' % (start['network'], start['case'])
    heading = '<h1>%s</h1><span class="pill %s">%s</span>' % (escape(title), run.state, STATES[run.state].html())
    body = [_under(run), _why(run), _section(both('Figures'), _figures(run), 'figures'),
            _section(both('Curves'), curves(run) + _extra_curves(run, panels), 'grid'),
            _section(chip_section.TITLE, chip_section.html(run), 'grid'),
            _section(both('Pictures'), ''.join(_panel(name, panels[name]) for name in panels), 'grid'),
            _section(both('Configuration'), _configuration(start['settings'])),
            _section(both('Environment'), _table(start['environment'])),
            _section(both('Switches, and where the results lie'), _table(start['results']))]
    return fill('%s · %s' % (title, run.state), heading, '\n'.join(filter(None, body)))


def _section(title, content, layout='card'):
    return '<section><h2>%s</h2><div class="%s">%s</div></section>' % (
        title.html(), layout, content) if content else ''


def moment(seconds: float) -> str:
    """A time of day as people write it."""
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))


def _under(run):
    data = run.start.get('data')
    return '<p class="under">%s · <code>%s</code>%s</p>' % (
        moment(run.start['started']), escape(run.run_dir), ' · ' + escape(data) if data else '')


def _why(run):
    if run.state == record.DONE:
        return ''
    of = run.start.get('steps')
    step = number(run.step) + (' / ' + number(of) if of else '')
    happened = {
        records.RUNNING: both('The run is in progress; this page is from step %s.', step),
        record.STOPPED: both('The run was stopped at step %s; --resume continues it.', step),
        records.KILLED: both('The run was killed after step %s; --resume continues it.', step),
        record.FAILED: both('The run failed at step %s:', step)}[run.state]
    why = run.end.get('why', '')
    return '<div class="why %s" data-figure="why">%s%s</div>' % (
        run.state, happened.html(), '<br><code>%s</code>' % escape(why) if why else '')


def _figures(run):
    """The cards with the numbers that the case log has, and what is beside them."""
    speed, seconds_per_step, ranks = run.images_per_second(), run.last('seconds_per_step'), run.start['ranks']
    of_ranks = both('images/s = %d × rank 0', ranks) if ranks > 1 else both('images/s')
    cards = [(run.headline, both('test %s', of_metric(run.headline)),
              None if run.result is None else '%.4f' % run.result, ''),
             ('best', both('best validation %s' if _is_validated(run) else 'best test %s', of_metric(run.headline)),
              '%.4f' % run.best[1] if run.best else None,
              both('epoch %s', run.best_epoch)),
             ('images_per_second', both('speed'), number(speed) if speed else None, of_ranks),
             ('step_time', both('time of a step'),
              number(1000 * seconds_per_step) if seconds_per_step else None, both('ms'))]
    for name, label in (('batch/loss', both('loss of the last batch')),
                        ('epoch/loss', both('loss, mean of the last epoch')),
                        ('test/loss', both('test %s', both('loss')))):
        value = run.last(name)
        cards.append((name, label, '%.4f' % value if value is not None else None, ''))
    steps = run.start.get('steps')
    cards.append(('steps', both('steps'), number(run.step), '/ ' + number(steps) if steps else ''))
    cards.append(('ranks', both('ranks'), number(ranks),
                  '× %s' % number(run.start['batch_size'])))
    seconds = run.last('seconds')
    if seconds is not None:
        cards.append(('duration', both('training time'), duration(seconds), ''))
    return ''.join(
        '<div class="card" data-figure="%s"><span>%s</span><b>%s <small>%s</small></b></div>' % (
            name, label.html(), value.html() if isinstance(value, Words) else escape(value),
            unit.html() if isinstance(unit, Words) else escape(unit))
        for name, label, value, unit in cards if value is not None)


def _is_validated(run):
    return bool(run.points.get('validation/' + run.headline))


def curves(run: RecordedRun) -> str:
    """The charts that every run has."""
    p = run.points.get
    best = [run.best] if run.best else []
    return ''.join([
        chart('loss', both('Loss'), both('loss'), [
            Curve(TRAIN, p('batch/loss'), 1), Curve(EPOCH, p('epoch/loss'), 3), Curve(TEST, p('test/loss'), 2),
            Curve(VALIDATION, p('validation/loss'), 5)]),
        *(chart(name, of_metric(name)._replace(en=name.capitalize()), of_metric(name), [
            Curve(TRAIN, p('batch/' + name), 1), Curve(EPOCH, p('epoch/' + name), 3), Curve(TEST, p('test/' + name), 2),
            Curve(VALIDATION, p('validation/' + name), 5),
            Curve(both('best'), best if name == run.headline else [], 6),
            Curve(both('test set, average of the weights'), p('average/' + name), 4)])
          for name in run.metrics or [run.headline]),
        chart('learning_rate', both('Learning rate'), both('learning rate'), [
            Curve(both('learning rate'), p('learning_rate'), 4)]),
        chart('images_per_second', both('Speed of a rank'), both('images/s'), [
            Curve(both('since the last point'), p('speed_since'), 1),
            Curve(both('mean of the run'), p('images_per_second'), 2)]),
        chart('loss_scale', both('Loss scale'), both('loss scale'), [
            Curve(both('loss scale'), p('loss_scale'), 6)])])


def _extra_curves(run, panels):
    return ''.join(chart(name, of_record(panel['title']), of_record(panel['unit']), [
        Curve(of_record(words), run.points.get(series), colour)
        for colour, (series, words) in enumerate(panel['series'].items(), 1)])
        for name, panel in panels.items() if panel['kind'] == 'curves')


def _configuration(settings: Iterable[Tuple[str, str, str]]):
    """Rows of name, value, the recipe's value; those that differ are marked."""
    rows = ['<tr><th>%s</th><th>%s</th><th>%s</th></tr>' % (
        both('parameter').html(), both('this run').html(), both('recipe').html())]
    for name, value, recipes in settings:
        changed = value != recipes
        shown = '<b>%s</b>' % escape(value) if changed else escape(value)
        rows.append('<tr%s><td><code>%s</code></td><td class="value">%s</td><td>%s</td></tr>' % (
            ' class="changed"' if changed else '', escape(name), shown, escape(recipes)))
    return '<table data-figure="configuration">%s</table>' % ''.join(rows)


def _table(rows: List[Tuple[Tuple[str, str], str]]):
    return '<table>%s</table>' % ''.join('<tr><td>%s</td><td><code>%s</code></td></tr>' % (
        of_record(words).html(), escape(value)) for words, value in rows)


def _panel(name, panel):
    draw = {'gallery': _gallery, 'matrix': _matrix, 'table': _rows, 'slider': _slider,
            'regions': _regions}.get(panel['kind'])
    if not draw:
        return ''
    return '<figure class="card%s" data-figure="%s"><figcaption>%s<small>%s</small></figcaption>%s</figure>' % (
        ' wide' if panel['wide'] else '', escape(name), of_record(panel['title']).html(),
        of_record(panel['note']).html(), draw(panel))


def _rows(panel):
    head = ''.join('<th>%s</th>' % of_record(words).html() for words in panel['head'])
    return '<div class="scroll"><table><tr>%s</tr>%s</table></div>' % (head, ''.join(
        '<tr>%s</tr>' % ''.join('<td>%s</td>' % escape(cell) for cell in row) for row in panel['rows']))


def _gallery(panel):
    items = []
    for image, lines in panel['items']:
        text = '<br>'.join('<span class="%s">%s</span>' % (kind, of_record(words).html()) for kind, words in lines)
        items.append('<div><img class="%s" src="%s" alt="">%s</div>' % (
            'pixels' if panel['pixels'] else '', image, text))
    return '<div class="gallery%s">%s</div>' % ('' if panel['pixels'] else ' large', ''.join(items))


def _matrix(panel):
    """The confusion matrix: a row for each true class; the strength of a cell is its part of the row."""
    names, counts = panel['names'], panel['counts']
    size, room = len(names), max(44., 12 + 6.4 * max(map(len, names)))
    cell = 34. if size <= _MOST_NAMED else 720. / size
    width, top = room + size * cell + 8, room + 22
    parts = [axis_label(both('predicted →'), width, 12, 'end'), axis_label(both('true ↓'), 0, top - 8, 'start')]
    for row, (name, cells) in enumerate(zip(names, counts)):
        y, total = top + row * cell, sum(cells) or 1
        if size <= _MOST_NAMED:
            parts.append('<text x="%.0f" y="%.1f" text-anchor="end">%s</text>' % (
                room - 6, y + cell / 2 + 4, escape(name)))
            x = room + (row + .5) * cell
            parts.append('<text transform="translate(%.1f %.0f) rotate(-45)">%s</text>' % (x, top - 6, escape(name)))
        for column, count in enumerate(cells):
            if count:
                parts.append(_cell(room + column * cell, y, cell, count, count / total, row == column, size, (
                    names[row], names[column])))
    return ('<div class="scroll"><svg class="matrix" viewBox="0 0 %.0f %.0f" style="max-width:%.0fpx" role="img" '
            'aria-label="confusion matrix">%s</svg></div>') % (
                width, top + size * cell + 4, 1.6 * width, ''.join(parts))


def _cell(x, y, cell, count, part, is_right, size, names):
    text = ''
    if size <= _MOST_NAMED:
        text = '<text class="%s" x="%.1f" y="%.1f" text-anchor="middle">%d</text>' % (
            'strong' if part > .5 else '', x + cell / 2, y + cell / 2 + 4, count)
    return ('<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill-opacity="%.3f">'
            '<title>%s → %s: %d</title></rect>%s') % (
                'diagonal' if is_right else '', x, y, cell * .96, cell * .96, .08 + .92 * math.sqrt(part),
                escape(names[0]), escape(names[1]), count, text)


def _slider(panel):
    frames = panel['frames']
    data = json.dumps([dict(image=image, **of_record(words)._asdict()) for image, words in frames], ensure_ascii=False)
    last = len(frames) - 1
    return ('<div class="slider"><img class="pixels" src="{image}" alt=""><input type="range" min="0" max="{last}" '
            'value="{last}" aria-label="{label}"><output>{words}</output>'
            '<script type="application/json">{data}</script></div>').format(
                image=frames[last][0], last=last, label=escape(of_record(panel['title']).en),
                words=_elements(of_record(frames[last][1])), data=data.replace('<', '\\u003c'))


def _elements(words):
    """Two elements, even for the same words, because a script changes their texts."""
    return '<span class="en" lang="en">%s</span><span class="zh" lang="zh">%s</span>' % tuple(map(escape, words))


def _regions(panel):
    (left, right), (bottom, top) = panel['extent']

    def pixel(x, y):
        return (x - left) / (right - left) * 300, (top - y) / (top - bottom) * 300
    maps = []
    for words, image in panel['maps']:
        dots = ''.join('<circle class="k%d" cx="%.1f" cy="%.1f" r="2.6"/>' % (kind, *pixel(x, y))
                       for x, y, kind in panel['points'])
        ticks = ''.join('<text x="%.0f" y="314" text-anchor="middle">%d</text>' % (pixel(tick, 0)[0], tick)
                        for tick in _whole(left, right))
        ticks += ''.join('<text x="-5" y="%.0f" text-anchor="end">%d</text>' % (pixel(0, tick)[1] + 4, tick)
                         for tick in _whole(bottom, top))
        maps.append('<div><b>%s</b><svg viewBox="-28 -4 336 324" role="img" aria-label="%s"><image href="%s" '
                    'width="300" height="300" preserveAspectRatio="none"/>%s%s</svg></div>' % (
                        of_record(words).html(), escape(of_record(words).en), image, dots, ticks))
    return '<div class="maps">%s</div>' % ''.join(maps)


def _whole(low, high):
    step = max(1, int((high - low) / 5))
    return range(math.ceil(low / step) * step, math.floor(high) + 1, step)
