"""Kinds of values a user types, for command-line flags and NpuOptimizer options alike.

Stricter than int(), float() and bool() on purpose: no `1_000`, no `nan`, no "False" that is true.
"""
import math
import os
import re
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from core.log import is_hidden

MOST = 2 ** 31 - 1                    # of an int32, as which Ascend's adapter and its ranks read whole numbers
_LARGEST_SCALE = 2 ** 32              # beyond it float32 gradients overflow, or come back as zeros


class Kind(NamedTuple):
    """What a value may look like: parse(text) returns it or raises ValueError('must ...')."""
    allowed: str                  # completes 'must be ...'
    parse: Callable[[str], Any]
    is_boolean: bool = False      # whether `--name` alone means True
    is_obvious: bool = False      # whether -h need not say what is allowed


def _kind(allowed, convert, **facts):
    """A Kind whose convert(text) returns the value, or None when the text is not allowed."""
    def parse(text):
        value = convert(text)
        if value is None:
            raise ValueError('must be ' + allowed)
        return value
    return Kind(allowed, parse, **facts)


def _limits(least=None, above=None, most=None, below=None):
    """English for the limits that are given, '' for none, and the test of a value."""
    if least is not None and most is not None:
        words = ' from %s to %s' % (least, most)
    else:
        signs = (('>=', least), ('>', above), ('<=', most), ('<', below))
        words = ' and'.join(' %s %s' % (sign, limit) for sign, limit in signs if limit is not None)

    def within(value):
        return ((least is None or value >= least) and (above is None or value > above)
                and (most is None or value <= most) and (below is None or value < below))
    return words, within


def whole(least: Optional[int] = None, most: Optional[int] = None) -> Kind:
    """A whole number of at most 18 digits (so that it fits 64 bits), as an int."""
    words, within = _limits(least, most=most)

    def convert(text):
        if not re.fullmatch(r'[+-]?[0-9]{1,18}', text):
            return None
        return int(text) if within(int(text)) else None
    return _kind('a whole number' + (words or ' of at most 18 digits'), convert)


