"""What is copied out of a job, in which order, and what happens when storage fails."""
import os
import shutil
import socket

import pytest
import tensorflow as tf

from core.errors import InputError
from core.log import say
from launchers.modelarts import gfile_storage, redaction
from launchers.modelarts.storage import Storage, StorageError
from launchers.modelarts.upload import Results


def test_a_server_that_accepts_but_never_answers_is_away(monkeypatch):
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(5)
        monkeypatch.setenv('S3_ENDPOINT', '127.0.0.1:%d' % silent.getsockname()[1])
        monkeypatch.setattr(gfile_storage, '_CONNECT_SECONDS', .2)
        for https in '0', '1':
            monkeypatch.setenv('S3_USE_HTTPS', https)
            with pytest.raises(ConnectionError, match='S3_ENDPOINT=.* cannot be reached: .*timed out'):
                gfile_storage.exists('s3://bucket/folder')


@pytest.mark.parametrize('url', ['s3://bucket', 'obs://bucket/'])
def test_a_whole_bucket_is_refused_at_once(url):
    with pytest.raises(InputError, match='%s: is a whole bucket; name a folder in it' % url):
        Storage(gfile_storage, retries=9, first_wait=60).make_dirs(url)


def test_a_file_system_that_there_is_none_of_is_refused_at_once():
    with pytest.raises(InputError, match='foo://x: .*not implemented'):
        Storage(gfile_storage, retries=9, first_wait=60).make_dirs('foo://x')


class Recorder:
    """Storage that remembers the files of every copy, can fail, and can disturb the job meanwhile."""

    def __init__(self):
        self.copies, self.removed, self.disturb = [], [], lambda: None

    def remove(self, url):
        self.removed.append(url)
        if 'model.ckpt-2.' in url:
            raise InputError('NotFound')

    def send(self, directory, url):
        files = {os.path.relpath(os.path.join(folder, name), directory): os.path.join(folder, name)
                 for folder, _, names in os.walk(directory) for name in names}
        self.disturb()
        self.copies.append((url, {name: open(path).read() for name, path in files.items()}))


