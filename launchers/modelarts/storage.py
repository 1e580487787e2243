"""Storage: what ModelArts keeps outside the machine, by moxing where it is installed, else by tf.gfile.

Four functions are used, by moxing's names: copy_parallel, exists, make_dirs and remove (docs/vendor-contract.md section
6).
"""
import re
import time
from typing import Any, Callable

from core.errors import InputError
from launchers.modelarts.redaction import say

_FOR_GOOD = re.compile(r'InvalidAccessKeyId|SignatureDoesNotMatch|Access ?Denied|Forbidden|Permission denied'
                       r'|NoSuchBucket|NotFound|No such file|Not a directory|No space left|not implemented', re.I)


class StorageError(Exception):
    """The server stayed away; str() is the line for the user."""


class Storage:
    """Copies directories from and to URLs, and tries again while the server is away.

    files: moxing.file or what stands in for it. A failed call is repeated `retries` times, after first_wait
    seconds and then twice as many each time. All methods raise InputError for what waiting does not cure (a wrong
    key, a bucket or a directory that is not there) and StorageError for the rest.
    """

    def __init__(self, files: Any, retries: int, first_wait: float):
        self._files = files
        self._waits = [first_wait * 2 ** n for n in range(retries)]

    def fetch(self, url: str, directory: str) -> None:
        """Copies every file below `url` to the same path below the local directory."""
        self._persist(url, lambda: self._files.copy_parallel(src_url=url, dst_url=directory))

    def send(self, directory: str, url: str) -> None:
        """Copies every file below the local directory to the same path below `url`."""
        self._persist(url, lambda: self._files.copy_parallel(src_url=directory, dst_url=url))

    def exists(self, url: str) -> bool:
        """Whether the directory is there."""
        return self._persist(url, lambda: self._files.exists(url))

    def make_dirs(self, url: str) -> None:
        """Makes the directory, unless it is there."""
        self._persist(url, lambda: self._files.make_dirs(url))

    def remove(self, url: str) -> None:
        """Deletes the file."""
        self._persist(url, lambda: self._files.remove(url))

    def _persist(self, url: str, act: Callable[[], Any]) -> Any:
        for wait in self._waits:
            try:
                return _attempt(url, act)
            except StorageError as error:
                say('%s; trying again in %g seconds' % (error, wait))
                time.sleep(wait)
        return _attempt(url, act)


def _attempt(url, act):
    """act(), with its errors made a line about `url`. moxing's errors share no class of their own."""
    try:
        return act()
    except InputError:
        raise
    except Exception as error:
        line = '%s: %s' % (url, ' '.join(str(error).split()) or type(error).__name__)
        for_good = isinstance(error, (PermissionError, FileNotFoundError)) or _FOR_GOOD.search(line[len(url):])
        raise (InputError if for_good else StorageError)(line)


def files() -> Any:
    """moxing.file where moxing is installed, else gfile_storage, which has the same functions."""
    try:
        import moxing
        return moxing.file
    except ImportError:
        from launchers.modelarts import gfile_storage
        return gfile_storage