def number(least: Optional[float] = None, above: Optional[float] = None, most: Optional[float] = None,
           below: Optional[float] = None) -> Kind:
    """A finite decimal number such as `0.1` or `1e-3`, as a float."""
    words, within = _limits(least, above, most, below)

    def convert(text):
        if not re.fullmatch(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?', text):
            return None
        value = float(text)
        return value if math.isfinite(value) and within(value) else None
    return _kind('a number' + words, convert)


def either(*kinds: Kind) -> Kind:
    """What the first of these kinds that takes the text makes of it."""
    def convert(given):
        for kind in kinds:
            try:
                return kind.parse(given)
            except ValueError:
                continue
    return _kind(' or '.join(kind.allowed for kind in kinds), convert)


def or_unset(word: str, kind: Kind) -> Kind:
    """`kind`, or `word`, which means unset: vendor scripts pass it as a default."""
    return Kind('%s; %s: as if not given' % (kind.allowed, repr(word) if not word else word),
                lambda text: None if text == word else kind.parse(text), is_obvious=kind.is_obvious)


def boolean() -> Kind:
    """True or False in any case; 1 and 0 mean the same."""
    words = {'true': True, '1': True, 'false': False, '0': False}
    return _kind('True or False', lambda text: words.get(text.lower()), is_boolean=True)


def choice(*names: str, others: Sequence[str] = (), flag: str = '') -> Kind:
    """One of these names, exactly; others: values of --`flag`, which the refusal then names."""
    def parse(text):
        if text not in names:
            raise ValueError('must be ' + allowed + ('; or give --%s=%s' % (flag, text) if text in others else ''))
        return text
    allowed = 'one of ' + ', '.join(names)
    return Kind(allowed, parse)


def text() -> Kind:
    """Text, not empty, in UTF-8, for TensorFlow takes no other; without control characters, for a plan's value is a line.
    """
    return _kind('UTF-8 text, not empty, without control characters',
                 lambda given: None if not given or is_hidden(given) else given, is_obvious=True)


def path() -> Kind:
    """The path of a file or directory; `~/` at its start is the home directory, which bash does not know in --name=~/x.

    Blanks at the ends and control characters are slips of copying: they would make a name that nobody sees.
    """
    def convert(given):
        if not given or given != given.strip() or is_hidden(given):
            return None
        whole = os.path.expanduser(given)
        return None if whole.startswith('~') else whole
    return _kind('a path in UTF-8, not empty, without control characters and without blanks at its ends; a ~ at its '
                 'start is a home directory', convert, is_obvious=True)


def project_file(root: str) -> Kind:
    """The path of a file; a relative one that is not in the working directory may be in the directory `root`."""
    def convert(given):
        return given if os.path.exists(given) or not os.path.exists(os.path.join(root, given)) else os.path.join(
            root, given)
    plain = path()
    return plain._replace(parse=lambda given: convert(plain.parse(given)))


def pattern(expression: str, allowed: str) -> Kind:
    """Text that the regular expression matches as a whole."""
    return _kind(allowed, lambda given: given if re.fullmatch(expression, given) else None)


OWN_SIZE = '32'                # of the images of CIFAR


def size() -> Kind:
    """The pixels of an image, N or HEIGHTxWIDTH, as text; HEIGHTxHEIGHT becomes HEIGHT."""
    def convert(given):
        match = re.fullmatch(r'([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?', given)
        return match and (match[1] if match[2] in (None, match[1]) else given)
    return _kind('a number of pixels from 1 to 9999, or HEIGHTxWIDTH', convert)


def regular_expression() -> Kind:
    """A regular expression of Python, as text."""
    def convert(given):
        try:
            return given if given and not is_hidden(given) and re.compile(given) else None
        except (re.error, RecursionError, OverflowError):
            return None
    return _kind('a regular expression of Python', convert)


def ascending() -> Kind:
    """Steps joined by commas, in rising order, as a tuple."""
    def convert(given):
        numbers = tuple(map(int, given.split(','))) if re.fullmatch('[0-9]{1,9}(,[0-9]{1,9}){0,99}', given) else (0,)
        return numbers if all(before < after for before, after in zip((0, *numbers), numbers)) else None
    return _kind('at most 100 whole numbers from 1, joined by commas, each larger than the one before', convert)


def names() -> Kind:
    """Names separated by single blanks."""
    return pattern(r'\S+( \S+)*', 'names separated by single blanks')


def ranges_of(steps: str) -> List[Tuple[int, int]]:
    """[(first, last)] of the steps that dump_steps() takes, as the adapter reads them.

    Without A a range begins at 0, without B it is one step; a `|` at the end has no meaning.
    """
    ends = [part.partition('-') for part in _parts(steps)]
    return [(int(first or 0), int(last or first)) for first, _, last in ends]


def _parts(steps):
    return (steps[:-1] if steps.endswith('|') else steps).split('|')


def dump_steps() -> Kind:
    """`N` or `A-B` with A < B, joined by `|`, at most 100 of them: `0|5|10-20`."""
    def is_set(part):
        if not re.fullmatch('[0-9]+-?|[0-9]*-[0-9]+', part):
            return False
        (first, last), = ranges_of(part)
        return max(first, last) <= MOST and (first < last or '-' not in part[:-1])

    def convert(given):
        return given if len(_parts(given)) <= 100 and all(map(is_set, _parts(given))) else None
    return _kind('N or A-B with A < B, joined by |, at most 100 of them, such as 0|5|10-20', convert)


def file_path() -> Kind:
    """The path() of a file that is there and can be read."""
    def convert(given):
        given = _as_path(given)
        return given if given and os.path.isfile(given) and os.access(given, os.R_OK) else None
    return _kind('a file that exists and can be read', convert)


def directory() -> Kind:
    """The path() of a directory that is there and can be read and written."""
    def convert(given):
        given = _as_path(given)
        usable = given and os.path.isdir(given) and os.access(given, os.R_OK | os.W_OK | os.X_OK)
        return given if usable else None
    return _kind('a directory that exists and can be read and written', convert)


def _as_path(given):
    """What path() makes of the text; None when it takes none of it."""
    try:
        return path().parse(given)
    except ValueError:
        return None


def step_range() -> Kind:
    """`N` or `A-B` with A < B: steps, counted from 0."""
    def convert(text):
        ends = re.fullmatch('([0-9]{1,9})(?:-([0-9]{1,9}))?', text)
        return text if ends and (ends.group(2) is None or int(ends.group(1)) < int(ends.group(2))) else None
    return _kind('N or A-B with A < B, such as 10-12', convert)


def loss_scale() -> Kind:
    """The kind of --loss_scale: False (off), True (dynamic) or a number from 1 to _LARGEST_SCALE (static)."""
    allowed = 'False, True (dynamic) or a number from 1 to %d (static)' % _LARGEST_SCALE
    words = {'false': False, 'true': True}
    scale = number(least=1, most=_LARGEST_SCALE)

    def parse(text):
        try:
            return words[text.lower()] if text.lower() in words else scale.parse(text)
        except ValueError:
            raise ValueError('must be ' + allowed) from None
    return Kind(allowed, parse)
