"""Words of the reports in English and Chinese: both stand in the page, and the page shows one of them. Lines of CSV.

Code has the English words; chinese.tsv has the Chinese ones, a line for each English text.
"""
import csv
import functools
import html
import io
import os
import re
from typing import Dict, Iterable, NamedTuple, Sequence, Union

from core.log import printable

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'chinese.tsv')
_FORMULA = re.compile(r'[=+\-@](?![\d.]+(e[+-]?\d+)?$)')   # how a spreadsheet's formula starts, and not a number's sign


class Words(NamedTuple):
    """The same words in both languages."""
    en: str
    zh: str

    def html(self) -> str:
        """Both, as elements; page.html shows the reader's language and hides the other."""
        if self.en == self.zh:
            return escape(self.en)
        return '<span class="en" lang="en">%s</span><span class="zh" lang="zh">%s</span>' % (
            escape(self.en), escape(self.zh))


@functools.lru_cache(maxsize=None)
def table() -> Dict[str, str]:
    """{English text: the same in Chinese} of chinese.tsv."""
    with open(TABLE, encoding='utf-8') as file:
        return dict(line.rstrip('\n').split('\t') for line in file)


def both(english: str, *values: object) -> Words:
    """An English text and its Chinese one, each % values; a text that chinese.tsv lacks is the same in Chinese.

    values: numbers and names, or Words, which each text takes in its own language.
    """
    return Words(*(text % tuple(value[language] if isinstance(value, Words) else value for value in values) if values
                   else text for language, text in enumerate((english, table().get(english, english)))))


def of_record(text: Union[str, Sequence[str]]) -> Words:
    """The words of a text in a run's record: in English, or a pair of both languages."""
    return both(text) if isinstance(text, str) else Words(*text)


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
        return both('%d s', seconds)
    if seconds < 3600:
        return both('%d min %02d s', *divmod(seconds, 60))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return both('%d h %02d min', hours, minutes)


def of_metric(name: str) -> Words:
    """The words for a metric, which in Chinese is its name, set apart, where there is no word for it."""
    return both(name) if name in table() else Words(name, ' ' + name)