@pytest.fixture
def job(tmp_path):
    """(Results, its Recorder, its folder, write) with write(name, text) -> None for the files of that folder."""
    recorder, folder = Recorder(), tmp_path / 'result'

    def write(name, text='whole'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Results(recorder, {str(folder): 'there'}, str(tmp_path / 'aside')), recorder, folder, write


def save(write, step):
    for name in ('model.ckpt-%d.data-00000-of-00001' % step, 'model.ckpt-%d.index' % step):
        write('0/ckpt/' + name)
    write('0/ckpt/checkpoint', 'model.ckpt-%d' % step)


def test_of_a_checkpoint_data_goes_first_then_its_index_then_the_state_file(job):
    results, recorder, _, write = job
    save(write, 10)
    write('0/train_0.log', 'a log')
    results.publish()
    assert recorder.copies == [
        ('there', {'0/ckpt/model.ckpt-10.data-00000-of-00001': 'whole', '0/train_0.log': 'a log'}),
        ('there', {'0/ckpt/model.ckpt-10.index': 'whole'}),
        ('there', {'0/ckpt/checkpoint': 'model.ckpt-10'})]


def test_as_many_checkpoints_are_there_as_here(job):
    results, recorder, folder, write = job
    for step in (1, 2, 3):
        save(write, step)
    write('0/figures.csv')
    results.publish()
    assert recorder.removed == []
    for step in (1, 2):
        for path in folder.glob('0/ckpt/model.ckpt-%d.*' % step):
            path.unlink()
    (folder / '0' / 'figures.csv').unlink()            # what else is deleted here stays there
    save(write, 4)
    results.publish()
    assert sorted(recorder.removed) == sorted('there/0/ckpt/model.ckpt-%d.%s' % (step, part) for step in (1, 2)
                                              for part in ('index', 'data-00000-of-00001'))
    assert [url.endswith('index') for url in recorder.removed] == [True, True, False, False]
    assert recorder.copies[-1] == ('there', {'0/ckpt/checkpoint': 'model.ckpt-4'})
    results.publish()
    assert len(recorder.removed) == 4


def test_only_what_has_changed_is_copied_again(job):
    results, recorder, _, write = job
    save(write, 10)
    write('0/train_0.log', 'a log')
    results.publish()
    recorder.copies.clear()
    write('0/train_0.log', 'a longer log')
    results.publish()
    results.publish()
    assert recorder.copies == [('there', {'0/train_0.log': 'a longer log'})]


def test_what_came_from_there_is_not_copied_back(job):
    results, recorder, _, write = job
    save(write, 10)
    results.adopt()
    write('0/new')
    results.publish()
    assert recorder.copies == [('there', {'0/new': 'whole'})]


def test_files_that_are_being_written_and_compiled_graphs_stay(job):
    results, recorder, _, write = job
    write('0/ckpt/model.ckpt-20.data-00000-of-00001.tempstate1234567')
    write('0/ckpt/model.ckpt-20_temp_0a1b/part-00000-of-00001.index')
    write('0/ckpt/checkpoint.tmp' + '0a' * 16)
    write('graph_cache/0/compiled.om')
    write('.lock-0')
    results.publish()
    assert recorder.copies == []


def test_a_checkpoint_that_the_trainer_deletes_meanwhile_goes_out_whole(job):
    results, recorder, folder, write = job
    save(write, 10)
    recorder.disturb = lambda: shutil.rmtree(str(folder), ignore_errors=True)
    results.publish()
    assert [sorted(files) for _, files in recorder.copies] == [
        ['0/ckpt/model.ckpt-10.data-00000-of-00001'], ['0/ckpt/model.ckpt-10.index'], ['0/ckpt/checkpoint']]


def test_an_index_whose_data_is_deleted_before_it_is_safe_stays(job, monkeypatch):
    results, recorder, folder, write = job
    save(write, 10)
    link = os.link

    def delete_after_the_index(path, target):
        link(path, target)
        if path.endswith('.index'):
            for name in ('index', 'data-00000-of-00001'):
                (folder / '0' / 'ckpt' / ('model.ckpt-10.' + name)).unlink()
    monkeypatch.setattr(os, 'link', delete_after_the_index)
    results.publish()
    assert not any('index' in name for _, files in recorder.copies for name in files)


def test_after_a_failed_copy_no_index_goes_out_and_the_next_copy_makes_up_for_it(job):
    results, recorder, _, write = job

    def fail():
        raise StorageError('away')
    save(write, 10)
    recorder.disturb = fail
    with pytest.raises(StorageError):
        results.publish()
    assert recorder.copies == []
    recorder.disturb = lambda: None
    results.publish()
    assert len(recorder.copies) == 3


def test_results_on_another_disk_are_copied_aside(job, monkeypatch):
    results, recorder, _, write = job

    def no_links(path, target):
        raise OSError('Invalid cross-device link')
    monkeypatch.setattr(os, 'link', no_links)
    write('0/train_0.log', 'a log')
    results.publish()
    assert recorder.copies == [('there', {'0/train_0.log': 'a log'})]


class Failing:
    """File functions that fail with `error` for the first `times` calls."""

    def __init__(self, error, times):
        self.error, self.left, self.calls = error, times, 0

    def exists(self, url):
        self.calls += 1
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return True


def test_a_server_that_comes_back_is_waited_for(capfd):
    files = Failing(ConnectionError('refused'), 3)
    assert Storage(files, 3, .001).exists('s3://bucket/x')
    assert capfd.readouterr().out.splitlines() == [
        's3://bucket/x: refused; trying again in %g seconds' % wait for wait in (.001, .002, .004)]


def test_a_server_that_stays_away_is_given_up_by_name():
    files = Failing(tf.errors.UnknownError(None, None, ': Unable to\nconnect'), 99)
    with pytest.raises(StorageError, match='^s3://bucket/x: : Unable to connect$'):
        Storage(files, 2, .001).exists('s3://bucket/x')
    assert files.calls == 3


@pytest.mark.parametrize('reason', [
    'SignatureDoesNotMatch: The request signature', 'InvalidAccessKeyId: The AWS', 'AccessDenied', 'NoSuchBucket'])
def test_what_waiting_does_not_cure_is_not_tried_again(reason):
    files = Failing(tf.errors.UnknownError(None, None, reason), 99)
    with pytest.raises(InputError, match=reason):
        Storage(files, 6, 1000).exists('s3://bucket/x')
    assert files.calls == 1


def test_a_file_at_a_plain_path_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    (tmp_path / 'from').mkdir()
    (tmp_path / 'from' / 'file').write_text('content')
    copy = tf.io.gfile.copy

    def cut(source, target, overwrite):
        copy(source, target, overwrite=overwrite)
        os.truncate(target, 3)
    monkeypatch.setattr(tf.io.gfile, 'copy', cut)
    with pytest.raises(ConnectionError, match='copied 3 bytes of 7'):
        gfile_storage.copy_parallel(str(tmp_path / 'from'), str(tmp_path / 'to'))
    assert not (tmp_path / 'to' / 'file').exists()
    monkeypatch.setattr(tf.io.gfile, 'copy', copy)
    gfile_storage.copy_parallel(str(tmp_path / 'from'), str(tmp_path / 'to'))
    assert [path.name for path in (tmp_path / 'to').iterdir()] == ['file']


def test_a_data_set_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match='/nowhere'):
        Storage(gfile_storage, 6, 1000).fetch('/nowhere', str(tmp_path / 'to'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='empty: no files there'):
        Storage(gfile_storage, 6, 1000).fetch(str(tmp_path / 'empty'), str(tmp_path / 'to'))


def test_secrets_are_cut_out_as_they_are_and_as_in_a_url():
    environ = {'AWS_ACCESS_KEY_ID': 'AKIAEXAMPLE', 'AWS_SECRET_ACCESS_KEY': 'ab/cd+ef', 'A_TOKEN': 'x',
               'TOKENIZERS_PARALLELISM': 'false', 'HOME': '/root', 'SECRET_EMPTY': ''}
    text = 'AKIAEXAMPLE ab/cd+ef x ?key=ab%2Fcd%2Bef false /root ab/cd+efg'
    assert redaction.redacted(text, environ) == '*** *** x ?key=*** false /root ***g'


@pytest.mark.parametrize('text, shown', [
    ('S3_ENDPOINT=http://user:hunter2@127.0.0.1:1 cannot', 'S3_ENDPOINT=http://***@127.0.0.1:1 cannot'),
    ('s3://AKID:Se/Cr3t@b/x: gone', 's3://***@b/x: gone'), ('http://:pw@h/', 'http://***@h/'),
    ('https://u:p@a s3://v:q@b', 'https://***@a s3://***@b'), ('s3://bucket/a@b', 's3://bucket/a@b'),
    ('http://u:p@ss@word@h/x', 'http://***@h/x'), ('https://ghp_token@h/x.git', 'https://***@h/x.git')])
def test_passwords_in_urls_are_shown_nowhere(text, shown, capsys):
    assert redaction.redacted(text, {}) == str(InputError(text)) == shown
    say(text)
    assert capsys.readouterr().out == shown + '\n'


def test_an_error_of_storage_is_printed_without_the_key_that_it_quotes(monkeypatch, capsys):
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'the/secret')

    class Files:
        def exists(self, url):
            raise ConnectionError('refused, signed with the/secret')
    with pytest.raises(StorageError):
        Storage(Files(), 1, 0).exists('s3://bucket/folder')
    out = capsys.readouterr().out
    assert 'signed with ***; trying again' in out and 'the/secret' not in out
