"""Environment variables of the Ascend software that are checked, and the chip that this machine has.

docs/npu-options.md lists them. Checked on every device, because a run off an NPU rehearses one on it.
"""
import functools
import re
import shutil
import subprocess
from typing import Mapping, NamedTuple, Optional

from core.errors import InputError
from core.settings import kinds
from core.settings.table import switch

_CHIPS = ((r'910B[0-9].*|910_93.*|910C.*|950.*', '910B'), (r'910(A|B|ProA|ProB|PremiumA)?', '910'))


class Variable(NamedTuple):
    """A variable that CANN reads."""
    kind: kinds.Kind
    meaning: str


VARIABLES = {
    'AOE_MODE': Variable(switch('aoe_mode').kind, 'tune, as the option aoe_mode does'),
    'ENABLE_HF32_EXECUTION': Variable(kinds.choice('0', '1'), 'float32 products in HF32; --enable_hf32 sets it'),
    'JOB_ID': Variable(kinds.pattern('.{1,127}', 'a name of at most 127 characters'),
                       'name of the job among those that use HCCL; the launcher sets it where it is unset'),
}


def check(environ: Mapping[str, str]) -> None:
    """Raises InputError for a variable that CANN would end the process for."""
    for name, variable in VARIABLES.items():
        if environ.get(name):
            try:
                variable.kind.parse(environ[name])
            except ValueError as error:
                raise InputError('%s=%s (environment): %s' % (name, environ[name], error))


@functools.lru_cache()
def chip_of_this_machine() -> Optional[str]:
    """The chip, of table.CHIPS, that npu-smi tells; None where it tells none that is known."""
    if not shutil.which('npu-smi'):
        return None
    try:
        shown = subprocess.run(['npu-smi', 'info'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               universal_newlines=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    for name in re.findall(r'^\|\s*[0-9]+\s+(?:Ascend)?(\S+)', shown, re.M):
        for names, chip in _CHIPS:
            if re.fullmatch(names, name):
                return chip
    return None
