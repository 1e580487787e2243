"""The weights that --ckpt_path names, behind the functions of TensorFlow's checkpoint reader, whatever their format."""
import os
import re
from typing import Tuple

from core.errors import InputError
from core.pretrained import h5, npz
from core.run import Reader
from core.training import checkpoints


def find(path: str) -> Tuple[str, Reader]:
    """(path, reader) of what --ckpt_path names: an .h5 or .npz file, a checkpoint, one of its files, or its directory.

    Of a directory the newest whole checkpoint counts. Raises InputError when there is none, or it is damaged.
    """
    if path.endswith(h5.SUFFIX):
        return path, h5.H5Reader(path)
    if path.endswith(npz.SUFFIX):
        return path, npz.NpzReader(path)
    checkpoints.check_no_pattern('--ckpt_path', path)
    if os.path.isdir(path):
        prefix, reader = checkpoints.newest_whole(path)
        if not prefix:
            raise InputError('--ckpt_path=%s: no whole checkpoint (%s-STEP.index) in this directory' % (
                path, checkpoints.PREFIX))
        return prefix, reader
    prefix = re.sub(r'\.(index|meta|data-\d+-of-\d+)$', '', path)
    if not os.path.exists(prefix + '.index'):
        raise InputError('--ckpt_path=%s: no such checkpoint; give DIR/%s-STEP or the directory' % (
            path, checkpoints.PREFIX))
    try:
        return prefix, checkpoints.read_whole(prefix)
    except checkpoints.BROKEN as error:
        raise InputError('--ckpt_path=%s: damaged: %s' % (path, error))
