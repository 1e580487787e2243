"""What the report draws: where points, ticks, cells and dots lie, read out of the SVG."""
import base64
import html.parser
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import tensorflow as tf
from pictures import predictions

from core.pages import charts, page, pictures
from core.pages.charts import Curve, chart
from core.pages.text import Words

LOSS = Words('loss', '损失')
UNCLOSED = ('img', 'br', 'input', 'line', 'circle', 'polyline', 'polygon', 'image')


class Parser(html.parser.HTMLParser):
    """Makes a tree of HTML."""

    def __init__(self, text):
        super().__init__()
        self._builder = ElementTree.TreeBuilder()
        self.feed(text)
        self.tree = self._builder.close()

    def handle_starttag(self, tag, attributes):
        self._builder.start(tag, {name: value or '' for name, value in attributes})
        if tag in UNCLOSED:
            self._builder.end(tag)

    def handle_endtag(self, tag):
        if tag not in UNCLOSED:
            self._builder.end(tag)

    def handle_data(self, text):
        self._builder.data(text)


def drawn(points, *others):
    """The figure of one curve and others, as an XML tree."""
    curves = [Curve(Words('one', '一'), points, 1)] + [Curve(Words('other', '其他'), other, 2) for other in others]
    return Parser(chart('name', LOSS, LOSS, curves)).tree


def numbers(text):
    return [float(word) for word in text.replace(',', ' ').split()]


def ticks(figure, anchor, axis):
    """[(value, its coordinate on the axis)] of the ticks, by value; anchor: end for values, middle for steps."""
    lines = [line for line in figure.iter('line') if line.get('class') == 'grid']
    texts = [text for text in figure.iter('text') if text.get('class') == 'tick' and text.get('text-anchor') == anchor]
    found = []
    for text in texts:
        nearest = min((float(line.get(axis + '1')) for line in lines
                       if (line.get('y1') == line.get('y2')) == (axis == 'y')),
                      key=lambda coordinate: abs(coordinate - float(text.get(axis))))
        found.append((float(text.text.replace(',', '')), nearest))
    return sorted(found)


def points(figure, kind='polyline', index=0):
    """[(x, y)] of a line or an outline."""
    flat = numbers(list(figure.iter(kind))[index].get('points'))
    return list(zip(flat[::2], flat[1::2]))


def test_points_lie_where_the_ticks_of_both_axes_say_and_larger_is_higher():
    figure = drawn([(0, 0.), (50, 1.), (75, 3.5), (100, 4.)])
    steps, values = ticks(figure, 'middle', 'x'), ticks(figure, 'end', 'y')
    assert [value for value, _ in steps] == [0, 50, 100] and [value for value, _ in values] == [0, 1, 2, 3, 4]
    assert steps[0][1] < steps[-1][1] and values[0][1] > values[-1][1]
    for (step, value), (x, y) in zip([(0, 0.), (50, 1.), (75, 3.5), (100, 4.)], points(figure)):
        assert x == pytest.approx(np.interp(step, *zip(*steps)), abs=.2)
        assert y == pytest.approx(np.interp(value, *zip(*values)), abs=.2)


def test_values_that_span_more_than_a_factor_of_60_have_a_logarithmic_axis():
    figure = drawn([(0, 1000.), (1, 10.), (2, 1.)])
    values = ticks(figure, 'end', 'y')
    assert [value for value, _ in values] == [1, 10, 100, 1000]
    assert np.diff([y for _, y in values]) == pytest.approx([values[1][1] - values[0][1]] * 3, abs=.2)
    assert [y for _, y in points(figure)] == pytest.approx([values[3][1], values[1][1], values[0][1]], abs=.1)
    assert [value for value, _ in ticks(drawn([(0, 1.), (1, 60.)]), 'end', 'y')] == [0, 20, 40, 60]
    assert [value for value, _ in ticks(drawn([(0, 1.), (1, 61.)]), 'end', 'y')] == [1, 10, 100]
    assert [value for value, _ in ticks(drawn([(0, 0.), (1, 600.)]), 'end', 'y')] == [0, 200, 400, 600]


