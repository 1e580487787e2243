"""benchmark.html: the figures of test/benchmark.sh as one page, with a bar for the speed of each worker."""
from core.pages.page import fill, moment
from core.pages.text import Words, escape, number
from core.reporting.record import save
from results import BASELINE, COMPILED, EAGER, MKL, OURS, QUIET, machine

NAMES = {OURS: Words('this framework', '本框架'), BASELINE: Words('the usual way', '通常写法'),
         EAGER: Words('PyTorch, eager', 'PyTorch，eager'), COMPILED: Words('PyTorch, compiled', 'PyTorch，compile'),
         MKL: Words('MKL wheel', 'MKL 版')}
WIDTH, LEFT, RIGHT, BAR, GAP = 460, 118, 64, 20, 10     # of the picture, in its units


def write(path, measured):
    """Writes the page in one step and returns its path. Raises OSError."""
    title = Words('Speed of training', '训练速度')
    body = ['<p class="under">%s · %s</p>' % (moment(measured[-1]['time']), escape(machine(measured[-1])))]
    body += [_network(figures) for figures in measured]
    return save(path, fill(title.en, '<h1>%s</h1>' % title.html(), '\n'.join(body)))


def _network(figures):
    unit = Words('images/s, median and range of the repeats', '张/秒，各次重复的中位数与范围')
    note = Words('batch of %d, %d images a step' % (figures['batch_size'], figures['images']),
                 '批大小 %d，每步 %d 张' % (figures['batch_size'], figures['images']))
    return ('<section><h2>%s</h2>%s<div class="grid"><figure class="card" data-figure="%s"><figcaption>%s'
            '<small>%s</small></figcaption>%s</figure><div class="card">%s</div></div></section>') % (
                escape(figures['network']), _warning(figures), escape(figures['network']), unit.html(), note.html(),
                bars([(NAMES[name], worker['images_per_second'], colour)
                      for colour, (name, worker) in enumerate(figures['workers'].items(), 1)]), _table(figures))


def _warning(figures):
    words = ['<p class="why">%s</p>' % escape(failure) for failure in figures['failures'].values()]
    if figures['disturbance'] > QUIET:
        percent = 100 * figures['disturbance']
        words.append('<p class="why">%s</p>' % Words(
            'The machine was not quiet: other processes used %.0f %% of the cores.' % percent,
            '机器并不空闲：其他进程占用了 %.0f %% 的核。' % percent).html())
    return ''.join(words)


def bars(rows):
    """An <svg> of horizontal bars for (words, (least, median, most), colour)."""
    scale = (WIDTH - LEFT - RIGHT) / max(most for _, (_, _, most), _ in rows)
    parts = []
    for row, (words, (least, middle, most), colour) in enumerate(rows):
        top = row * (BAR + GAP)
        line, first, middle_x, last = top + BAR / 2, LEFT + scale * least, LEFT + scale * middle, LEFT + scale * most
        parts += ['<text class="%s" x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            language, LEFT - 8, line + 4, escape(name)) for language, name in words._asdict().items()]
        parts.append('<polygon class="c%d" points="%d,%d %.1f,%d %.1f,%d %d,%d"/>' % (
            colour, LEFT, top, middle_x, top, middle_x, top + BAR, LEFT, top + BAR))
        parts.append('<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>' % (first, last, line, line))
        parts.append('<text x="%.1f" y="%.1f">%s</text>' % (last + 8, line + 4, number(float('%.4g' % middle))))
    return '<svg viewBox="0 0 %d %d" role="img" aria-label="images/s">%s</svg>' % (
        WIDTH, len(rows) * (BAR + GAP), ''.join(parts))


def _table(figures):
    heads = (Words('', ''), Words('ms a step', '毫秒/步'), Words('GFLOP/s', 'GFLOP/s'), Words('memory, MB', '内存，MB'),
             Words('ours, times as fast', '本框架的倍数'))
    rows = ['<tr>%s</tr>' % ''.join('<th>%s</th>' % head.html() for head in heads)]
    for name, worker in figures['workers'].items():
        least, middle, most = worker['ratio']
        cells = [NAMES[name].html(), number(1000 * worker['seconds']), '%.1f' % worker['gflops'],
                 '{:,.0f}'.format(worker['memory'] / 1e6),
                 '' if name == OURS else '%.2f (%.2f–%.2f)' % (middle, least, most)]
        rows.append('<tr>%s</tr>' % ''.join('<td class="value">%s</td>' % cell for cell in cells))
    return '<table>%s</table><table>%s</table>' % (''.join(rows), ''.join(
        '<tr><td>%s</td><td class="value">%s</td></tr>' % (words.html(), value) for words, value in _facts(figures)))


def _facts(figures):
    yield Words('matrix product', '矩阵乘'), ', '.join(
        '%s %.0f GFLOP/s' % (NAMES[name].html(), value) for name, value in figures['peak'].items())
    yield Words('of which this framework reaches', '本框架达到其'), '%.0f %%' % (100 * figures['peak_share'][1])
    yield Words('input pipeline alone', '仅输入流水线'), Words(
        '%.1f times the training speed' % figures['input_multiple'],
        '训练速度的 %.1f 倍' % figures['input_multiple']).html()
    yield Words('launch to first step', '从启动到第一步'), '%.1f s' % figures['start'] if figures['start'] else '–'
