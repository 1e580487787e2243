"""Versions of the Ascend software on this machine, read from the files that its installers write. Needs no TensorFlow.

Sources: CANN software installation guide, "File Paths" (8.0 and 8.5); the driver's own version.info.
"""
import glob
import os
import re
from typing import List, Mapping, Optional

_CANN = ('*-linux/ascend_toolkit_install.info', 'ascend_nnae_install.info')
_ROOTS = ('ascend-toolkit/latest', 'nnae/latest', 'cann')


def cann(environ: Mapping[str, str]) -> Optional[str]:
    """The version of CANN, such as 8.0.RC1, or None: that which set_env.sh has chosen, else the installed one."""
    homes = [environ.get(name) for name in ('ASCEND_TOOLKIT_HOME', 'ASCEND_HOME_PATH')]
    homes += [os.path.join(root, name) for root in install_roots(environ) for name in _ROOTS]
    for home in filter(None, homes):
        for pattern in _CANN:
            for path in sorted(glob.glob(os.path.join(glob.escape(home), pattern))):
                version = _read_version(path)
                if version:
                    return version
    return None


def driver(environ: Mapping[str, str]) -> Optional[str]:
    """The version of the NPU's driver, or None."""
    found = [_read_version(os.path.join(root, 'driver', 'version.info')) for root in install_roots(environ)]
    return next(filter(None, found), None)


def install_roots(environ: Mapping[str, str]) -> List[str]:
    """The directories that Ascend packages are installed under by default."""
    return ['/usr/local/Ascend'] + [os.path.join(environ[name], 'Ascend') for name in ('HOME',) if environ.get(name)]


def _read_version(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            match = re.search(r'^version\s*=\s*(\S+)', file.read(), re.M | re.I)
    except OSError:
        return None
    return match.group(1) if match else None
