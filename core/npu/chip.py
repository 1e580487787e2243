"""Which chip family the NPUs of this machine are, as npu-smi tells it."""
import functools
import re
import subprocess
from typing import Optional

FAMILIES = ('910', 'A2', 'A3', '950')
_SECONDS = 20                  # of npu-smi
# Names that npu-smi info prints in its column NPU Name, by family; the first that fits counts.
_NAMES = (('A3', r'910_93\d\d|Ascend910\b'), ('A2', r'910B[1-4]'), ('950', r'950\w*'),
          ('910', r'910(?:Pro|Premium)?[AB]?\b'))


@functools.lru_cache()
def family() -> Optional[str]:
    """One of FAMILIES; None where npu-smi is missing or prints no name that is known."""
    try:
        answer = subprocess.run(['npu-smi', 'info'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                timeout=_SECONDS, universal_newlines=True).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return family_in(answer)


def like() -> Optional[str]:
    """The chip of table.CHIPS that this machine's NPUs take precisions and options like; None where unknown."""
    return {None: None, '910': '910'}.get(family(), '910B')


def family_in(answer: str) -> Optional[str]:
    """The family named in the text that `npu-smi info` prints: rows `| 0     910B3   | OK  | ...`."""
    named = re.search(r'^\|\s*\d+\s+((?:Ascend)?9[15]0\w*)\s*\|', answer, re.M)
    if not named:
        return None
    return next((name for name, pattern in _NAMES if re.fullmatch(pattern, named.group(1))), None)
