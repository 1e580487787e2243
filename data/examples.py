"""Images in TFRecord shards of ImageNet's form: tf.train.Example with image/encoded and image/class/label.

The shards are named by their part, train-00000-of-00010 and validation-00000-of-00002, or by part and suffix, as in
flowers_train.tfrecord. Labels count from 1, as TensorFlow's converters of ImageNet write them (0 is the background), or
from 0. The names of the classes are the lines of labels.txt beside the shards, NAME or LABEL:NAME.
"""
import os
import re
from typing import Callable, Iterator, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from data import records
from data.dataset import DataSet, Split, check_directory, packed, summary
from data.listing import HEAD, counted, listing, parts_of, shown, what_is
from data.loading import Skipped

ENCODED, LABEL, NAMES = 'image/encoded', 'image/class/label', 'labels.txt'
_SHARD = re.compile(rb'(.*?)([-_](\d+)-of-(\d+))?(\.tfrecords?)?')
_BACKGROUND = 'background'     # the name of class 0 where the images' labels count from 1
_READ = 4096                   # bytes of a record that are read at a time while its label is looked for
_MOST_CLASSES = 2 ** 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5   # protobuf's types on the wire
# Fields of Example, of its Features, of an entry of their map, and of a Feature (tensorflow/core/example/*.proto).
_FEATURES, _ENTRY, _KEY, _VALUE, _INT64_LIST = 1, 1, 1, 2, 3


def has_shards(path: str) -> bool:
    """Whether shards of a training part are in the directory `path`."""
    return os.path.isdir(path) and bool(_parts(path)[0])


def images_in_shards(path: str, cache: str) -> DataSet:
    """The DataSet of the shards in the directory `path`; x of a sample is the file of the image, its bytes.

    cache: as of data.records.index(). No image is decoded. Raises InputError naming the file at fault.
    """
    check_directory(path)
    trains, tests, validations = _parts(path)
    if not trains or not tests:
        raise InputError('--data_path=%s: has no TFRecord shards of the %s part; they are called %s%s' % (
            path, 'test' if trains else 'training',
            'validation-00000-of-00010 or test.tfrecord' if trains else 'train-00000-of-00010 or train.tfrecord',
            packed(path)))
    parts = [words[0][1] for words in (trains, tests, validations) if words]
    names = [os.path.join(path, os.fsdecode(name)) for part in parts for name in _complete(path, part)]
    found = records.index(names, cache, label)
    ends = found.rows[np.cumsum([len(part) for part in parts])]
    reader, end = records.ShardReader(found), ends[0]
    class_names, first = _classes(path, found.labels[:end])
    labels = found.labels - first
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(wrong):
        raise InputError('%s has the label %d; those of the %d classes of the training part are %d to %d' % (
            found.name(found.addresses[wrong[0]]), found.labels[wrong[0]], len(class_names), first,
            first + len(class_names) - 1))
    splits = [Split(found.addresses[rows], labels[rows].astype(np.int32), lambda x: encoded(reader.fetch(x)))
              for rows in map(slice, [0, *ends], ends)]
    splits[0] = splits[0]._replace(order=records.order(np.diff(found.rows)[:len(parts[0])]))
    empty = int((np.diff(found.rows) == 0).sum())
    notes = ['%s without a record' % counted(empty, 'shard') if empty else '']
    notes += ['shards of %s not used' % word for word, _ in trains[1:] + tests[1:] + validations[1:]]
    notes += [counted(split.size, 'validation image') for split in splits[2:]]
    return DataSet(*splits[:2], class_names, summary(splits[0].size, splits[1].size, len(class_names), notes),
                   skipped=Skipped(found.addresses, lambda address: _why(reader, address)),
                   validation=next(iter(splits[2:]), None))


def encoded(examples: tf.Tensor) -> tf.Tensor:
    """The image files, their bytes, in serialized tf.train.Examples of any shape."""
    found = tf.io.parse_example(tf.reshape(examples, [-1]), {ENCODED: tf.io.FixedLenFeature([], tf.string)})[ENCODED]
    return tf.reshape(found, examples.shape)


def _parts(path: str) -> Tuple[List, List, List]:
    """([(word, names of its shards)] of the training part, of the test part, of the validation part), the best word first.
    """
    shards = {}
    for name in listing(os.fsencode(path), ('',)).files:
        match = _SHARD.fullmatch(name)
        if match[2] or match[5]:
            for word in {word.lower() for word in re.split(rb'[-_.]', match[1])}:
                shards.setdefault(word, []).append(name)
    return tuple([(word.decode(), shards[word]) for word in words] for words in parts_of(sorted(shards)))


def _complete(path: str, names: Sequence[bytes]) -> Sequence[bytes]:
    """The names of a part's shards. Raises InputError when one of NUMBER-of-COUNT is missing."""
    matches = [_SHARD.fullmatch(name) for name in names]
    present = {(match[1], match[4], int(match[3])) for match in matches if match[2]}
    for match in matches:
        if not match[2]:
            continue
        for number in range(int(match[4])):
            if (match[1], match[4], number) not in present:
                raise InputError('--data_path=%s: number %d of the %d shards %s is missing; fetch it' % (
                    path, number, int(match[4]), shown(match[1] + b'-*-of-' + match[4])))
        break                          # the others are of the same set, or more than one set would be mixed
    sets = {(match[1], match[4]) for match in matches}
    if len(sets) > 1 and any(match[2] for match in matches):
        raise InputError('--data_path=%s: holds shards of several sets, such as %s; name a directory for each' % (
            path, ' and '.join(sorted({shown(match[0]) for match in matches})[::len(matches) - 1])))
    return names


