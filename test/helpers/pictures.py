"""Pictures in files, of the formats that TensorFlow decodes."""
import os
import struct

import numpy as np
import tensorflow as tf

from core.run import Predictions

# What a camera stores for each orientation of EXIF 2.3: STORED[n](what was seen).
STORED = {1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
          5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x), 7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
          8: lambda x: np.rot90(x, -1)}


def predictions(labels, guesses, probabilities, classes):
    """The Predictions of a test set, whose rows have these labels and are taken for these guesses."""
    labels, guesses = np.asarray(labels), np.asarray(guesses)
    wrong = np.flatnonzero(labels != guesses)
    return Predictions(np.bincount(labels[labels == guesses], minlength=classes), wrong, labels[wrong], guesses[wrong],
                       np.asarray(probabilities)[wrong])


def encoded(image, form):
    """The bytes of a file of an image, uint8 [height, width, 3]."""
    if form == 'bmp':
        return bmp(image)
    encode = {'png': tf.image.encode_png, 'jpg': lambda x: tf.image.encode_jpeg(x, quality=100)}[form]
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(encode(image))


def bmp(image):
    """A BMP file of 3 or 4 channels, whose rows go from the bottom to the top."""
    height, width, channels = image.shape
    order = [2, 1, 0, 3][:channels]
    rows = b''.join(image[row][:, order].tobytes().ljust(-(-width * channels // 4) * 4, b'\0')
                    for row in reversed(range(height)))
    head = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 8 * channels, 0, len(rows), 0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows


# 1x1, black: two images, of which the second is white.
GIF = (b'GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff'
       + b'!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00'
       + b'!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02L\x01\x00;')


def write_class_folders(directory, counts, form='jpg', size=(40, 48)):
    """Writes `counts` {class: number} pictures of one colour a class as directory/CLASS/NUMBER.form."""
    for number, (name, count) in enumerate(sorted(counts.items())):
        os.makedirs(os.path.join(str(directory), name))
        image = np.full(size + (3,), 20, np.uint8)
        image[..., number % 3] = 220
        content = encoded(image, form)
        for index in range(count):
            with open(os.path.join(str(directory), name, '%02d.%s' % (index, form)), 'wb') as file:
                file.write(content)


def exif(number, order='>', before=b'', kind=3):
    """An EXIF segment with the orientation, between two other tags."""
    tags = [(0x10f, 2, 4, b'abc\0'), (0x112, kind, 1, struct.pack(order + 'HH', number, 0)), (0x11a, 3, 1, bytes(4))]
    tiff = {'>': b'MM\0*', '<': b'II*\0'}[order] + struct.pack(order + 'IH', 8, len(tags)) + b''.join(
        struct.pack(order + 'HHI', tag, of, count) + value for tag, of, count, value in tags)
    body = b'Exif\0\0' + tiff
    return before + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body
