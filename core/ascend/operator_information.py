"""What the CANN on this machine knows about its operators: aic-SOC-ops-info*.json of its operator package.

Each of these files is an object {operator type: {"input0": {"dtype": "float16,float", ...}, ..., "precision_reduce":
{"flag": "true"}}}: the types of the AI Core kernels, and the list of mixed precision that the operator stands in.
"""
import functools
import glob
import os
from typing import Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple

from core import files
from core.errors import InputError
from core.operators import BLACK, GRAY, WHITE, chip_name

_CONFIG = os.path.join('built-in', 'op_impl', 'ai_core', 'tbe', 'config')
# chip of table.CHIPS -> its directories there, an A3's after an A2's
_SOCS = {'910': ('ascend910', 'ascend910a'), '910B': ('ascend910b', 'ascend910_93')}
_SPELLED = {'float': 'float32', 'bf16': 'bfloat16'}    # there: as TensorFlow spells it
_FLOATING = frozenset(('float32', 'float16', 'bfloat16'))


class Information(NamedTuple):
    """The operators of a CANN, by their types on the chip (ReduceMean for both ReduceMean and ReduceMeanD)."""
    paths: Tuple[str, ...]         # of the files
    colours: Dict[str, str]        # {type: white, black or gray}, of each type that has an AI Core kernel
    kernels: Dict[str, FrozenSet[str]]     # {type: floating-point types of its first operand}; not of all types


def read(environ: Mapping[str, str], chip: str) -> Optional[Information]:
    """The Information of the CANN that set_env.sh has chosen, for a chip of table.CHIPS; None where it lacks it.

    Raises InputError for a file of another form.
    """
    package = environ.get('ASCEND_OPP_PATH')
    return _read(package, chip) if package else None


@functools.lru_cache(maxsize=None)
def _read(package, chip):
    found = (glob.glob(os.path.join(glob.escape(package), _CONFIG, soc, 'aic-%s-ops-info*.json' % soc))
             for soc in _SOCS[chip])
    paths = sorted(next(filter(None, found), []))
    if not paths:
        return None
    colours: Dict[str, str] = {}
    kernels: Dict[str, FrozenSet[str]] = {}
    for path in paths:
        try:
            for spelled, facts in files.json_object(path).items():
                name, flag = chip_name(spelled), facts.get('precision_reduce', {}).get('flag')
                colour = {'true': WHITE, 'false': BLACK}.get(flag, GRAY)
                colours[name] = colour if colour != GRAY else colours.get(name, GRAY)
                types = {_SPELLED.get(one.strip(), one.strip())
                         for one in facts.get('input0', {}).get('dtype', '').split(',')} & _FLOATING
                if types:
                    kernels[name] = kernels.get(name, frozenset()) | types
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError('%s: is no operator information of CANN: %s; unset ASCEND_OPP_PATH to do without it' % (
                path, error if type(error) is ValueError else 'has another form'))
    return Information(tuple(paths), colours, kernels)
