"""Pictures for the report: what a recipe shows of its network, made on the host between steps.

A picture is a Panel of plain data (core/reporting/record.py). Its words are of both() in core/pages/text.py, or pairs
(English, Chinese).
"""
import base64
import os
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core.pages import per_class
from core.pages.text import both
from core.run import Panel, Predictions
from core.device import cpu_session

MOST_FRAMES = 20               # of a slider

Pair = Tuple[str, str]


def files(images: Iterable[np.ndarray], jpeg: bool = False) -> List[bytes]:
    """uint8 images [height, width, 3], of any sizes, as PNG or JPEG files."""
    with tf.Graph().as_default(), cpu_session() as session:
        image = tf.placeholder(tf.uint8, [None, None, 3])
        file = tf.image.encode_jpeg(image, quality=85) if jpeg else tf.image.encode_png(image, compression=9)
        run = session.make_callable(file, [image])
        return [run(each) for each in images]


def encode(images: Iterable[np.ndarray], jpeg: bool = False) -> List[str]:
    """uint8 images [height, width, 3], of any sizes, as data: URLs of PNG or JPEG files."""
    return ['data:image/%s;base64,%s' % ('jpeg' if jpeg else 'png', base64.b64encode(file).decode())
            for file in files(images, jpeg)]


def decode(paths: Sequence[str]) -> List[np.ndarray]:
    """uint8 [height, width, 3] of each of the image files."""
    with tf.Graph().as_default(), cpu_session() as session:
        path = tf.placeholder(tf.string, [])
        run = session.make_callable(tf.image.decode_image(tf.read_file(path), channels=3), [path])
        return [run(each) for each in paths]


def gallery(title: Pair, note: Pair, images: Sequence[np.ndarray], lines: Sequence[Sequence[Tuple[str, Pair]]],
            photographs: bool = False, wide: bool = True) -> Panel:
    """Small images with lines of text below each; a line is (its CSS class: '', right or wrong; its words)."""
    return dict(kind='gallery', title=title, note=note, pixels=not photographs, wide=wide,
                items=list(zip(encode(images, jpeg=photographs), lines)))


def confusion_matrix(predictions: Predictions, names: Sequence[str]) -> Panel:
    """How often each class (rows) was taken for each (columns)."""
    counts = per_class.confusion(predictions)
    total, right = int(counts.sum()), int(np.trace(counts))
    return dict(kind='matrix', wide=False, title=both('Confusion matrix'), names=list(names),
                counts=counts.tolist(),
                note=both('%d of %d test images are right', right, total))


def mistakes(predictions: Predictions, names: Sequence[str], images: Callable[[np.ndarray], Sequence[np.ndarray]],
             sample_name: Callable[[int], str], count: int = 24, photographs: bool = False) -> Optional[Panel]:
    """The wrong predictions with the largest probability; images(rows of the test set) -> uint8 images.

    sample_name(row) -> the file of a row, or what else it is called.
    """
    guesses, confidence = predictions.classes, predictions.probabilities
    wrong, total = len(guesses), len(guesses) + int(predictions.right.sum())
    chosen = np.argsort(-confidence, kind='stable')[:count]
    lines = [[('wrong', ('%s %.3f' % (names[guesses[i]], confidence[i]),) * 2),
              ('right', both('is %s', names[predictions.labels[i]])),
              ('file', (os.path.basename(sample_name(predictions.rows[i])),) * 2)] for i in chosen]
    return gallery(both('Most confident mistakes'),
                   both('%d of %d test images are wrong; their guess and its probability, their class, their name; '
                        'mistakes.csv has all', wrong, total),
                   images(predictions.rows[chosen]), lines, photographs, wide=False)


def slider(title: Pair, note: Pair, frames: Sequence[Tuple[str, Pair]]) -> Panel:
    """Images, (data: URL, words), of which a slider shows one at a time, at first the last."""
    return dict(kind='slider', wide=True, title=title, note=note, frames=list(frames))


def spread(items: Sequence[Any], count: int = MOST_FRAMES) -> List[Any]:
    """At most `count` of the items, evenly spread, the first and the last among them."""
    indices = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[index] for index in indices]


def regions(title: Pair, note: Pair, extent: Sequence[Sequence[float]], maps: Sequence[Tuple[Pair, np.ndarray]],
            points: Sequence[Sequence[float]]) -> Panel:
    """Maps, (words, uint8 image), of a plane, with points (x, y, class) on each.

    extent: ((left, right), (bottom, top)) of the plane.
    """
    images = encode([image for _, image in maps])
    return dict(kind='regions', wide=True, title=title, note=note, extent=extent, points=points,
                maps=[(words, image) for (words, _), image in zip(maps, images)])


def curves(title: Pair, unit: Pair, series: Dict[str, Pair]) -> Panel:
    """A chart of further values of the record, {name of the points: words}."""
    return dict(kind='curves', title=title, unit=unit, series=series)
