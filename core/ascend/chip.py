"""Which chip family the NPUs of this machine are, as npu-smi tells it."""
import functools
import re
import subprocess
from typing import Optional

FAMILIES = ('910', 'A2', 'A3', '950')
_SECONDS = 20                  # of npu-smi
_ROW = re.compile(r'^\|\s*\d+\s+((?:Ascend)?\d\w*)\s*\|', re.M)
# Names that npu-smi info prints in its column NPU Name, by family; the first that fits counts.
_NAMES = (('A3', r'910_93\d\d|Ascend910\b'), ('A2', r'910B[1-4]'), ('950', r'950\w*'),
          ('910', r'910(?:Pro|Premium)?[AB]?\b'))


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
    """The chip of table.CHIPS that this machine's NPUs take precisions and options like.

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
