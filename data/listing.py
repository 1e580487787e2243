"""What lies in a directory: which names are images, which are no data at all, what is left out; and what a file is.

Names are bytes, as the file system has them: not every name is UTF-8.
"""
import collections
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from core.files import opened
from core.log import printable

# Names, in lower case, of what operating systems and file managers leave beside a user's files; hidden files are more.
_NO_DATA = (b'__macosx', b'thumbs.db', b'desktop.ini', b'ehthumbs.db', b'@eadir', b'$recycle.bin', b'lost+found',
            b'system volume information')
_NAMED = 5                     # kinds of files that are left out are named up to so many

HEAD = 512                     # bytes that are looked at

_CONVERT = 'convert it to JPEG or PNG'
_UNPACK = 'unpack it and name the directory that comes out'
_AGAIN = 'fetch the file itself again'
# (offset, bytes there, what the file is, what to do)
_SIGNATURES = (
    (0, b'\x1f\x8b', 'a gzip file', 'unpack it: gunzip, or tar -xzf for a .tar.gz'),
    (0, b'PK\x03\x04', 'a zip archive', _UNPACK),
    (0, b'PK\x05\x06', 'an empty zip archive', _AGAIN),
    (0, b'BZh', 'a bzip2 file', 'unpack it: bunzip2, or tar -xjf for a .tar.bz2'),
    (0, b'\xfd7zXZ\0', 'an xz file', 'unpack it: unxz, or tar -xJf for a .tar.xz'),
    (0, b'\x28\xb5\x2f\xfd', 'a zstd file', 'unpack it: unzstd'),
    (0, b'7z\xbc\xaf\x27\x1c', 'a 7z archive', _UNPACK),
    (0, b'Rar!', 'a rar archive', _UNPACK),
    (257, b'ustar', 'a tar archive', _UNPACK),
    (0, b'version https://git-lfs', 'a Git LFS pointer', 'git lfs pull fetches the file itself'),
    (0, b'/annex/objects/', 'a git-annex pointer', 'git annex get fetches the file itself'),
    (0, b'%PDF', 'a PDF file', _CONVERT),
    (8, b'WEBP', 'a WebP image', _CONVERT),
    (4, b'ftyphei', 'a HEIC image', _CONVERT), (4, b'ftypmif1', 'a HEIC image', _CONVERT),
    (4, b'ftypavif', 'an AVIF image', _CONVERT),
    (0, b'II*\0', 'a TIFF image', _CONVERT), (0, b'MM\0*', 'a TIFF image', _CONVERT),
    (0, b'<svg', 'an SVG drawing', _CONVERT),
    (0, b'\x89HDF\r\n\x1a\n', 'an HDF5 file', 'see which file was meant'),
    (0, b'\x00\x05\x16\x07', 'what macOS keeps beside a file', 'delete it'))
_HTML = (b'<!doctype html', b'<html')


class Listing(NamedTuple):
    """What lies in a directory, in the order of the names' bytes."""
    folders: List[bytes]           # their names
    files: List[bytes]             # names of the files with a suffix that was asked for
    others: Dict[str, int]         # suffix of other files, '' without one -> their number


def is_data(name: bytes) -> bool:
    """Whether a name is one that users give to their data."""
    return not name.startswith(b'.') and name.lower() not in _NO_DATA


def listing(path: bytes, suffixes: Sequence[str]) -> Listing:
    """The Listing of the directory `path`; suffixes, such as '.jpg', count in any case of letters."""
    wanted = tuple(suffix.encode() for suffix in suffixes)
    folders, files, others = [], [], collections.Counter()
    with os.scandir(path) as entries:
        for entry in entries:
            if not is_data(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(wanted) and entry.is_file():
                files.append(entry.name)
            else:
                others[shown(os.path.splitext(entry.name)[1].lower())] += 1
    return Listing(sorted(folders), sorted(files), others)


def shown(name: bytes) -> str:
    """A name in a line for the user."""
    return printable(os.fsdecode(name))


def left_out(others: Mapping[str, int]) -> str:
    """'left out 60 files: .webp', the commonest first; '' when nothing was."""
    count = sum(others.values())
    if not count:
        return ''
    kinds = sorted(others, key=lambda kind: (-others[kind], kind))
    named = [kind or 'without a suffix' for kind in kinds[:_NAMED]]
    return 'left out %s: %s%s' % (counted(count, 'file'), ', '.join(named), ', ...' * (len(kinds) > _NAMED))


def counted(count: int, noun: str) -> str:
    """'1 file', '2 files', '2 classes'."""
    return '%d %s' % (count, noun if count == 1 else noun + ('es' if noun.endswith('s') else 's'))


def parts_of(names: Sequence[bytes]) -> Tuple[List[bytes], List[bytes], List[bytes]]:
    """(folders of the training part, of the test part, of the validation part) among the names of folders, the best
    first; without a test part the validation part is for tests.
    """
    by_name = {}
    for name in names:
        by_name.setdefault(name.lower(), name)
    trains, tests, validations = ([by_name[part] for part in parts if part in by_name] for parts in (
        (b'train', b'training'), (b'test', b'testing'), (b'val', b'valid', b'validation')))
    return (trains, tests, validations) if tests else (trains, validations, [])


def what_is(head: bytes) -> Optional[str]:
    """What a file of another kind than those that are read here is, and what to do; None where that is not known.

    head: its first HEAD bytes.
    """
    if head.lstrip().lower().startswith(_HTML):
        return 'an HTML page, as a server sends instead of a file: ' + _AGAIN
    for offset, signature, words, advice in _SIGNATURES:
        if head[offset:offset + len(signature)] == signature:
            return '%s: %s' % (words, advice)
    return None


def what_is_at(path: str) -> Optional[str]:
    """what_is() of the file `path`; None for a directory, a device and what cannot be read."""
    try:
        with opened(path) as file:
            return what_is(file.read(HEAD))
    except (OSError, ValueError):
        return None
