"""Curves as inline SVG: axes with units, a legend, a band where many points are drawn as one."""
import math
from typing import List, NamedTuple, Sequence, Tuple

from core.pages.records import Points
from core.pages.text import Words, both, escape, number

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 26, 40
MOST_POINTS = 240              # of a curve that are drawn; of more, the mean of each stretch with its range behind
FEW_POINTS = 40                # of a curve that are marked one by one
LOGARITHMIC = 60               # largest value / smallest, above which the axis is logarithmic
STEP = both('step')


class Curve(NamedTuple):
    """One line of a chart."""
    label: Words
    points: Points
    colour: int                # 1 to 8: a colour of page.html
    run: str = ''              # a text for the legend after the label


class Scale(NamedTuple):
    """From values to coordinates on an axis."""
    low: float
    high: float
    first: float               # coordinate of `low` in the picture
    last: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of `value`."""
        low, high, value = map(math.log10, (self.low, self.high, value)) if self.logarithmic else (
            self.low, self.high, value)
        return self.first + (value - low) / (high - low) * (self.last - self.first)


def chart(name: str, title: Words, unit: Words, curves: Sequence[Curve], along: Words = STEP) -> str:
    """A <figure> with the curves over the steps, or what `along` names; '' when no curve has a point."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ''
    drawn = [(curve, _thin(curve.points)) for curve in curves]
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    x = Scale(min(steps + [0]), max(steps + [1]), LEFT, WIDTH - RIGHT)
    y, y_ticks = _value_axis(min(values), max(values))
    body = [_axes(x, y, y_ticks, unit, along)] + [_curve(curve, rows, x, y) for curve, rows in drawn]
    return ('<figure class="card chart" data-figure="{name}"><figcaption>{title}</figcaption>'
            '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{body}'
            '<g class="reading" hidden><line y1="{top}" y2="{bottom}"/></g></svg>'
            '<div class="legend">{legend}</div></figure>').format(
                name=escape(name), title=title.html(), width=WIDTH, height=HEIGHT, top=TOP, bottom=HEIGHT - BOTTOM,
                label=escape(title.en), body=''.join(body), legend=''.join(map(_legend, curves)))


def _thin(points: Points) -> List[Tuple[float, float, float, float]]:
    """(step, mean, least, most) of each stretch of the points; each point by itself where they are few."""
    if len(points) <= MOST_POINTS:
        return [(step, value, value, value) for step, value in points]
    rows = []
    for number_ in range(MOST_POINTS):
        stretch = points[number_ * len(points) // MOST_POINTS:(number_ + 1) * len(points) // MOST_POINTS]
        values = [value for _, value in stretch]
        rows.append((stretch[-1][0], sum(values) / len(values), min(values), max(values)))
    return rows


def _value_axis(low: float, high: float):
    """The Scale of the values and its ticks."""
    if low > 0 and high / low > LOGARITHMIC:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks = [10. ** power for power in range(first, last + 1, max(1, (last - first) // 5))]
        return Scale(10. ** first, 10. ** last, HEIGHT - BOTTOM, TOP, True), ticks
    if high == low:
        low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
    step = _nice((high - low) / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [tick * step for tick in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP), ticks


def _nice(step: float) -> float:
    """The next larger step of the form 1, 2 or 5 times a power of ten."""
    power = 10. ** math.floor(math.log10(step))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= step * .999)


def _axes(x, y, y_ticks, unit, along):
    parts = []
    for tick in y_ticks:
        height = y(tick)
        parts.append('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>' % (
            LEFT, WIDTH - RIGHT, height, height))
        parts.append('<text class="tick" x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            LEFT - 6, height + 4, number(float('%.10g' % tick))))
    step = max(_nice((x.high - x.low) / 4), 1)
    for tick in range(math.ceil(x.low / step), math.floor(x.high / step) + 1):
        left = x(tick * step)
        parts.append('<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (
            left, left, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4))
        parts.append('<text class="tick" x="%.1f" y="%d" text-anchor="middle">%s</text>' % (
            left, HEIGHT - BOTTOM + 17, number(tick * step)))
    parts.append('<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>' % (
        LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM))
    parts.append(axis_label(along, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, 'middle'))
    parts.append(axis_label(unit, 6, 14, 'start'))
    return ''.join(parts)


def axis_label(words: Words, x: float, y: float, anchor: str) -> str:
    """A <text> of SVG in each language; anchor: which end of it is at (x, y): start, middle or end."""
    return ''.join('<text class="label %s" x="%.0f" y="%.0f" text-anchor="%s">%s</text>' % (
        language, x, y, anchor, escape(text)) for language, text in words._asdict().items())


def _curve(curve, rows, x, y):
    points = [(x(step), y(mean)) for step, mean, _, _ in rows]
    line = ' '.join('%.1f,%.1f' % point for point in points)
    parts = []
    if len(curve.points) > MOST_POINTS:
        edge = ['%.1f,%.1f' % (x(row[0]), y(row[3])) for row in rows]
        edge += ['%.1f,%.1f' % (x(row[0]), y(row[2])) for row in reversed(rows)]
        parts.append('<polygon class="band c%d" points="%s"/>' % (curve.colour, ' '.join(edge)))
    values = ' '.join('%d:%.6g' % (step, mean) for step, mean, _, _ in rows)
    parts.append('<polyline class="curve c%d" points="%s" data-values="%s" data-label="%s"/>' % (
        curve.colour, line, values, escape(curve.label.en + curve.run)))
    if len(rows) <= FEW_POINTS:
        parts += ['<circle class="c%d" cx="%.1f" cy="%.1f" r="2.6"/>' % (curve.colour, *point) for point in points]
    return ''.join(parts)


def _legend(curve):
    return '<span class="key c%d"><i></i>%s%s <b data-reading>%s</b></span>' % (
        curve.colour, curve.label.html(), escape(curve.run), number(curve.points[-1][1]))
