"""Entries of mix lists and customize_dtypes files that no operator of a graph matches, with the nearest name that does.

CANN takes such a file without a word, and the entry does nothing.
"""
from typing import List, Optional

import tensorflow as tf

from core import operators
from core.ascend import option_files
from core.run import Options


def lines(graph: tf.Graph, options: Options) -> List[str]:
    """A line for each entry of the files of modify_mixlist and customize_dtypes without an operator in `graph`.

    ReduceMean and ReduceMeanD are one name.
    """
    ops = graph.get_operations()
    tf_types = {op.type for op in ops}
    types = sorted({operators.row(name).chip for name in tf_types})

    def of_type(path, spelled):
        name = operators.chip_name(spelled)
        if name in types:
            return []
        return [_line(path, spelled, operators.row(spelled).chip if spelled in tf_types else
                      operators.nearest(name, types))]

    found: List[str] = []
    path = options.get('modify_mixlist')
    if path:
        for changes in option_files.mixlist(path).values():
            for spelled in sorted(name for names in changes.values() for name in names):
                found += of_type(path, spelled)
    path = options.get('customize_dtypes')
    names = {op.name for op in ops}
    for entry in option_files.custom_dtypes(path) if path else ():
        if entry.is_type:
            found += of_type(path, entry.name)
        elif entry.name not in names:
            found.append(_line(path, entry.name, operators.nearest(entry.name, names)))
    return found


def _line(path: str, name: str, near: Optional[str]) -> str:
    return '%s: no operator of this graph is a %s%s' % (path, name, '; did you mean %s?' % near if near else '')
