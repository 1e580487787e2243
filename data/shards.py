"""Writes the images of class folders as TFRecord shards of ImageNet's form, which data/examples.py reads."""
import contextlib
import os
import shutil
import tempfile
from typing import Callable, Iterator, List, Optional

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.settings import paths
from data import examples, folders, records
from data.dataset import Split
from data.listing import HEAD, shown, what_is

SHARD_BYTES = 128 * 2 ** 20    # of a shard, about, where no number of shards is asked for
_FORMATS = ((b'\xff\xd8', b'JPEG'), (b'\x89PNG', b'PNG'), (b'BM', b'BMP'), (b'GIF8', b'GIF'))


def write(path: str, output: str, count: Optional[int], seed: int, say: Callable[[str], None]) -> None:
    """Writes the class folders in `path` as shards into the new directory `output`, which appears when it is whole.

    count: of the training shards; None: by SHARD_BYTES. There are as many for tests as their part of the images asks
    for. Images are shuffled by `seed`, and keep the bytes of their files; labels count from 1, in the order of the
    classes' names. say(line) is called for each shard, and for each file that is left out. Raises InputError.
    """
    data = folders.folders(path, seed)
    if count and count > data.train.size:
        raise InputError('--shards=%d: there are only %d training images' % (count, data.train.size))
    sizes = [sum(os.path.getsize(name) for name in split.x) for split in (data.train, data.test)]
    output = os.path.abspath(output)
    _check(output, sum(sizes))
    whole = count or -(-sizes[0] // SHARD_BYTES) or 1
    random = np.random.RandomState(seed)
    with _appearing(output) as directory:
        for part, split in (('train', data.train), ('validation', data.test)):
            shards = max(1, round(whole * split.size / data.train.size))
            for number, rows in enumerate(np.array_split(random.permutation(split.size), min(shards, split.size))):
                name = '%s-%05d-of-%05d' % (part, number, min(shards, split.size))
                with open(os.path.join(directory, name), 'wb') as file:
                    for record in _records(split, rows, data.class_names, say):
                        file.write(record)
                say('%s: %d images' % (os.path.join(output, name), len(rows)))
        with open(os.path.join(directory, examples.NAMES), 'w', encoding='utf-8') as file:
            file.writelines('%d:%s\n' % line for line in enumerate(data.class_names, 1))


def _records(split: Split, rows: np.ndarray, class_names: List[str], say: Callable[[str], None]) -> Iterator[bytes]:
    """Yields the record of each image that may be one."""
    for row in rows:
        path = split.x[row]
        try:
            content = files.contents(path)
        except ValueError as error:
            raise InputError('%s: %s' % (os.fsdecode(path), error))
        kind = what_is(content[:HEAD])
        if kind:
            say('%s: is %s: left out' % (shown(path), kind))
            continue
        form = next((name for start, name in _FORMATS if content.startswith(start)), b'')
        yield records.record(tf.train.Example(features=tf.train.Features(feature={
            name: _feature(value) for name, value in (
                (examples.ENCODED, content), ('image/format', form), ('image/filename', os.path.basename(path)),
                (examples.LABEL, int(split.y[row]) + 1),
                ('image/class/text', class_names[split.y[row]].encode()))})).SerializeToString(deterministic=True))


def _feature(value: object) -> tf.train.Feature:
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _check(output: str, size: int) -> None:
    """Raises InputError unless `output` can be made, on a disk with room for `size` bytes."""
    if os.path.lexists(output) and not (os.path.isdir(output) and not os.listdir(output)):
        raise InputError('--output=%s: is there already; name a new directory' % output)
    paths.check_writable('--output', os.path.dirname(output))
    paths.check_room('--output', output, size)


@contextlib.contextmanager
def _appearing(output: str) -> Iterator[str]:
    """A context with a directory that is called `output` in the end, if nothing goes wrong."""
    os.makedirs(os.path.dirname(output), exist_ok=True)
    directory = tempfile.mkdtemp(dir=os.path.dirname(output), prefix='.%s-' % os.path.basename(output))
    try:
        yield directory
        os.chmod(directory, 0o755)
        os.rename(directory, output)       # instead of an empty one
    finally:
        shutil.rmtree(directory, ignore_errors=True)
