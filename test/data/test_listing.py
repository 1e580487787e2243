"""A file of another kind is called what it is, with what to do about it."""
import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pytest

from core.errors import InputError
from data.listing import HEAD, what_is, what_is_at
from core.settings import paths


def archive(form):
    file = io.BytesIO()
    if form == 'zip':
        with zipfile.ZipFile(file, 'w') as made:
            made.writestr('a', 'b')
    else:
        with tarfile.open(fileobj=file, mode='w') as made:
            made.addfile(tarfile.TarInfo('a'))
    return file.getvalue()


@pytest.mark.parametrize('content, words', [
    (gzip.compress(b'x'), 'a gzip file: unpack it: gunzip'), (archive('zip'), 'a zip archive: unpack it'),
    (bz2.compress(b'x'), 'a bzip2 file'), (lzma.compress(b'x'), 'an xz file'), (archive('tar'), 'a tar archive'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 'a Git LFS pointer: git lfs pull'),
    (b'\n<!DOCTYPE HTML>\n<title>404', 'an HTML page'), (b'<html><body>', 'an HTML page'),
    (b'RIFF\0\0\0\0WEBPVP8 ', 'a WebP image: convert it'), (b'\0\0\0\x18ftypheic', 'a HEIC image'),
    (b'II*\0\x08', 'a TIFF image'), (b'%PDF-1.4', 'a PDF file')],
    ids=lambda value: value if isinstance(value, str) else 'bytes')  # compressed, they hold the time
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, content, words):
    assert what_is(content[:HEAD]).startswith(words)
    (tmp_path / 'file').write_bytes(content)
    assert what_is_at(str(tmp_path / 'file')).startswith(words)


@pytest.mark.parametrize('content', [b'', b'x', b'\xff\xd8\xff\xe0', b'\x89PNG\r\n\x1a\n', b'BM',
                                     b'\x80\x02}q'])
def test_nothing_is_said_of_what_is_read_here_or_unknown(content):
    assert what_is(content) is None


def test_a_fifo_a_directory_and_no_file_are_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / 'fifo'))
    assert [what_is_at(str(tmp_path / name)) for name in ('fifo', 'none', '')] == [None] * 3


def test_a_file_in_place_of_a_directory_is_called_a_file(tmp_path):
    (tmp_path / 'train.zip').write_bytes(archive('zip'))
    with pytest.raises(InputError, match='train.zip: is a file: unpack an archive, and name the directory'):
        paths.check_readable('--data_path', str(tmp_path / 'train.zip'))
