"""Environment variables of the Ascend software that are checked.

docs/npu-options.md lists them. Checked on every device, because a run off an NPU rehearses one on it.
"""
from typing import Mapping, NamedTuple, Optional

from core.errors import InputError
from core.settings import kinds
from core.settings.config import Config
from core.settings.table import switch


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


def check(environ: Mapping[str, str]) -> None:
    """Raises InputError for a variable that CANN would end the process for."""
    for name, variable in VARIABLES.items():
        if environ.get(name):
            try:
                variable.kind.parse(environ[name])
            except ValueError as error:
                raise InputError('%s=%s (environment): %s' % (name, environ[name], error))


def enables_hf32(config: Config, environ: Mapping[str, str]) -> Optional[bool]:
    """What --enable_hf32, or else the environment, says about HF32; None: nothing."""
    given = {'0': False, '1': True}.get(environ.get('ENABLE_HF32_EXECUTION', ''))
    return given if config.enable_hf32 is None else config.enable_hf32
