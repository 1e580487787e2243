"""Results: copies what is new in local folders out to storage, in an order that keeps every checkpoint there usable.

A checkpoint is whole there or not visible: its data goes out first, its index next, the state file that names it
last. All three are hard-linked aside in the opposite order before, because the trainer deletes old checkpoints. A
checkpoint that is deleted here is then deleted there.
"""
import contextlib
import os
import re
import shutil
from typing import Dict, List, Mapping, Tuple

from core.errors import InputError
from core.settings import paths
from launchers.modelarts.storage import Storage

_BEING_WRITTEN = re.compile(r'tempstate|_temp_|\.tmp[0-9a-f]{32}$')
_OF_CHECKPOINT = re.compile(r'model\.ckpt-\d+\.(index|data-\d+-of-\d+)')
_INDEX = 1                     # the phase of the index files, in:
_PHASES = (lambda name: not name.endswith('.index') and name != 'checkpoint',
           lambda name: name.endswith('.index'),
           lambda name: name == 'checkpoint')


class Results:
    """The local folders of a job and where they go.

    folders: {local directory: url}; aside: a directory of ours on the same disk.
    """

    def __init__(self, storage: Storage, folders: Mapping[str, str], aside: str):
        self._storage, self._folders, self._aside = storage, folders, aside
        self._published: Dict[str, Tuple[int, ...]] = {}   # path -> signature of the file that storage has

    def adopt(self) -> None:
        """Counts the files that are in the folders now as published, because they came from storage."""
        for directory in self._folders:
            self._published.update(_signatures(directory))

    def publish(self) -> None:
        """Copies every file that is new or has changed; one that fails is copied next time.

        Raises what Storage.send() raises, and OSError for a full disk here.
        """
        try:
            for directory, url in self._folders.items():
                for phase, signatures in enumerate(self._stage(directory)):
                    if signatures:
                        self._storage.send(self._place(phase), url)
                        self._published.update(signatures)
                self._remove_old_checkpoints(directory, url)
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _remove_old_checkpoints(self, directory: str, url: str) -> None:
        """Deletes from storage the checkpoints that this job has copied there and the trainer has deleted here.

        The index of each goes first, so that the rest of it is no checkpoint.
        """
        inside = os.path.join(directory, '')
        gone = [path for path in self._published if path.startswith(inside) and not os.path.exists(path)
                and _OF_CHECKPOINT.fullmatch(os.path.basename(path))]
        for path in sorted(gone, key=lambda path: not path.endswith('.index')):
            with contextlib.suppress(InputError):      # it is gone, or may not be deleted
                self._storage.remove(url.rstrip('/') + '/' + os.path.relpath(path, directory))
            del self._published[path]

    def _place(self, phase, name=''):
        return os.path.join(self._aside, str(phase), name)

    def _stage(self, directory: str) -> List[Dict[str, Tuple[int, ...]]]:
        """Links what is to be copied into one directory for each phase; returns the signatures of each."""
        shutil.rmtree(self._aside, ignore_errors=True)
        staged = {}
        for phase in reversed(range(len(_PHASES))):
            staged[phase] = {
                path: signature for path, signature in _signatures(directory).items()
                if _PHASES[phase](os.path.basename(path)) and self._published.get(path) != signature
                and _link(path, self._place(phase, os.path.relpath(path, directory)))}
        for path in [path for path in staged[_INDEX] if not os.path.exists(path)]:
            # The trainer deleted this checkpoint meanwhile, perhaps before its data was linked.
            os.remove(self._place(_INDEX, os.path.relpath(path, directory)))
            del staged[_INDEX][path]
        return [staged[phase] for phase in sorted(staged)]


def _signatures(directory: str) -> Dict[str, Tuple[int, ...]]:
    """{path: (inode, size, time of the last change)} of all files below `directory` but those that stay."""
    found = {}
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != paths.GRAPH_CACHE]  # large, and of use on this machine only
        for path in (os.path.join(folder, name) for name in names if not name.startswith('.')):
            if not _BEING_WRITTEN.search(os.path.relpath(path, directory)):
                try:
                    stat = os.stat(path)
                except FileNotFoundError:
                    continue
                found[path] = stat.st_ino, stat.st_size, stat.st_mtime_ns
    return found


def _link(path: str, target: str) -> bool:
    """Links or copies the file to `target`; returns False when the file is gone."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        return False
    except OSError:  # another disk, or one without links
        shutil.copy2(path, target)
    return True
