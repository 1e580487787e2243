"""The part "on the chip" of a run's report: what a rehearsed run has written into report/chip.json and its record."""
import os
from typing import Any, Dict, List, Sequence

from core import files
from core.pages.charts import Curve, chart
from core.pages.records import RecordedRun
from core.pages.text import Words, escape, number
from core.reporting import record

TITLE = Words('On the chip', '在芯片上')
_CURVES = 6                    # variables that lose most
_MATTERS = 5.                  # percent of a gradient
_PADDED = 1.05                 # of what the network asks for, from which padded channels are worth a card
_SURPRISES = {
    'unlisted': Words('of a type that the table of operators lacks: taken for a gray vector operator; add a row to '
                      'core/operators/table.tsv', '算子表中没有这种类型：按灰名单向量算子处理；请在 core/operators/table.tsv 中添加一行'),
    'no_kernel': Words('in the narrow type in every mode, because the chip has no float32 kernel',
                       '在所有模式下都用窄类型计算，因为芯片没有 float32 内核'),
    'mixed': Words('in float32 although one of its operands is narrow: it follows another one',
                   '虽有一个操作数是窄类型，仍用 float32 计算：它跟随另一个操作数')}
_BOUND = {'cube': Words('cube', '矩阵单元'), 'vector': Words('vector units', '向量单元'), 'memory': Words('memory', '内存')}


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
    content = _table((Words('why', '原因'), Words('operators in %s' % facts['narrow'], '%s 算子' % facts['narrow']),
                      Words('in float32', 'float32 算子')), rows)
    advice = Words('python3 -m launchers precision lists every operator with its reason.',
                   'python3 -m launchers precision 列出每个算子及其原因。')
    return _card(Words('Types: ' + facts['mode'], '类型：' + facts['mode']), content + _said(advice))


def _surprising(facts: Dict[str, Any]) -> str:
    rows = [(name, op_type, _SURPRISES[kind]) for name, op_type, kind in facts['surprising']]
    return _card(Words('Operators that may surprise', '可能出乎意料的算子'), _table(
        (Words('operator', '算子'), Words('type', '类型'), Words('what is special', '特别之处')), rows) if rows else '', True)


def _gradients(run: RecordedRun) -> str:
    """Curves of what the gradients lose, and the recommended scale."""
    scale = run.last('recommended_loss_scale')
    if scale is None:
        return ''
    parts = []
    for kind, title in (('lost', Words('Gradient that became 0', '变为 0 的梯度')),
                        ('beyond', Words('Gradient that left the range', '超出范围的梯度'))):
        start = 'gradient_%s/' % kind
        named = sorted((name for name in run.points if name.startswith(start)),
                       key=lambda name: -max(value for _, value in run.points[name]))[:_CURVES]
        parts.append(chart('gradient_' + kind, title, Words('%', '%'), [
            Curve(Words(name[len(start):], name[len(start):]), run.points[name], colour)
            for colour, name in enumerate(named, 1)]))
    used = run.last('loss_scale')
    lost = max((run.last(name) for name in run.points if name.startswith('gradient_lost/')), default=0.)
    if scale > (used or 1.) and lost >= _MATTERS:
        words = Words('Small gradients become 0: try --loss_scale=%d.' % scale,
                      '小梯度变为 0：请试 --loss_scale=%d。' % scale)
    elif lost >= _MATTERS:
        words = Words('Small gradients become 0, and no loss scale helps: python3 -m launchers precision --search '
                      'finds what has to stay in float32.',
                      '小梯度变为 0，损失缩放无济于事：python3 -m launchers precision --search 会找出必须保持 float32 的部分。')
    else:
        words = Words('No more than %.2g %% of a gradient becomes 0: nothing to do.' % lost,
                      '梯度中变为 0 的不超过 %.2g %%：无需处理。' % lost)
    return ''.join(parts) + _card(Words('Loss scale', '损失缩放'), '<p class="value">%s</p>%s' % (
        Words('recommended: ' + number(scale), '推荐值：' + number(scale)).html(), _said(words)))


def _roofline(facts: Dict[str, Any]) -> str:
    cards = []
    for chip in facts['roofline']:
        rows = [(name, number(count), '%.3f' % milliseconds, _BOUND[bound])
                for name, count, milliseconds, bound in chip['types']]
        parts = [(_BOUND[part], '%.0f %%' % (100 * share)) for part, share in chip['parts'].items()]
        words = Words('at best %.3f ms a step, %s images/s; %s' % (
            chip['milliseconds'], number(round(chip['images_per_second'])),
            ', '.join('%s %s' % (name.en, share) for name, share in parts)), '最快每步 %.3f 毫秒，%s 张/秒；%s' % (
                chip['milliseconds'], number(round(chip['images_per_second'])),
                '，'.join('%s %s' % (name.zh, share) for name, share in parts)))
        cards.append(_card(Words('Roofline of a ' + chip['chip'], '%s 的理论上限' % chip['chip']), _said(words) + _table(
            (Words('type', '类型'), Words('count', '个数'), Words('ms', '毫秒'), Words('bound by', '受限于')), rows) + _said(
                Words(chip['source'], chip['source']))))
    factor, *worst = facts['padding']
    if worst and factor >= _PADDED:
        name, line = worst
        cards.append(_card(Words('Channels padded to 16', '通道补齐到 16'), _said(Words(
            'The cube computes %.2f times what the network asks for, most of it in %s (%s): choose multiples of 16.' % (
                factor, name, line), '矩阵单元的计算量是网络所需的 %.2f 倍，主要来自 %s（%s）：请选用 16 的倍数。' % (
                    factor, name, line)))))
    return ''.join(cards)


def _fusions(facts: Dict[str, Any]) -> str:
    rows: List[Sequence[Any]] = []
    for name, makes, hits, misses, reasons in facts['fusions']:
        rows.append((name, makes, number(hits), number(misses), ''))
        rows += [('', '', '', number(count), '%s: %s' % (why, '; '.join(lines))) for why, count, lines in reasons]
    return _card(Words('Fusions of CANN', 'CANN 的融合'), _table(
        (Words('pass', '融合规则'), Words('what it fuses', '融合内容'), Words('hit', '命中'), Words('missed', '未命中'),
         Words('what breaks it, and what to do', '原因与对策')), rows) if rows else '', True)
