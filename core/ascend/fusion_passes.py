"""CANN's fusion passes by name, and the entries of a fusion_switch_file that name none.

CANN takes such a file without a word, and the entry does nothing.
"""
import functools
import os
from typing import Dict, List, Mapping

from core import files
from core.ascend import option_files
from core.operators import nearest

_TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fusion_passes.tsv')
_OF_CANN = os.path.join('built-in', 'fusion_pass', 'config', 'fusion_config.json')
_ALL = 'ALL'                   # instead of a name: every pass of the group that can be switched


def lines(path: str, environ: Mapping[str, str]) -> List[str]:
    """A line for each entry of the fusion_switch_file `path` that switches nothing, with the nearest name."""
    known = passes(environ)
    found = []
    for group, switched in option_files.fusion_switches(path).items():
        for name in switched:
            if name != _ALL and known.get(name, group) != group:
                found.append('%s: %s is a pass of %s; under %s it has no effect' % (path, name, known[name], group))
            elif name != _ALL and name not in known:
                near = nearest(name, known)
                found.append('%s: no fusion pass that is known here is called %s%s' % (
                    path, name, '; did you mean %s?' % near if near else ''))
    return found


def passes(environ: Mapping[str, str]) -> Dict[str, str]:
    """{name: GraphFusion or UBFusion} of the table and of the CANN that set_env.sh has chosen, if it can be read."""
    return dict(_table(), **_of_cann(os.path.join(environ.get('ASCEND_OPP_PATH', ''), _OF_CANN)))


@functools.lru_cache(maxsize=None)
def _table():
    with open(_TABLE) as file:
        rows = [line.split() for line in file if not line.startswith('#')]
    return {name: group for group, name in rows}


def _of_cann(path):
    try:
        said = files.json_object(path)
        return {name: group for groups in [said['Switch'], *_parts(said['Priority'])]
                for group, names in groups.items() for name in names}
    except (ValueError, KeyError, TypeError, AttributeError):   # none, or of another form: then the table alone
        return {}


def _parts(priority):
    """The {group: {name: number}} of each part of the priorities: Top, Main and Down."""
    return [{group: names} for group, parts in priority.items() for names in parts.values()]
