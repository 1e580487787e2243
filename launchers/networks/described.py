"""What a checkpoint notes of its run, so that the commands which take one need --ckpt_path alone."""
from typing import List, Mapping, Sequence

from core.errors import InputError
from core.settings import flags
from core.settings.config import typed
from core.settings.table import SWITCHES, switch
from launchers.networks.registry import named, own_name, recipe_of

_OF_ANY_NETWORK = ('task', 'trunk')


def completed(argv: Sequence[str], environ: Mapping[str, str], trains: bool = False) -> List[str]:
    """`argv` with the network of --ckpt_path and the flags that fix it, as far as the checkpoint notes them.

    trains: whether a training starts there, which may be of another network, and on other data. What is typed counts.
    Raises InputError where it differs from the checkpoint otherwise, and for a checkpoint of a recipe of the user's
    own, which has to be typed because a file names nothing that is executed.
    """
    arguments = list(argv)
    path = flags.parse_known(arguments, [switch('ckpt_path')])[0].get('ckpt_path')
    if not path:
        return arguments
    from core.pretrained import found          # here, because most runs start from nothing
    from core.training import weights
    try:
        told = weights.flags(found.find(path)[1])
    except InputError:                         # which is raised again where the checkpoint is used
        return arguments
    if 'network' not in told:                  # of an earlier version, or of others
        return arguments
    given = flags.network_in(arguments)
    if not given and not environ.get('NETWORK'):
        arguments.append(typed('network', named('weights', told['network'])))
    recipe, settled = recipe_of(flags.network_in(arguments), environ)
    if settled['network'] != own_name(told['network']):
        if trains:
            return arguments
        raise InputError('%s: the checkpoint is of %s; leave the flag out' % (
            typed('network', settled['network']), told['network']))
    rows = {row.name: row for row in (*SWITCHES, *recipe.switches)}
    given, _ = flags.parse_known(arguments, list(rows.values()))
    for name in (*_OF_ANY_NETWORK, *(row.name for row in recipe.switches)):
        if name in told and name not in given:
            arguments.append(typed(name, told[name]))
        elif name in told and str(given[name]) != told[name] and not trains:
            raise InputError('%s: the checkpoint is of %s; leave the flag out' % (
                typed(name, given[name]), typed(name, told[name])))
    return arguments
