"""Bad flags, environments and files, as data: bad_inputs.tsv has a row for each.

A row has the reader, its input and a part of the message, separated by tabs. helpers/bad_inputs.py has what the inputs
of a reader mean. Each input has to be refused by one line, with nothing written, moved or waited for.
"""
import os
import pathlib
import re
import shlex

import bad_inputs
import bundle
import cifar_pickles
import numpy as np
import pytest
import toy
from bad_inputs import READERS, damaged, file_of, typed
from launching import HERE, ROOT, launch
from prefork import Forked

from core.errors import InputError
from core.pretrained import found

LONGEST = 300


def rows():
    """[(reader, input, words)] of the data file."""
    with open(os.path.join(HERE, 'bad_inputs.tsv'), encoding='utf-8') as file:
        lines = file.read().split('\n')
    return [tuple(line.split('\t')) for line in lines if line and not line.startswith('#')]


ROWS = rows()
OF_COMMANDS = [row for row in ROWS if row[0].startswith('command')]
OF_READERS = [row for row in ROWS if not row[0].startswith('command')]


@pytest.fixture(scope='session')
def whole_checkpoint(tmp_path_factory):
    """{name: content} of a good checkpoint of the network toy."""
    directory = tmp_path_factory.mktemp('whole')
    assert toy.run('--output_path=%s' % directory, '--train_steps=1') == 0
    saved = directory / '0' / 'ckpt'
    return {path.name: path.read_bytes() for path in saved.iterdir() if path.name.startswith('model.ckpt-1.')}


def content_of(directory):
    """{path: content} of all that lies in a directory."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]
    return {path: open(path, 'rb').read() if os.path.isfile(path) else b'' for path in paths}


def is_one_line(text):
    return len(text) <= LONGEST and text.isprintable() and 'Traceback' not in text


@pytest.mark.parametrize('reader, text, words', OF_READERS, ids=lambda value: value[:40])
def test_bad_input_is_refused_in_one_line(reader, text, words, tmp_path, capsys, whole_checkpoint, monkeypatch):
    directory = str(tmp_path)
    monkeypatch.chdir(directory)
    with pytest.raises(InputError) as refusal:
        if reader == 'checkpoint':
            bad_inputs.checkpoint(directory, text, whole_checkpoint)
        elif READERS[reader](directory, text) == 2:        # a command has printed it
            raise InputError(capsys.readouterr().err.rstrip('\n'))
    assert is_one_line(str(refusal.value)) and words in str(refusal.value)
    assert not os.path.exists('output') and not os.path.exists('made')


@pytest.fixture(scope='session')
def previous_run(tmp_path_factory):
    """A directory with a finished run of the network toy in output/0, and files of a user that must stay."""
    directory = str(tmp_path_factory.mktemp('previous'))
    assert toy.run('--output_path=%s/output' % directory, '--train_steps=2') == 0
    for name in ('mine.txt', 'mine.pb', 'mine.h5', 'mine_samples/manifest.json', 'one/op.0.1.npy', 'plain/x.npy'):
        os.makedirs(os.path.dirname(os.path.join(directory, name)), exist_ok=True)
        file_of(directory, b'precious', name)
    for name in ('left', 'right'):
        os.mkdir(os.path.join(directory, name))
        np.save(os.path.join(directory, name, 'op.0.1.npy'), np.ones([2, 2], np.float32))
    bad_inputs.exported(directory)
    cifar_pickles.write(pathlib.Path(directory, 'cut'))
    damaged(os.path.join(directory, 'cut', 'data_batch_2'), 'cut -7')
    os.mkdir(os.path.join(directory, 'empty'))
    os.mkfifo(os.path.join(directory, 'fifo'))
    return directory


def complaints(error):
    """The lines of standard error but those of TensorFlow's start."""
    return [line for line in error.splitlines() if not re.match(r'20\d\d-\d\d-\d\d |WARNING:tensorflow|$', line)]


def check_refusal(status, error, words, before, directory):
    lines = complaints(error)
    assert status in (1, 2) and len(lines) == 1 and is_one_line(lines[0]) and words in lines[0], (status, error)
    assert content_of(directory) == before, 'something was written, moved or lost'


@pytest.mark.slow
@pytest.mark.parametrize('command, text, words', [row for row in OF_COMMANDS if not row[0].endswith('.sh')],
                         ids=lambda value: value[:50])
def test_a_command_refuses_bad_input_in_one_line(command, text, words, previous_run, tmp_path, monkeypatch):
    """Arguments as a shell takes them; the command runs in the directory of previous_run."""
    monkeypatch.chdir(previous_run)
    before = content_of(previous_run)
    program = [os.path.join(ROOT, '__main__.py'), command.split()[1]]
    environ = dict(os.environ, TF_CPP_MIN_LOG_LEVEL='3')
    process = Forked(program + shlex.split(typed(text)), tmp_path / 'out', tmp_path / 'error', environ)
    try:
        status = process.wait()
    finally:
        process.kill()
    check_refusal(status, (tmp_path / 'error').read_text(), words, before, previous_run)


@pytest.mark.slow
@pytest.mark.parametrize('command, text, words', [row for row in OF_COMMANDS if row[0].endswith('.sh')],
                         ids=lambda value: value[:50])
def test_a_launcher_refuses_bad_input_in_one_line_and_leaves_the_previous_run(command, text, words, previous_run,
                                                                              forking_workdir):
    before = content_of(previous_run)
    words_of_shell = shlex.split(typed(text))
    status, _, error = launch(forking_workdir, '--output_path=%s/output' % previous_run,
                              *[word for word in words_of_shell if word.startswith('--')], script=command.split()[1],
                              environment=dict(word.split('=', 1) for word in words_of_shell if word[0] != '-'),
                              cwd=previous_run)
    check_refusal(status, error, words, before, previous_run)


def test_a_checkpoint_written_byte_by_byte_is_read_if_it_is_whole(tmp_path):
    bundle.write(str(tmp_path / 'model.ckpt-1'), [2, 3])
    _, reader = found.find(str(tmp_path))
    assert reader.get_tensor('v').tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_table_is_as_long_as_it_has_to_be():
    assert len(ROWS) >= 500 and len(OF_COMMANDS) >= 60 and len(set(ROWS)) == len(ROWS)
    assert {reader for reader, _, _ in OF_READERS} == set(READERS) | {'checkpoint'}
