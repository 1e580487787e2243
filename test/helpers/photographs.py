"""Data sets of real images for tests, in the forms that users have: crops of the photographs in scikit-image's wheel.

    python test/helpers/photographs.py cifar10 DIRECTORY [TRAIN TEST]      pickles, in DIRECTORY
    python test/helpers/photographs.py cats-dogs DIRECTORY [FILES]         JPEG files, in DIRECTORY
    python test/helpers/photographs.py kinds DIRECTORY [TRAIN TEST NEW]    class folders of JPEG files, those of
        docs/photographs.md, in DIRECTORY/photographs and DIRECTORY/new-photographs

The class of a crop is the photograph that it comes from. Strips of a photograph are for training and for tests by
turns, so that no pixel is in both. Only the files of the package are used (test/helpers/photographs.txt): its code
needs others.
"""
import os
import pickle
import sys

import numpy as np
import tensorflow as tf

CLASSES = ('brick.png', 'chelsea.png', 'coffee.png', 'grass.png', 'gravel.png', 'coins.png', 'hubble_deep_field.jpg',
           'ihc.png', 'retina.jpg', 'page.png')
# Of the two-class data set: chelsea is a cat; nobody minds that the others are none.
CATS = ('chelsea.png', 'coffee.png', 'brick.png')
DOGS = ('motorcycle_left.png', 'astronaut.png', 'grass.png')
# Of docs/photographs.md: eight kinds, of which grass and gravel look alike where they are small.
KINDS = dict(brick='brick.png', cat='chelsea.png', coffee='coffee.png', coins='coins.png',
             galaxies='hubble_deep_field.jpg', grass='grass.png', gravel='gravel.png', tissue='ihc.png')
STRIP = 64       # pixels, of a photograph's width
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, '.test-packages-photographs', 'skimage', 'data')


def read(names):
    """The photographs as uint8 [height, width, 3]."""
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        content = tf.placeholder(tf.string, [])
        image = tf.image.decode_image(content, channels=3)
        found = []
        for name in names:
            with open(os.path.join(FOLDER, name), 'rb') as file:
                found.append(session.run(image, {content: file.read()}))
        return found


def crops(photograph, count, size, odd, random):
    """`count` crops [size, size, 3], each within one strip: an even one, or with `odd` an odd one."""
    height, width, _ = photograph.shape
    firsts = np.arange(STRIP if odd else 0, width - STRIP + 1, 2 * STRIP)
    rows = random.randint(0, height - size + 1, count)
    columns = random.choice(firsts, count) + random.randint(0, STRIP - size + 1, count)
    return np.stack([photograph[row:row + size, column:column + size] for row, column in zip(rows, columns)])


def labelled_crops(count, odd, seed):
    """(uint8 [count, 32, 32, 3], labels [count]) in random order, as many of each class."""
    random = np.random.RandomState(seed)
    each = count // len(CLASSES)
    images = np.concatenate([crops(photograph, each, 32, odd, random) for photograph in read(CLASSES)])
    labels = np.repeat(np.arange(len(CLASSES)), each)
    order = random.permutation(len(labels))
    return images[order], labels[order]


def write_cifar10(folder, train, test, seed=0):
    """Writes CIFAR-10's pickles with `train` and `test` crops into `folder`; with no `test` ones the test images are
    those of training, so that what has been learned by heart is tested."""
    os.makedirs(str(folder), exist_ok=True)
    images, labels = labelled_crops(train, False, seed)
    batches = [('data_batch_%d' % (1 + part), slice(part, None, 5)) for part in range(5)]
    contents = [(name, images[rows], labels[rows]) for name, rows in batches]
    tests = labelled_crops(test, True, seed + 1) if test else (images, labels)
    for name, x, y in contents + [('test_batch', *tests)]:
        rows = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        with open(os.path.join(str(folder), name), 'wb') as file:
            pickle.dump({'data': np.ascontiguousarray(rows), 'labels': y.tolist()}, file, protocol=2)


def write_cats_dogs(folder, count, size=160, seed=0, cats=CATS, dogs=DOGS):
    """Writes `count` JPEG files cat.N.jpg and dog.N.jpg, crops [size, size] of the photographs, into `folder`."""
    os.makedirs(str(folder), exist_ok=True)
    random = np.random.RandomState(seed)
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        image = tf.placeholder(tf.uint8, [size, size, 3])
        jpeg = tf.image.encode_jpeg(image)
        for kind, names in (('cat', cats), ('dog', dogs)):
            photographs = read(names)
            for number in range(count // 2):
                photograph = photographs[number % len(photographs)]
                row, column = (random.randint(side - size + 1) for side in photograph.shape[:2])
                content = session.run(jpeg, {image: photograph[row:row + size, column:column + size]})
                with open(os.path.join(str(folder), '%s.%d.jpg' % (kind, number)), 'wb') as file:
                    file.write(content)


def write_kinds(folder, train=60, test=15, new=1, size=64, seed=0):
    """Writes crops of the KINDS as folder/photographs/PART/KIND/NUMBER.jpg and folder/new-photographs/NUMBER.jpg."""
    random = np.random.RandomState(seed)
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        image = tf.placeholder(tf.uint8, [size, size, 3])
        jpeg = tf.image.encode_jpeg(image, quality=95)
        for number, (kind, photograph) in enumerate(zip(sorted(KINDS), read([KINDS[kind] for kind in sorted(KINDS)]))):
            for part, count in ('photographs/train/' + kind, train), ('photographs/test/' + kind, test), (
                    'new-photographs', new):
                directory = os.path.join(str(folder), *part.split('/'))
                os.makedirs(directory, exist_ok=True)
                first = number * new if part == 'new-photographs' else 0
                for index, crop in enumerate(crops(photograph, count, size, 'train' not in part, random)):
                    with open(os.path.join(directory, 'IMG_%04d.jpg' % (first + index)), 'wb') as file:
                        file.write(session.run(jpeg, {image: crop}))


def write_textures(folder, names, train, test, seed):
    """Writes crops [32, 32] of the photographs `names` as folder/PART/NAME/NUMBER.png: gray, and of one brightness and
    contrast, so that the texture alone tells the classes apart."""
    random = np.random.RandomState(seed)
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        image = tf.placeholder(tf.uint8, [32, 32, 3])
        png = tf.image.encode_png(image)
        for name, photograph in zip(names, read(names)):
            for part, count in ('train', train), ('test', test):
                directory = os.path.join(str(folder), part, os.path.splitext(name)[0])
                os.makedirs(directory)
                gray = crops(photograph, count, 32, part == 'test', random).mean(3, keepdims=True)
                spread = gray.std((1, 2), keepdims=True) + 4       # of a part without any texture 0
                gray = 128 + 48 * (gray - gray.mean((1, 2), keepdims=True)) / spread
                for number, crop in enumerate(np.clip(gray, 0, 255).astype(np.uint8).repeat(3, 3)):
                    with open(os.path.join(directory, '%d.png' % number), 'wb') as file:
                        file.write(session.run(png, {image: crop}))


if __name__ == '__main__':
    write = {'cifar10': write_cifar10, 'cats-dogs': write_cats_dogs, 'kinds': write_kinds}[sys.argv[1]]
    write(sys.argv[2], *map(int, sys.argv[3:]))
