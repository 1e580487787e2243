"""The part "on the chip" of a run's report: what a rehearsed run has written into report/chip.json and its record."""
import functools
import os
from typing import Any, Dict, List, Sequence

from core import files
from core.pages.charts import Curve, chart
from core.pages.records import RecordedRun
from core.pages.text import Words, both, escape, number
from core.reporting import record

TITLE = both('On the chip')
_CURVES = 6                    # variables that lose most
_MATTERS = 5.                  # percent of a gradient
_PADDED = 1.05                 # of what the network asks for, from which padded channels are worth a card
_SURPRISES = {
    'unlisted': both('of a type that the table of operators lacks: taken for a gray vector operator; add a row to '
                     'core/operators/table.tsv'),
    'no_kernel': both('in the narrow type in every mode, because the chip has no float32 kernel'),
    'mixed': both('in float32 although one of its operands is narrow: it follows another one')}
_BOUND = {'cube': both('cube'), 'vector': both('vector units'), 'memory': both('memory')}


def html(run: RecordedRun) -> str:
    """The cards of the section; '' for a run that was not rehearsed, or a file of another form."""
    try:
        facts = files.json_object(os.path.join(record.directory(run.run_dir), record.CHIP))
        return ''.join([_types(facts), _surprising(facts), _gradients(run), _roofline(facts), _fusions(facts)])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return ''


def _card(title: Words, content: str, wide: bool = False) -> str:
    return '<figure class="card%s"><figcaption>%s</figcaption>%s</figure>' % (
        ' wide' if wide else '', title.html(), content) if content else ''


def _table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    def row(cells, kind):
        return '<tr>%s</tr>' % ''.join('<%s>%s</%s>' % (
            kind, cell.html() if isinstance(cell, Words) else escape(cell), kind) for cell in cells)
    return '<div class="scroll"><table class="chip">%s%s</table></div>' % (
        row(header, 'th'), ''.join(row(cells, 'td') for cells in rows))


def _said(words: Words) -> str:
    return '<p>%s</p>' % words.html()


def _types(facts: Dict[str, Any]) -> str:
    rows = [(reason, number(narrow), number(wide)) for reason, narrow, wide in facts['types']]
    content = _table((both('why'), both('operators in %s', facts['narrow']), both('in float32')), rows)
    advice = both('python3 -m launchers precision lists every operator with its reason.')
    return _card(both('Types: %s', facts['mode']), content + _said(advice))


def _surprising(facts: Dict[str, Any]) -> str:
    rows = [(name, op_type, _SURPRISES[kind]) for name, op_type, kind in facts['surprising']]
    return _card(both('Operators that may surprise'), _table(
        (both('operator'), both('type'), both('what is special')), rows) if rows else '', True)


def _gradients(run: RecordedRun) -> str:
    """Curves of what the gradients lose, and the recommended scale."""
    scale = run.last('recommended_loss_scale')
    if scale is None:
        return ''
    parts = []
    for kind, title in (('lost', both('Gradient that became 0')),
                        ('beyond', both('Gradient that left the range'))):
        start = 'gradient_%s/' % kind
        named = sorted((name for name in run.points if name.startswith(start)),
                       key=lambda name: -max(value for _, value in run.points[name]))[:_CURVES]
        parts.append(chart('gradient_' + kind, title, both('%'), [
            Curve(Words(name[len(start):], name[len(start):]), run.points[name], colour)
            for colour, name in enumerate(named, 1)]))
    used = run.last('loss_scale')
    lost = max((run.last(name) for name in run.points if name.startswith('gradient_lost/')), default=0.)
    if scale > (used or 1.) and lost >= _MATTERS:
        advice = both('Small gradients become 0: try --loss_scale=%d.', scale)
    elif lost >= _MATTERS:
        advice = both('Small gradients become 0, and no loss scale helps: python3 -m launchers precision --search '
                      'finds what has to stay in float32.')
    else:
        advice = both('No more than %.2g %% of a gradient becomes 0: nothing to do.', lost)
    return ''.join(parts) + _card(both('Loss scale'), '<p class="value">%s</p>%s' % (
        both('recommended: %s', number(scale)).html(), _said(advice)))


def _roofline(facts: Dict[str, Any]) -> str:
    cards = []
    for chip in facts['roofline']:
        rows = [(name, number(count), '%.3f' % milliseconds, _BOUND[bound])
                for name, count, milliseconds, bound in chip['types']]
        parts = [both('%s %s', _BOUND[part], '%.0f %%' % (100 * share)) for part, share in chip['parts'].items()]
        best = both('at best %.3f ms a step, %s images/s; %s', chip['milliseconds'],
                    number(round(chip['images_per_second'])),
                    functools.reduce(lambda left, right: both('%s, %s', left, right), parts))
        cards.append(_card(both('Roofline of a %s', chip['chip']), ''.join([
            _said(best), _table((both('type'), both('count'), both('ms'), both('bound by')), rows),
            _said(Words(chip['source'], chip['source']))])))
    factor, *worst = facts['padding']
    if worst and factor >= _PADDED:
        name, line = worst
        cards.append(_card(both('Channels padded to 16'), _said(both(
            'The cube computes %.2f times what the network asks for, most of it in %s (%s): choose multiples of 16.',
            factor, name, line))))
    return ''.join(cards)


def _fusions(facts: Dict[str, Any]) -> str:
    rows: List[Sequence[Any]] = []
    for name, makes, hits, misses, reasons in facts['fusions']:
        rows.append((name, makes, number(hits), number(misses), ''))
        rows += [('', '', '', number(count), '%s: %s' % (why, '; '.join(lines))) for why, count, lines in reasons]
    return _card(both('Fusions of CANN'), _table(
        (both('pass'), both('what it fuses'), both('hit'), both('missed'),
         both('what breaks it, and what to do')), rows) if rows else '', True)