@pytest.mark.parametrize('value, low, high', [(.5, .25, .75), (-2., -3, -1), (0., -1, 1)])
def test_a_flat_curve_lies_between_the_ticks(value, low, high):
    figure = drawn([(0, value), (9, value)])
    values = ticks(figure, 'end', 'y')
    assert values[0][0] <= low < high <= values[-1][0]
    assert [y for _, y in points(figure)] == pytest.approx([np.interp(value, *zip(*values))] * 2, abs=.2)


def test_of_many_points_the_mean_of_each_stretch_is_drawn_and_its_range_behind():
    figure = drawn([(step, float(step % 2)) for step in range(480)])
    values = dict(ticks(figure, 'end', 'y'))
    line, band = points(figure), points(figure, 'polygon')
    assert len(line) == 240 and len(band) == 480 and not list(figure.iter('circle'))
    middle = np.mean([values[0], values[1]])
    for part, y in (line, middle), (band[:240], values[1]), (band[240:], values[0]):
        assert [point[1] for point in part] == pytest.approx([y] * 240, abs=.1)
    assert [x for x, _ in band[:240]] == [x for x, _ in reversed(band[240:])] == [x for x, _ in line]
    steps = ticks(figure, 'middle', 'x')
    assert line[-1][0] == pytest.approx(steps[0][1] + 479 * (steps[-1][1] - steps[0][1]) / steps[-1][0], abs=.2)
    whole = drawn([(step, 1.) for step in range(240)])
    assert len(points(whole)) == 240 and not list(whole.iter('polygon'))


@pytest.mark.parametrize('count, circles', [(40, 40), (41, 0)])
def test_few_points_are_marked_one_by_one(count, circles):
    figure = drawn([(step, 1. * step) for step in range(count)])
    assert len(list(figure.iter('circle'))) == circles
    for circle, point in zip(figure.iter('circle'), points(figure)):
        assert (float(circle.get('cx')), float(circle.get('cy'))) == point


def test_a_curve_without_points_is_left_out_and_the_legend_has_the_last_values():
    assert chart('name', LOSS, LOSS, [Curve(LOSS, [], 1)]) == ''
    figure = drawn([(0, 1.), (10, 2.25)], [], [(4, 7.)])
    assert len(list(figure.iter('polyline'))) == 2
    assert [bold.text for bold in figure.iter('b')] == ['2.25', '7']
    assert [line.get('class') for line in figure.iter('polyline')] == ['curve c1', 'curve c2']
    assert list(figure.iter('polyline'))[0].get('data-values') == '0:1 10:2.25'


def test_a_label_is_text_and_no_markup():
    figure = Parser(chart('a"b', LOSS, LOSS, [Curve(Words('<b>&', '<i>'), [(0, 1.)], 1, ' "run"')])).tree
    assert figure.get('data-figure') == 'a"b' and figure.find('.//polyline').get('data-label') == '<b>& "run"'
    assert '<b>&' in ''.join(figure.itertext())


@pytest.mark.parametrize('step, nice', [(.9, 1), (1, 1), (1.1, 2), (2.4, 5), (5.1, 10), (.03, .05), (700, 1000)])
def test_ticks_are_apart_by_1_2_or_5_times_a_power_of_ten(step, nice):
    assert charts._nice(step) == pytest.approx(nice)


def panel(made):
    return Parser(page._panel('name', made)).tree


PREDICTIONS = predictions([0, 0, 0, 1], [0, 1, 1, 1], [.9, .6, .8, .7], 2)


