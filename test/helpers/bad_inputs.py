"""What the inputs of test/bad_inputs.tsv mean: a function for each reader that a row names.

In an input, Python's escapes stand for bytes, and {{TEXT*N}} for TEXT N times. An input is the whole content of a
file; or changes to a good file, KEY.KEY=JSON, -KEY.KEY or, of binary files, the words of damaged().
"""
import ast
import codecs
import copy
import json
import os
import re
import struct

import bundle
import cifar_pickles
import dump_reading
import h5py
import numpy as np

from core.ascend import option_kinds
from core.ascend.diagnostics import comparison, dump_files
from core.errors import InputError
from core.inference import samples, score
from core.pages import records
from core.settings import config
from core.pretrained import found, h5
from core.training import weights
from data import arrays, known, pickles, svhn
from data import records as tfrecord_files
from launchers import plan
from launchers.networks.registry import RECIPES
from launchers.ranks import rank_table

NETWORK = ['--network=toy', '--case=performance']


def written(text):
    """The bytes that an input stands for."""
    repeated = re.sub(r'{{(.*?)\*(\d+)}}', lambda match: match[1] * int(match[2]), text)
    return codecs.escape_decode(repeated.encode())[0]


def typed(text):
    """The text of an input as Python gives it to a program: bytes that are not UTF-8 are surrogates."""
    return os.fsdecode(written(text))


def changed(good, changes):
    """A copy of `good` after the changes, which ` ; ` separates."""
    bad = copy.deepcopy(good)
    for change in typed(changes).split(' ; '):
        path, equals, value = change.lstrip('-').partition('=')
        *outer, last = [int(key) if key.isdigit() else key for key in path.split('.')]
        holder = bad
        for key in outer:
            holder = holder[key]
        if change.startswith('-'):
            del holder[last]
        else:
            assert equals
            holder[last] = json.loads(value)
    return bad


def damaged(path, how):
    """Damages a file: cut N | flip N (byte N of it) | text | empty | sparse | remove | directory | fifo | link | device.
    """
    how, _, number = how.partition(' ')
    content = b'' if how == 'create' else open(path, 'rb').read()
    os.remove(path)
    if how == 'cut':
        content = content[:int(number)]
    elif how == 'flip':
        position = int(number) % len(content)
        content = content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1:]
    elif how in ('text', 'empty'):
        content = b'no such file\n' if how == 'text' else b''
    elif how == 'directory':
        return os.mkdir(path)
    elif how == 'fifo':
        return os.mkfifo(path)
    elif how in ('link', 'device'):
        return os.symlink(path if how == 'link' else '/dev/zero', path)
    elif how == 'remove':
        return None
    with open(path, 'wb') as file:
        file.write(content)
    if how == 'sparse':
        os.truncate(path, 2 ** 42)


def file_of(directory, content, name='file'):
    path = os.path.join(directory, name)
    with open(path, 'wb') as file:
        file.write(content)
    return path


def planned(directory, flags, environ):
    """The status of the plan of a run, whose results would go to `directory`."""
    return plan.main(NETWORK + ['--output_path=%s' % os.path.join(directory, 'output')] + flags, environ)


def flags(directory, given):
    """Flags of a training, separated by ` ; `."""
    return planned(directory, typed(given).split(' ; '), {})


def environment(directory, given):
    """NAME=VALUE ; --flag ..."""
    words = typed(given).split(' ; ')
    return planned(directory, [word for word in words if word.startswith('--')],
                   dict(word.split('=', 1) for word in words if not word.startswith('--')))


RANK_TABLE = json.loads(rank_table.text(rank_table.Server('10.0.0.1', tuple(
    rank_table.RankDevice(number, number) for number in range(2))), {0: '192.168.100.101', 1: '192.168.101.101'}))
GROUPS = {'status': 'completed', 'group_count': '1', 'group_list': [{'group_name': 'job', 'instance_list': [
    {'server_id': '10.0.0.1', 'devices': [{'device_id': '0', 'device_ip': '192.168.100.101'}]}]}]}


def rank_table_file(directory, content):
    rank_table.load(file_of(directory, written(content)))


def rank_table_changes(directory, changes):
    rank_table.load(file_of(directory, json.dumps(changed(RANK_TABLE, changes)).encode()))


def group_table_changes(directory, changes):
    rank_table.load(file_of(directory, json.dumps(changed(GROUPS, changes)).encode()))


def option_file(read):
    """The reader of a file that an NpuOptimizer option names."""
    def act(directory, content):
        path = file_of(directory, written(content))
        kind = option_kinds.file_of('of its form', read)
        try:
            kind.parse(path)
        except ValueError as error:
            raise InputError('--npu_option=x=%s: %s' % (path, error))
    return act


def profiling_options(directory, text):
    return planned(directory, ['--npu_option=profiling_mode=True', '--npu_option=profiling_options=' + typed(text)], {})


