"""moxing's file functions by tf.io.gfile, for machines without moxing: s3:// (obs:// means the same) and plain paths.

TensorFlow 1.15's S3 file system hides errors: with a wrong key, or while the server is away, Stat says "does not
exist", and Copy makes an empty file and reports success. Only listing and writing report the error. So a directory is
listed first, and the length of every copied file is compared. Names with & cannot be listed.
"""
import concurrent.futures
import contextlib
import http.client
import os
import ssl
import urllib.parse
from typing import Iterator, List, Optional, Tuple

import tensorflow as tf
from tensorflow.python import pywrap_tensorflow

from core.errors import InputError

_THREADS = 16                  # a small file costs a round trip or four: many at a time
_CONNECT_SECONDS = 10


def make_dirs(url: str) -> None:
    """Makes the directory, unless it is there, and so shows that one may write there.

    It, exists() and copy_parallel() raise ConnectionError when the server is away and tf.errors.OpError for the rest.
    """
    url = _reachable(url)
    if _is_s3(url):
        _names(url)  # on a wrong key MakeDirs fails without a reason
    tf.io.gfile.makedirs(url)


def exists(url: str) -> bool:
    """Whether the directory `url` is there; on S3: whether anything is in it."""
    url = _reachable(url)
    return bool(_names(url)) if _is_s3(url) else tf.io.gfile.exists(url)


def copy_parallel(src_url: str, dst_url: str) -> None:
    """Copies every file below the directory `src_url` to the same path below `dst_url`.

    Raises InputError when there is no file. At a plain path a file appears only when it is whole.
    """
    source, target = _reachable(src_url), _reachable(dst_url)
    # To S3 one at a time: TensorFlow names its temporary file after the millisecond, so two would share it.
    threads = 1 if _is_s3(target) else _THREADS
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        lengths = dict(_files(pool, source))
        if not lengths:
            raise InputError('%s: no files there' % src_url)
        copies = [pool.submit(_copy, _join(source, name), _join(target, name), length)
                  for name, length in lengths.items()]
        try:
            for copy in concurrent.futures.as_completed(copies):
                copy.result()
        finally:
            for copy in copies:
                copy.cancel()  # after an error: those that have not begun


def remove(url: str) -> None:
    """Deletes the file `url`. Raises as exists() does."""
    tf.io.gfile.remove(_reachable(url))


def _is_s3(url: str) -> bool:
    return url.startswith('s3://')


def _join(directory: str, name: str) -> str:
    return directory.rstrip('/') + '/' + name


def _reachable(url: str) -> str:
    """`url` as TensorFlow writes it, once its server can be reached.

    TensorFlow's own S3 client would try to connect for 25 seconds in every call before it gives up.
    """
    given = url
    if url.startswith('obs://'):
        url = 's3' + url[len('obs'):]
    if _is_s3(url) and not url[len('s3://'):].partition('/')[2]:
        raise InputError('%s: is a whole bucket; name a folder in it' % given)
    endpoint = os.environ.get('S3_ENDPOINT')
    if _is_s3(url) and endpoint:
        is_secret = os.environ.get('S3_USE_HTTPS') not in ('0', 'false')
        server = urllib.parse.urlsplit('//' + endpoint.split('://')[-1])
        try:
            _ask(server.hostname, server.port, is_secret)
        except OSError as error:
            raise ConnectionError('S3_ENDPOINT=%s cannot be reached: %s' % (endpoint, error))
    return url


def _ask(host: str, port: Optional[int], is_secret: bool) -> None:
    """Returns when the server has sent anything; OSError when it sends nothing in time.

    port: None for the usual one. is_secret: whether the server uses HTTPS.
    """
    connection = (http.client.HTTPSConnection(host, port, timeout=_CONNECT_SECONDS,
                                              context=ssl.SSLContext(ssl.PROTOCOL_TLS))
                  if is_secret else http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS))
    with contextlib.closing(connection), contextlib.suppress(http.client.HTTPException):
        connection.request('HEAD', '/')
        connection.getresponse()


def _names(url: str) -> List[str]:
    """The names in the directory `url`, not by tf.io.gfile.listdir, which calls Stat first."""
    found = pywrap_tensorflow.GetChildren(tf.compat.as_bytes(url))
    return sorted({tf.compat.as_str_any(name) for name in found} - {''})


def _files(pool: concurrent.futures.Executor, url: str, prefix: str = '') -> Iterator[Tuple[str, int]]:
    """(name relative to `url`, length) of every file below it."""
    names = _names(_join(url, prefix))
    for name, stat in zip(names, pool.map(tf.io.gfile.stat, [_join(url, prefix + name) for name in names])):
        if stat.is_directory:
            yield from _files(pool, url, prefix + name + '/')
        else:
            yield prefix + name, stat.length


def _copy(source: str, target: str, length: int) -> None:
    if _is_s3(target):  # there an object is whole or not there
        written = target
    else:
        written = target + '.part'
        tf.io.gfile.makedirs(os.path.dirname(target))
    tf.io.gfile.copy(source, written, overwrite=True)
    copied = tf.io.gfile.stat(written).length
    if copied < length:  # more: a log that grows
        raise ConnectionError('%s: copied %d bytes of %d' % (source, copied, length))
    if written != target:
        tf.io.gfile.rename(written, target, overwrite=True)