def _classes(path: str, labels: np.ndarray) -> Tuple[Tuple[str, ...], int]:
    """(the names of the classes, the label of the first) of a training part with these labels."""
    least, most = int(labels.min()), int(labels.max())
    file = os.path.join(path, NAMES)
    if not os.path.exists(file):
        first = 1 if least >= 1 else 0
        if most - first >= _MOST_CLASSES:
            raise InputError('--data_path=%s: has the label %d, but no %s' % (path, most, NAMES))
        names = tuple(map(str, range(first, most + 1)))
    else:
        names, first = _named(file, least, most)
    if len(names) < 2:
        raise InputError('--data_path=%s: has images of one class alone; at least 2 are needed' % path)
    return names, first


def _named(file: str, least: int, most: int) -> Tuple[Tuple[str, ...], int]:
    """_classes() by the file of their names."""
    try:
        lines = [line.strip() for line in files.text(file).splitlines() if line.strip()]
    except ValueError as error:
        raise InputError('%s: %s' % (file, error))
    pairs = [re.fullmatch(r'(\d{1,7}):(.*)', line) for line in lines]
    if lines and all(pairs):
        numbers = [int(pair[1]) for pair in pairs]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
            raise InputError('%s: its lines LABEL:NAME must count from 0 or 1' % file)
        names, first = [pair[2].strip() for pair in pairs], numbers[0]
    else:
        names, first = lines, 0 if least < 1 or len(lines) == most + 1 else 1
    if names and first == 0 and least > 0 and names[0].lower() == _BACKGROUND:
        names, first = names[1:], 1
    if most >= first + len(names):
        raise InputError('%s: names %d classes, but an image has the label %d' % (file, len(names), most))
    return tuple(map(shown, map(os.fsencode, names))), first


def _why(reader: records.ShardReader, address: int) -> str:
    """What is wrong with a record that could not be loaded."""
    try:
        example = tf.train.Example.FromString(*reader.read(np.array([address])))
        kind = what_is(example.features.feature[ENCODED].bytes_list.value[0][:HEAD])
    except InputError as error:
        return str(error)
    except Exception:                  # of protobuf's parser, and of a list without a value
        kind = None
    return '%s: %s' % (reader.index.name(address), 'is ' + kind if kind else 'cannot be decoded')


def label(read: Callable[[int, int], bytes], size: int) -> int:
    """records.Label: image/class/label of a tf.train.Example, without reading the image.

    Raises ValueError for a record that is no Example, or lacks the label or the image.
    """
    fields, found = _Fields(read), {}
    for number, start, end in fields.of(0, size):
        for entry, start, end in fields.of(start, end) if number == _FEATURES else ():
            parts = {part: (start, end) for part, start, end in fields.of(start, end)}
            if entry == _ENTRY and _KEY in parts and _VALUE in parts:
                key = fields.bytes(*parts[_KEY], most=len(LABEL))
                if key in (LABEL.encode(), ENCODED.encode()):
                    found[key] = parts[_VALUE]
        if len(found) == 2:
            break
    for name in (LABEL, ENCODED):
        if name.encode() not in found:
            raise ValueError('is no tf.train.Example with %s' % name)
    for number, start, end in fields.of(*found[LABEL.encode()]):
        for _, start, end in fields.of(start, end) if number == _INT64_LIST and end > start else ():
            value = fields.varint(start)[0]
            return value - 2 ** 64 if value >= 2 ** 63 else value
    raise ValueError('has no whole number as %s' % LABEL)


class _Fields:
    """The fields of a protobuf message, of which only those are read that are looked at."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read, self._start, self._window = read, 0, b''

    def bytes(self, start: int, end: int, most: int) -> bytes:
        """Those from `start` to `end`, of which at most `most` + 1 are read."""
        count = min(end - start, most + 1)
        if not self._start <= start <= start + count <= self._start + len(self._window):
            self._start, self._window = start, self._read(start, max(count, _READ))
        return self._window[start - self._start:start - self._start + count]

    def varint(self, position: int) -> Tuple[int, int]:
        """(the number at `position`, the position behind it)."""
        value, shift = 0, 0
        while shift < 70:
            byte, = self.bytes(position, position + 1, 1) or [-1]
            if byte < 0:
                break
            value, shift, position = value | (byte & 0x7f) << shift, shift + 7, position + 1
            if byte < 0x80:
                return value, position
        raise ValueError('is no tf.train.Example')

    def of(self, start: int, end: int) -> Iterator[Tuple[int, int, int]]:
        """Yields (number of a field, where its content starts, where it ends)."""
        while start < end:
            tag, start = self.varint(start)
            kind, stop = tag & 7, None
            if kind == _VARINT:
                stop = self.varint(start)[1]
            elif kind == _BYTES:
                length, start = self.varint(start)
                stop = start + length
            elif kind in (_FIXED32, _FIXED64):
                stop = start + (4 if kind == _FIXED32 else 8)
            if stop is None or stop > end:
                raise ValueError('is no tf.train.Example')
            yield tag >> 3, start, stop
            start = stop
