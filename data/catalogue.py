"""What lay in directories when they were last looked at, so that each rank need not list a large set again.

Kept in one file for a data set: the launcher, which looks at the data before a run, writes it, and the ranks read it. A
directory is listed again when its time has changed, as it does when a name in it comes or goes.
"""
import contextlib
import json
import os
import tempfile
import time
import zlib
from typing import Dict, Sequence

from core import files
from data.listing import Listing, listing

_SETTLED = 2 * 10 ** 9         # nanoseconds after which a further change gives a directory another time, on any disk


class Catalogue:
    """The listings of a data set in the directory `path`; cache: the directory of the file that keeps them."""

    def __init__(self, path: str, cache: str) -> None:
        self._file = os.path.join(cache, 'listing-%08x.json' % zlib.crc32(os.fsencode(os.path.abspath(path))))
        self._kept = self._read()
        self.is_as_it_was = True       # whether all that was asked for had been kept

    def listing(self, path: bytes, suffixes: Sequence[str]) -> Listing:
        """data.listing.listing()."""
        key, stamp = '%s\0%s' % (os.fsdecode(path), ' '.join(suffixes)), os.stat(path).st_mtime_ns
        kept = self._kept.get(key)
        if kept and kept[0] == stamp:
            return Listing(*([os.fsencode(name) for name in names] for names in kept[1:3]), kept[3])
        self.is_as_it_was = False
        settled = time.time_ns() - stamp > _SETTLED
        found = listing(path, suffixes)
        self._kept[key] = [stamp if settled else 0, *(
            [os.fsdecode(name) for name in names] for names in (found.folders, found.files)), found.others]
        return found

    def keep(self) -> None:
        """Writes the file, which appears when it is whole; one that cannot be written only costs time."""
        if self.is_as_it_was:
            return
        text = json.dumps(self._kept).encode()
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._file), exist_ok=True)
            handle, unfinished = tempfile.mkstemp(dir=os.path.dirname(self._file), prefix='.listing-')
            with os.fdopen(handle, 'wb') as file:
                file.write(b'%08x\n' % zlib.crc32(text) + text)
            os.replace(unfinished, self._file)

    def _read(self) -> Dict[str, list]:
        try:
            checksum, _, text = files.contents(self._file).partition(b'\n')
        except ValueError:
            return {}
        return json.loads(text.decode()) if checksum == b'%08x' % zlib.crc32(text) else {}
