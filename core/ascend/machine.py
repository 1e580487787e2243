"""What this machine has of Ascend: its chips, the versions of its software, the environment variables.

Sources: npu-smi; CANN software installation guide, "File Paths" (8.0 and 8.5); the driver's own version.info;
docs/npu-options.md for the variables. They are checked on every device, because a run off an NPU rehearses one on it.
"""
import functools
import glob
import os
import re
import subprocess
from typing import List, Mapping, NamedTuple, Optional

from core.errors import InputError
from core.settings import kinds
from core.settings.config import Config
from core.settings.table import switch

FAMILIES = ('910', 'A2', 'A3', '950')
_SECONDS = 20                  # of npu-smi
_ROW = re.compile(r'^\|\s*\d+\s+((?:Ascend)?\d\w*)\s*\|', re.M)
# Names that npu-smi info prints in its column NPU Name, by family; the first that fits counts.
_NAMES = (('A3', r'910_93\d\d|Ascend910\b'), ('A2', r'910B[1-4]'), ('950', r'950\w*'),
          ('910', r'910(?:Pro|Premium)?[AB]?\b'))
_CANN = ('*-linux/ascend_toolkit_install.info', 'ascend_nnae_install.info')
_ROOTS = ('ascend-toolkit/latest', 'nnae/latest', 'cann')


class Variable(NamedTuple):
    """A variable that CANN reads."""
    kind: kinds.Kind
    meaning: str


VARIABLES = {
    'AOE_MODE': Variable(switch('aoe_mode').kind, 'tune, as the option aoe_mode does'),
    'ENABLE_HF32_EXECUTION': Variable(kinds.choice('0', '1'), 'HF32 for float32 operands of convolutions and '
                                      'matrix products (1) or for none (0); unset: of convolutions alone; a 910 has '
                                      'none; --enable_hf32 sets it'),
    'ENABLE_FORCE_V2_CONTROL': Variable(kinds.choice('0', '1'), '1: conditions become those of control flow version 2, '
                                        'which need less memory; not set here, because the pass of TensorFlow that the '
                                        'adapter calls for it refuses reference variables ("AttrValue must not have '
                                        'reference type"), and the conditions of --loss_scale hold some'),
    'JOB_ID': Variable(kinds.pattern('.{1,127}', 'a name of at most 127 characters'),
                       'name of the job among those that use HCCL; the launcher sets it where it is unset'),
}


@functools.lru_cache()
def answer() -> str:
    """What `npu-smi info` prints, once for a process; '' where it is missing."""
    try:
        return subprocess.run(['npu-smi', 'info'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=_SECONDS, universal_newlines=True).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ''


def family() -> Optional[str]:
    """One of FAMILIES; None where npu-smi is missing or prints no name that is known."""
    return family_in(answer())


def like() -> Optional[str]:
    """The chip of table.CHIPS with the limits of this machine's NPUs.

    '' for NPUs of another name, of which nothing is known, and None on a machine without NPUs.
    """
    if family() is None:
        return '' if name() else None
    return '910' if family() == '910' else '910B'


def name() -> Optional[str]:
    """What npu-smi calls the chip, such as 910B3; None on a machine without NPUs."""
    return _name_in(answer())


def family_in(text: str) -> Optional[str]:
    """The family named in the text that `npu-smi info` prints: rows `| 0     910B3   | OK  | ...`."""
    named = _name_in(text)
    return named and next((family for family, pattern in _NAMES if re.fullmatch(pattern, named)), None)


def _name_in(text):
    named = _ROW.search(text)
    return named and named.group(1)


def cann(environ: Mapping[str, str]) -> Optional[str]:
    """The version of the CANN that set_env.sh has chosen, else of an installed one, such as 8.0.RC1; or None."""
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


def check_environment(environ: Mapping[str, str]) -> None:
    """Raises InputError for a variable that CANN would end the process for."""
    for name, variable in VARIABLES.items():
        if environ.get(name):
            try:
                variable.kind.parse(environ[name])
            except ValueError as error:
                raise InputError('%s=%s (environment): %s' % (name, environ[name], error))


def enables_hf32(config: Config, environ: Mapping[str, str]) -> Optional[bool]:
    """HF32 as --enable_hf32, or else the environment, sets it; None: neither does."""
    given = {'0': False, '1': True}.get(environ.get('ENABLE_HF32_EXECUTION', ''))
    return given if config.enable_hf32 is None else config.enable_hf32
