"""Words of the reports in English and Chinese: both stand in the page, and the page shows one of them. Lines of CSV."""
import csv
import html
import io
import re
from typing import Iterable, NamedTuple, Sequence

from core.log import printable

_FORMULA = re.compile(r'[=+\-@](?![\d.]+(e[+-]?\d+)?$)')   # how a spreadsheet's formula starts, and not a number's sign


class Words(NamedTuple):
    """The same words in both languages."""
    en: str
    zh: str

    def html(self) -> str:
        """Both, as elements of which style.css shows the one in the reader's language."""
        if self.en == self.zh:
            return escape(self.en)
        return '<span class="en" lang="en">%s</span><span class="zh" lang="zh">%s</span>' % (
            escape(self.en), escape(self.zh))


def escape(value: object) -> str:
    """Any value as text of an HTML page."""
    return html.escape(str(value))


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Lines of CSV: foreign text is printable(), with ' before what a spreadsheet would execute as a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value):
    if not isinstance(value, str):
        return value
    return "'" * bool(_FORMULA.match(value)) + printable(value)


def number(value: float) -> str:
    """A number for an axis or a table: four significant digits, thousands apart, no needless zeros."""
    if value is None:
        return '–'
    size = abs(value)
    if value == int(value) and size < 1e9:
        return '{:,}'.format(int(value))
    if size >= 1000:
        return '{:,.0f}'.format(value)
    return '%.4g' % value


def duration(seconds: float) -> Words:
    """A time span, such as 1 h 02 min."""
    seconds = int(round(seconds))
    if seconds < 60:
        return Words('%d s' % seconds, '%d 秒' % seconds)
    if seconds < 3600:
        return Words('%d min %02d s' % divmod(seconds, 60), '%d 分 %02d 秒' % divmod(seconds, 60))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return Words('%d h %02d min' % (hours, minutes), '%d 小时 %02d 分' % (hours, minutes))


def in_chinese(metric: str) -> str:
    """The Chinese word for a metric; its own name where there is none."""
    return {'accuracy': '准确率', 'loss': '损失'}.get(metric, ' ' + metric)
