"""The systems there are: one row per network, and its keys are what --network may be."""
from core.errors import InputError
from core.settings.config import field
from launchers.networks import alexnet, cspnet, cutmix, sesemi, swa

RECIPES = {
    'cspnet': cspnet.RECIPE,
    'alexnet': alexnet.RECIPE,
    'sesemi': sesemi.RECIPE,
    'swa': swa.RECIPE,
    'cutmix': cutmix.RECIPE,
}


def recipe_of(given):
    """The Recipe that the parsed flags ask for. Raises InputError for a network there is none of."""
    name = given.get('network', field('network').default)
    if name not in RECIPES:
        raise InputError('--network=%s: must be one of %s' % (name, ', '.join(RECIPES)))
    return RECIPES[name]
