"""The text of -h: every switch with its meaning, its values and its defaults, under headings."""
from typing import Any, Iterable, List, Mapping, Optional, Tuple

from core.settings.table import GROUPS, HYPER_PARAMETERS, NPU_ONLY, RECIPE, SWITCHES, Switch


def usage(typed: str, recipes: Mapping[str, Any], options: str, case: Optional[str] = None) -> str:
    """What -h of training prints.

    typed: what starts the training. recipes: {network: Recipe} of the networks to describe. options: the text about the
    NpuOptimizer options. case: the --case of what starts the training.
    """
    recipes = dict(recipes)  # a registry checks a recipe at every look-up
    lines = ['usage: %s [--network=NAME] [--flag=value ...]' % typed, 'networks: ' + ', '.join(recipes)]
    for heading, switches in _under_headings(recipes):
        switches = [row._replace(default=case) if case and row.name == 'case' else row for row in switches]
        lines += ['', heading.upper()] + describe(switches, recipes)
    lines += ['', 'OPTIONS: --npu_option=KEY=VALUE', 'KEY (default): meaning; values', options]
    return '\n'.join(lines)


def describe(switches: Iterable[Switch], recipes: Mapping[str, Any] = {}) -> List[str]:
    """Lines about every switch: spellings, meaning, default, and the default of each of `recipes` {network: Recipe}."""
    lines = []
    for row in switches:
        lines.append('%s=VALUE' % ', '.join('--' + name for name in (row.name,) + row.aliases))
        lines.append('    %s' % row.help if row.kind.is_obvious else '    %s (%s)' % (row.help, row.kind.allowed))
        lines.append('    default: %s' % _default(row, recipes))
        if row.off_npu not in (None, NPU_ONLY):
            lines.append('    off an NPU: %s' % row.off_npu)
    return lines


def _under_headings(recipes) -> List[Tuple[str, List[Switch]]]:
    """(heading, its switches) in the order of -h; hyper-parameters stand under the names of their networks;
    what most networks have comes first."""
    headings = []
    for group in GROUPS:
        rows = [row for row in SWITCHES if row.group == group]
        if group != HYPER_PARAMETERS:
            headings.append((group, rows))
            continue
        owners = {row.name: [name for name, recipe in recipes.items() if row.name in recipe.defaults] for row in rows}
        owned = {tuple(names) for names in owners.values() if names}
        for owner in sorted(owned, key=lambda names: (-len(names), names)):
            owned = 'every network' if len(owner) == len(recipes) > 1 else ', '.join(owner)
            headings.append(('%s of %s' % (group, owned), [row for row in rows if tuple(owners[row.name]) == owner]))
    return headings + [('switches of ' + name, recipe.switches) for name, recipe in recipes.items() if recipe.switches]


def _default(row, recipes):
    values = []
    if row.default is not RECIPE:
        values.append('unset' if row.default in (None, ()) else str(row.default))
    for name, recipe in recipes.items():
        cases = ['%s in a %s run' % (case[row.name], label.replace('_', '-'))
                 for label, case in recipe.cases.items() if row.name in case]
        cases += ['%s with %s' % (changes[row.name], ' '.join('--%s=%s' % item for item in condition.items()))
                  for condition, changes in recipe.variants if row.name in changes]
        if row.name in recipe.on_synthetic:
            cases.append('%s on synthetic data' % recipe.on_synthetic[row.name])
        own = [str(recipe.defaults[row.name])] if row.name in recipe.defaults else []
        if own or cases:
            values.append('%s %s' % (name, ', '.join(own + cases)))
    return '; '.join(values)