def graph(directory, content):
    comparison.read_graph(file_of(directory, written(content)))


def mapping(directory, content):
    file_of(directory, written(content), 'mapping.csv')
    dump_reading.outputs_of(directory)


def npy_header(directory, header):
    """HEADER ; N: a header of version 1.0 and N bytes behind it."""
    header, _, count = typed(header).rpartition(' ; ')
    text = os.fsencode(header)
    npy_content(directory, b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + bytes(int(count)))


def npy_file(directory, content):
    npy_content(directory, written(content))


def npy_damaged(directory, how):
    path = file_of(directory, b'', 'op.0.1.npy')
    with open(path, 'wb') as file:
        np.save(file, np.zeros([3, 4], np.float32))
    damaged(path, how)
    [output.read() for output in dump_reading.outputs_of(directory)]


def npy_content(directory, content):
    file_of(directory, content, 'op.0.1.npy')
    [output.read() for output in dump_reading.outputs_of(directory)]


def dump_of_npu(directory, how):
    """Damage; or `fields` and changes FIELD=NUMBER of the header's only output."""
    tensor = dump_files.Tensor(np.zeros([2, 3], np.float32))
    path = dump_files.write_npu(directory, dump_files.OperatorDump('Add', 'a', [], [tensor], 1, 1, 1))
    if how.startswith('fields '):
        content = open(path, 'rb').read()
        length, = struct.unpack_from('<Q', content)
        header = dump_files.DumpData.FromString(content[8:8 + length])
        for change in how.split()[1:]:
            name, value = change.split('=')
            if name == 'dim':
                del header.output[0].shape.dim[:]
                header.output[0].shape.dim.extend(map(int, value.split(',')))
            else:
                setattr(header.output[0], name, int(value))
        encoded = header.SerializeToString()
        file_of(directory, struct.pack('<Q', len(encoded)) + encoded + content[8 + length:], os.path.basename(path))
    elif how.startswith('length '):
        file_of(directory, struct.pack('<Q', int(how.split()[1])) + open(path, 'rb').read()[8:],
                os.path.basename(path))
    else:
        damaged(path, how)
    [output.read() for output in dump_reading.outputs_of(directory)]


def exported(directory):
    """(manifest, its path) of three samples in batches of two, and outputs in `directory`/out."""
    writer = samples.SamplesWriter(os.path.join(directory, 's'), None)
    for count in (2, 1):
        writer.add({'input': np.zeros([2, 4], np.float32)}, [np.zeros([count], np.int32)])
    writer.finish(network='toy', settings={}, inputs=[['input', 'float32', [2, 4]]], output=samples.LOGITS,
                  output_key='', output_shape=[2, 3], labels='"int32"', class_names=list('abc'), penalty=0.5)
    os.mkdir(os.path.join(directory, 'out'))
    for name in ('000000', '000001'):
        np.zeros([2, 3], np.float32).tofile(os.path.join(directory, 'out', name + '_output_0.bin'))
    return os.path.join(directory, 's', 'manifest.json')


def scored(manifest, directory):
    """The metrics of a network of three classes."""
    recipe = RECIPES['swa']
    settled = config.resolve(recipe, {}, {})._replace(class_names=tuple('abc'))
    return score.metrics(recipe, settled, manifest, os.path.join(directory, 'out'), 'float32')


def manifest_changes(directory, changes):
    path = exported(directory)
    with open(path) as file:
        good = json.load(file)
    with open(path, 'w') as file:
        json.dump(changed(good, changes), file)
    samples.read(path)


def manifest_file(directory, content):
    path = exported(directory)
    file_of(os.path.dirname(path), written(content), 'manifest.json')
    samples.read(path)


def labels(directory, values):
    """The labels as a Python literal, then ` ; ` and their type."""
    path = exported(directory)
    values, _, dtype = values.partition(' ; ')
    np.save(os.path.join(os.path.dirname(path), 'labels.npy'), np.array(ast.literal_eval(values), dtype))
    samples.read(path)


def output_text(directory, content):
    path = exported(directory)
    os.remove(os.path.join(directory, 'out', '000000_output_0.bin'))
    file_of(os.path.join(directory, 'out'), written(content), '000000_output_0.txt')
    scored(path, directory)


def output_damaged(directory, how):
    path = exported(directory)
    damaged(os.path.join(directory, 'out', '000000_output_0.bin'), how)
    scored(path, directory)


def tfrecords(directory, how):
    """Damage to the second of two TFRecord files of three records of 20 bytes each, which are 36 bytes long."""
    paths = [file_of(directory, 3 * tfrecord_files.record(bytes(20)), 'train-0000%d-of-00002' % number)
             for number in (0, 1)]
    damaged(paths[1], how)
    reader = tfrecord_files.ShardReader(tfrecord_files.index(paths, directory))
    reader.read(reader.index.addresses)


def tfrecord_file(directory, content):
    tfrecord_files.index([file_of(directory, written(content))], directory)


