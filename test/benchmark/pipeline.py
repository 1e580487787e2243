"""The input pipeline alone beside training, and the photographs that both read where --image_size is given."""
import os

import numpy as np

from core.errors import InputError
from results import OURS

INPUT = 'input'                # the worker that makes batches and drops them
LOADER = 'torchvision'         # the worker that makes such batches as torchvision's users do
CLASSES, EACH = 10, 32         # photographs
HEIGHT, WIDTH = 375, 500       # of most of ImageNet's
QUALITY = 90


def write_photographs(directory):
    """Writes class folders of JPEG files of about 90 kB, as ImageNet's are."""
    import tensorflow as tf    # here, because the driver needs it for nothing else
    random = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        image = tf.placeholder(tf.uint8, [HEIGHT, WIDTH, 3])
        encode = tf.image.encode_jpeg(image, quality=QUALITY)
        for number in range(CLASSES):
            folder = os.path.join(directory, 'class_%d' % number)
            os.makedirs(folder)
            for photograph in range(EACH):
                with open(os.path.join(folder, '%03d.jpg' % photograph), 'wb') as file:
                    file.write(session.run(encode, {image: _photograph(random)}))


def _photograph(random):
    """uint8 [HEIGHT, WIDTH, 3]: noise at all scales, as in nature, stronger at larger ones."""
    found = np.full([HEIGHT, WIDTH, 3], 128.)
    for scale in (1, 2, 4, 8, 16, 32, 64, 128):
        rough = random.normal(0, 8 * scale ** .4, [HEIGHT // scale + 1, WIDTH // scale + 1, 3])
        found += np.kron(rough, np.ones([scale, scale, 1]))[:HEIGHT, :WIDTH]
    return np.clip(found, 0, 255).astype(np.uint8)


def check_loader(network, facts):
    """Raises InputError for a network of which LOADER does not make the batches; facts: what INPUT has told."""
    if facts['images'] != facts['batch_size'] or 'mirror' not in facts:
        raise InputError('--network=%s: torchvision makes no such batches; leave out --with' % network)


def figures(workers, images, repeats, seconds):
    """{worker: {'seconds', 'cpu_seconds'} of an image}, and the load of the machine; workers take turns of `seconds`.

    workers: {name: Worker}, INPUT among them; images: in a step.
    """
    found = {name: np.zeros(3) for name in workers}    # steps, seconds, CPU seconds
    for _ in range(repeats):
        for name, worker in workers.items():
            before = worker.cpu_seconds
            steps = worker.burst(10 ** 6, seconds)
            found[name] += len(steps), sum(steps), worker.cpu_seconds - before
    each = {name: dict(zip(('seconds', 'cpu_seconds'), sums[1:] / sums[0] / images)) for name, sums in found.items()}
    return dict(workers=each, images=images, load=os.getloadavg()[0])


def text(measured):
    """Lines about a network for a terminal."""
    workers = measured['workers']
    training, alone, loader = (workers.get(name) for name in (OURS, INPUT, LOADER))
    line = ('%s at %s: training %.4g images/s, %.3g ms of CPU an image; its input pipeline alone %.4g images/s, '
            '%.3g ms: %.1f times as fast, %.1f times by CPU; load %.1f' % (
                measured['network'], measured['image_size'] or 'its own size', 1 / training['seconds'],
                1e3 * training['cpu_seconds'], 1 / alone['seconds'], 1e3 * alone['cpu_seconds'],
                training['seconds'] / alone['seconds'], training['cpu_seconds'] / alone['cpu_seconds'],
                measured['load']))
    return line if not loader else line + (
        "\n  torchvision's DataLoader %.4g images/s, %.3g ms: the pipeline here is %.2f times as fast, %.2f times by "
        'CPU' % (
            1 / loader['seconds'], 1e3 * loader['cpu_seconds'], loader['seconds'] / alone['seconds'],
            loader['cpu_seconds'] / alone['cpu_seconds']))
