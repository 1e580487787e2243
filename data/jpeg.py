"""What TensorFlow's decoder of JPEG leaves to others: which side of a photograph is up, and whether its data is whole.

Cameras store what the sensor saw and write beside it how the camera was held: the orientation of EXIF 2.3, section
4.6.4. libjpeg decodes a file that ends too early without an error; the blocks that are missing become grey, 128.
"""
import os
import re
import struct
import sys
import tempfile
import threading
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np
import tensorflow as tf

from core.device import cpu_session
from core.operators import host_operator

START, END = b'\xff\xd8', b'\xff\xd9'   # markers at the start and the end of a file
PROGRESSIVE = (0xc2, 0xc6, 0xca, 0xce)  # second bytes of the markers of frames that come in several scans
EXIF, SCAN = 0xe1, 0xda        # second bytes of the markers of an EXIF segment and of the image's data
ORIENTATION, SHORT = 0x112, 3  # a tag of EXIF, and the type of its value
GREY, CORNER = 128, 4          # the value of missing blocks; pixels of the side of the corner that is looked at

# The image as it was seen is the stored one with rows reversed, columns reversed, then transposed: by orientation 0..8.
_ROWS_REVERSED = (0, 0, 0, 1, 1, 0, 1, 1, 0)
_COLUMNS_REVERSED = (0, 0, 1, 1, 0, 0, 0, 1, 1)
_TRANSPOSED = (0, 0, 0, 0, 0, 1, 1, 1, 1)

_WARNING = re.compile(rb'^(?:Corrupt JPEG data: (?!.* extraneous bytes before marker)|Premature end of JPEG file)(.*)$',
                      re.M)
_STANDARD_ERROR = threading.Lock()
_WHOLE: Dict[int, bool] = {}     # hash of a file's bytes -> whether its image is whole


def orientation_in(content: bytes) -> int:
    """The orientation in a JPEG file, 1 to 8; 1, upright, where there is none."""
    for marker, segment in _segments(content):
        if marker == EXIF and segment[:6] == b'Exif\0\0':
            return _orientation_in_tiff(segment[6:])
    return 1


def is_progressive(content: bytes) -> bool:
    """Whether the image in a JPEG file comes in several scans, from coarse to fine."""
    return any(marker in PROGRESSIVE for marker, _ in _segments(content))


def _segments(content: bytes) -> Iterator[Tuple[int, bytes]]:
    """(second byte of the marker, what follows its size) of the segments before the data of the image."""
    offset = 2
    while content[offset:offset + 1] == b'\xff' and offset + 4 <= len(content) and content[offset + 1] != SCAN:
        marker, size = content[offset + 1], int.from_bytes(content[offset + 2:offset + 4], 'big')
        if marker == 0xff:             # a marker may have any number of bytes 0xff before it
            offset += 1
            continue
        yield marker, content[offset + 4:offset + 2 + size]
        offset += 2 + size


def _orientation_in_tiff(tiff):
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(tiff[:4])
    try:
        first, = struct.unpack_from(order + 'I', tiff, 4)
        count, = struct.unpack_from(order + 'H', tiff, first)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + 'HHIH', tiff, first + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if kind == SHORT and 1 <= value <= 8 else 1
    except (struct.error, TypeError):   # cut off; no TIFF
        pass
    return 1


def is_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Whether a file's bytes (a scalar string) start as a JPEG file does."""
    return tf.equal(tf.strings.substr(content, 0, len(START)), START)


def header(content: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """(orientation, int32 from 1 to 8, is_progressive()) of a file's bytes; (1, False) of a file that is no JPEG."""
    own = host_operator('jpeg_header')
    if own:
        return own(content)

    def of_jpeg():
        found = tf.py_func(lambda content: (np.int32(orientation_in(content)), is_progressive(content)),
                           [content], [tf.int32, tf.bool])
        return [tf.reshape(part, []) for part in found]
    return tf.cond(is_jpeg(content), of_jpeg, lambda: [tf.constant(1), tf.constant(False)])


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A stored image [height, width, channels] as it was seen."""
    def when(table, change, image):
        return tf.cond(_is_set(table, orientation), lambda: change(image), lambda: image)
    image = when(_ROWS_REVERSED, lambda x: tf.reverse(x, [0]), image)
    image = when(_COLUMNS_REVERSED, lambda x: tf.reverse(x, [1]), image)    # in a tenth of the time of [:, ::-1]
    return when(_TRANSPOSED, lambda x: tf.transpose(x, [1, 0, 2]), image)


def seen_size(size: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(height, width) as it was seen of the stored (height, width)."""
    return tf.where(_is_set(_TRANSPOSED, orientation), size[::-1], size)


def stored_window(first: tf.Tensor, window: tf.Tensor, size: tf.Tensor,
                  orientation: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """(first row and column, size), int32 [2], in the stored image of a window in the image as it was seen, of `size`.
    """
    first, window, size = (seen_size(one, orientation) for one in (first, window, size))   # or back, which is the same
    is_reversed = tf.stack([_is_set(_ROWS_REVERSED, orientation), _is_set(_COLUMNS_REVERSED, orientation)])
    return tf.where(is_reversed, size - window - first, first), window


def _is_set(table, orientation):
    return tf.equal(tf.gather(table, orientation), 1)


def checked(image: tf.Tensor, content: tf.Tensor, is_progressive: tf.Tensor) -> tf.Tensor:
    """The stored image, or a window of it, of a JPEG file's bytes; an error where the data ends before the window does.

    What libjpeg finds corrupt is looked for, which takes longer, where a corner is as grey as missing blocks, and in a
    progressive file, where a scan that is missing leaves an image that is only coarser.
    """
    is_grey = tf.reduce_all(tf.equal(image[-CORNER:, -CORNER:], GREY))
    is_whole = tf.cond(is_grey | is_progressive, lambda: tf.py_func(_is_whole, [content], tf.bool), lambda: True)
    with tf.control_dependencies([tf.debugging.Assert(is_whole, ['the data of the JPEG image ends too early'])]):
        return tf.identity(image)


def _is_whole(content):
    """Whether damage() finds nothing; remembered, because a training reads each file in every epoch."""
    key = hash(content)
    if key not in _WHOLE:
        _WHOLE[key] = damage(content) is None
    return _WHOLE[key]


def damage(content: bytes) -> Optional[str]:
    """What libjpeg finds corrupt in a JPEG file that it decodes all the same; None when that is nothing.

    Extraneous bytes, which many cameras leave, are nothing.
    """
    def decode():
        with tf.Graph().as_default(), cpu_session() as session:
            session.run(tf.image.decode_jpeg(content).op)
    return heard(decode)[1]


def heard(decode: Callable[[], Any]) -> Tuple[Any, Optional[str]]:
    """(what decode() returns, what libjpeg finds corrupt meanwhile; None: nothing).

    libjpeg tells it to the standard error of the process alone. What else is written there meanwhile is passed on.
    """
    with _STANDARD_ERROR, tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        screen = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            result = decode()
        finally:
            os.dup2(screen, 2)
            os.close(screen)
        said.seek(0)
        lines = said.read()
    found = _WARNING.search(lines)
    rest = re.sub(rb'(?m)^.*JPEG.*\n?', b'', lines)
    if rest:
        os.write(2, rest)
    return result, (found.group(1).decode(errors='replace') or 'it ends too early') if found else None
