"""CIFAR pickles in all the forms that are in the wild, for tests."""
import os
import pickle
import struct

import numpy as np

ROWS = {'data_batch_1': 3, 'data_batch_2': 1, 'data_batch_3': 2, 'data_batch_4': 2,
        'data_batch_5': 4, 'test_batch': 5}


def record(rows, classes=10, seed=0):
    random = np.random.RandomState(seed)
    return {'data': random.randint(0, 256, [rows, 3072]).astype(np.uint8),
            'labels': random.randint(0, classes, rows).tolist(),
            'filenames': [f'{row}_\xe9.png' for row in range(rows)], 'batch_label': 'batch 1 of 5'}


def python3(content, protocol=2):
    return pickle.dumps(content, protocol=protocol)


def bytes_keys(content):
    return pickle.dumps({key.encode(): value for key, value in content.items()}, protocol=4)


def label_array(content):
    return pickle.dumps({**content, 'labels': np.array(content['labels'], '>i8')}, protocol=3)


def numpy_scalars(content):
    return pickle.dumps({**content, 'labels': list(np.array(content['labels'], np.uint8))})


def numpy2(content):
    written = pickle.dumps(content, protocol=2)
    assert b'numpy.core.multiarray' in written
    return written.replace(b'numpy.core.multiarray', b'numpy._core.multiarray')


def string_arrays(content):
    """As files are written that were subsets of others, by Python 2's protocol."""
    names = np.array(content['filenames'])
    return pickle.dumps({**content, 'filenames': names, 'encoded': np.array([b'a', b'bc']), 'batch_label': b'',
                         'objects': names.astype(object)}, protocol=2)


def object_labels(content):
    return pickle.dumps({**content, 'labels': np.array(content['labels'], object)})


def fortran_order(content):
    return pickle.dumps({**content, 'data': np.asfortranarray(content['data'])})


def python2(content):
    """The opcodes Python 2's cPickle writes: byte strings everywhere."""
    def string(text):
        return b'T' + struct.pack('<i', len(text)) + text

    data = content['data']
    array = (b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R'
             b'(K\x01' + b'J' + struct.pack('<i', len(data)) + b'M\x00\x0c\x86'
             b'cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R'
             b'(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
             + string(data.tobytes()) + b'tb')
    labels = b''.join(b'K' + bytes([label]) for label in content['labels'])
    return (b'\x80\x02}(' + string(b'data') + array + string(b'labels') + b'](' + labels + b'e'
            + string(b'filenames') + b'](' + string(b'\xe9.png') + b'eu.')


def write(folder, as_pickle=python3, **changes):
    """A small CIFAR-10 in `folder`; `changes` replace the bytes of whole files, None leaves out."""
    os.makedirs(str(folder), exist_ok=True)
    for seed, (name, rows) in enumerate(ROWS.items()):
        content = changes.get(name, as_pickle(record(rows, seed=seed)))
        if content is not None:
            (folder / name).write_bytes(content)
    return str(folder)