EVENTS = {
    'start': dict(event='start', time=1, network='toy', case='full', ranks=1, batch_size=8, precision='float32',
                  resumed=False, settings=[['seed', '1', '1']], environment=[], results=[]),
    'begin': dict(event='begin', time=1, step=0, steps=10, steps_per_epoch=5),
    'point': dict(event='point', time=1, step=1, values={'batch/loss': 1.}),
    'end': dict(event='end', time=1, step=1, status='done', why=''),
}


def record(directory, changes):
    """The events by their names, changed."""
    events = changed(EVENTS, changes)
    os.mkdir(os.path.join(directory, 'report'))
    file_of(os.path.join(directory, 'report'), b'\n'.join(json.dumps(event).encode() for event in events.values()),
            'run.jsonl')
    try:
        records.read(directory)
    except ValueError as error:
        raise InputError('%s: left out: %s' % (directory, error))


def pickled(directory, content):
    pickles.load(file_of(directory, written(content)))


def data_set(directory, what):
    """SET FILE and its damage, which the plan of a run has to see; the plan reads no arrays."""
    task, name, how = what.split(' ', 2)
    for file, rows in {**cifar_pickles.ROWS, 'train': 2, 'test': 2}.items():
        file_of(directory, cifar_pickles.python3(cifar_pickles.record(rows)), file)
    for file in svhn.FILES:
        file_of(directory, b'MATLAB', file)
    for file in ('train.npz', 'test.npz'):
        np.savez(os.path.join(directory, file), x=np.zeros([3, 100], np.float32), y=np.zeros([3], np.int32))
    damaged(os.path.join(directory, name), how)
    if task == 'arrays':
        arrays.arrays(directory)
    known.inspect(task, directory, 1, directory)


def hdf5(directory, what):
    """Damage; or what a file of a kind of its own holds."""
    path = os.path.join(directory, 'w.h5')
    with h5py.File(path, 'w') as file:
        if what == 'texts':
            file.create_dataset('a', data=[b'text'])
        elif what == 'structure':
            file.create_dataset('a', data=np.zeros(3, [('x', 'f4'), ('y', 'f4')]))
        elif what == 'references':
            file.create_dataset('a', data=np.array([file.ref], h5py.special_dtype(ref=h5py.Reference)))
        elif what.startswith('declared '):
            file.create_dataset('a', shape=tuple(map(int, what.split()[1].split(','))), dtype='f4', chunks=True)
        elif what == 'external':
            file.create_dataset('a', shape=(4,), dtype='u1', external=[('/etc/passwd', 0, 4)])
        else:
            file.create_dataset('a', data=np.arange(100, dtype=np.float32))
    if what.split()[0] in ('cut', 'flip', 'text', 'empty', 'directory', 'fifo', 'link', 'remove'):
        damaged(path, what)
    found.find(path)


def class_names(directory, numbers):
    """The characters of a checkpoint's class names, as a Python literal."""
    path = os.path.join(directory, 'w.h5')
    h5.write(path, {'notes/class_names': np.array(ast.literal_eval(numbers), np.int32)}, {})
    weights.class_names(h5.H5Reader(path))


def checkpoint(directory, how, whole):
    """FILE and its damage: index or data."""
    which, _, how = how.partition(' ')
    for name, content in whole.items():
        file_of(directory, content, name)
    damaged(next(os.path.join(directory, name) for name in whole if '.' + which in name), how)
    found.find(os.path.join(directory, 'model.ckpt-1'))


def checkpoint_index(directory, declared):
    """The shape of a variable as a Python literal, then fields of its entry, FIELD=NUMBER; all checksums are right."""
    shape, *fields = declared.split(' ; ')
    prefix = os.path.join(directory, 'model.ckpt-1')
    bundle.write(prefix, ast.literal_eval(shape), **{
        name: int(value) for name, value in (field.split('=') for field in fields)})
    found.find(prefix)


READERS = {
    'flags': flags, 'environment': environment, 'rank table': rank_table_changes, 'rank table file': rank_table_file,
    'group table': group_table_changes, 'mixlist': option_file('mixlist'),
    'fusion switches': option_file('fusion_switches'),
    'custom dtypes': option_file('custom_dtypes'),
    'precision of operators': option_file('precision_of_operators'),
    'debugging of operators': option_file('debugging_of_operators'),
    'profiling options': profiling_options, 'graph': graph, 'mapping': mapping, 'npy header': npy_header,
    'npy file': npy_file, 'npy damaged': npy_damaged, 'dump': dump_of_npu, 'manifest': manifest_changes,
    'manifest file': manifest_file, 'labels': labels, 'output text': output_text, 'output damaged': output_damaged,
    'pickle': pickled, 'checkpoint index': checkpoint_index, 'data set': data_set, 'record': record,
    'tfrecords': tfrecords, 'tfrecord file': tfrecord_file, 'hdf5': hdf5, 'class names': class_names,
}