def test_a_confusion_matrix_draws_a_cell_for_each_pair_that_occurs_in_its_true_class_row():
    made = pictures.confusion_matrix(PREDICTIONS, ['cat', 'dog'])
    assert made['counts'] == [[1, 2], [0, 1]] and made['note'][0] == '2 of 4 test images are right'
    figure = panel(made)
    cells = {cell.find('title').text: cell for cell in figure.iter('rect')}
    assert set(cells) == {'cat → cat: 1', 'cat → dog: 2', 'dog → dog: 1'}
    right, wrong, last = (cells[name] for name in ('cat → cat: 1', 'cat → dog: 2', 'dog → dog: 1'))
    assert [cell.get('class') for cell in (right, wrong, last)] == ['diagonal', '', 'diagonal']
    (x, y), (wrong_x, wrong_y), (last_x, last_y) = [(float(cell.get('x')), float(cell.get('y')))
                                                    for cell in (right, wrong, last)]
    assert y == wrong_y < last_y and x < wrong_x == last_x
    # Of the row of the cats a third and two thirds, of the dogs all: in a cell's strength, .08 + .92 * sqrt(part).
    strengths = [float(cell.get('fill-opacity')) for cell in (right, wrong, last)]
    assert strengths == pytest.approx([.611, .831, 1.], abs=1e-3)
    texts = [text.text for text in figure.iter('text') if (text.text or '').isdigit()]
    assert texts == ['1', '2', '1']


def test_mistakes_come_the_surest_first_with_what_was_guessed_and_what_is_right():
    shown = []

    def images(rows):
        shown.extend(rows)
        return [np.zeros([2, 2, 3], np.uint8)] * len(rows)
    figure = panel(pictures.mistakes(PREDICTIONS, ['cat', 'dog'], images, '/data/{}.jpg'.format, count=1))
    assert shown == [2]                          # row 2 with .8, before row 1 with .6
    words = [''.join(span.itertext()) for span in figure.iter('span')
             if span.get('class') in ('wrong', 'right', 'file')]
    assert words == ['dog 0.800', 'is cat实为 cat', '2.jpg']


def test_a_picture_is_in_the_page_pixel_by_pixel():
    image = np.random.RandomState(0).randint(0, 256, [5, 7, 3]).astype(np.uint8)
    url, = pictures.encode([image])
    kind, data = url.split(',')
    assert kind == 'data:image/png;base64'
    with tf.Graph().as_default(), tf.Session() as session:
        assert (session.run(tf.image.decode_png(base64.b64decode(data))) == image).all()
    assert pictures.encode([image], jpeg=True)[0].startswith('data:image/jpeg;base64,/9j/')


@pytest.mark.parametrize('count, chosen', [(3, [0, 1, 2]), (20, list(range(20))), (77, [0, 4, 8, 12, 16])])
def test_frames_are_spread_evenly_with_the_first_and_the_last(count, chosen):
    found = pictures.spread(range(count))
    assert found[:len(chosen)] == chosen and found[-1] == count - 1 and len(found) == min(count, 20)


def test_a_slider_shows_its_last_frame_and_has_all_of_them_as_data():
    frames = [('url-%d' % n, ('epoch %d' % n, '<第 %d 轮>' % n)) for n in range(3)]
    figure = panel(pictures.slider(LOSS, LOSS, frames))
    assert figure.find('.//img').get('src') == 'url-2'
    assert (figure.find('.//input').get('max'), figure.find('.//input').get('value')) == ('2', '2')
    assert [frame['image'] for frame in json.loads(figure.find('.//script').text)] == ['url-0', 'url-1', 'url-2']


def test_the_dots_of_a_map_lie_where_its_ticks_say():
    made = pictures.regions(LOSS, LOSS, ((-2, 4), (0, 3)), [(LOSS, np.zeros([4, 4, 3], np.uint8))],
                            [(-2, 0, 0), (1, 1.5, 1), (4, 3, 2)])
    figure = panel(made)
    dots = [(dot.get('class'), float(dot.get('cx')), float(dot.get('cy'))) for dot in figure.iter('circle')]
    assert dots == [('k0', 0., 300.), ('k1', 150., 150.), ('k2', 300., 0.)]
    across = {text.text: float(text.get('x')) for text in figure.iter('text') if text.get('text-anchor') == 'middle'}
    assert across == {str(tick): (tick + 2) * 50. for tick in range(-2, 5)}
    up = {text.text: float(text.get('y')) - 4 for text in figure.iter('text') if text.get('text-anchor') == 'end'}
    assert up == {'0': 300., '1': 200., '2': 100., '3': 0.}
