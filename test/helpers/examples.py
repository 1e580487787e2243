"""The example recipes of docs/examples, as small as tests need them."""
import glob
import os
import sys

from launching import ROOT

from launchers.networks import registry

PATHS = {os.path.basename(path)[:-len('.py')]: path for path in glob.glob(os.path.join(ROOT, 'docs/examples/*.py'))}
SMALL = dict(resnet50=['--depth=14', '--image_size=32'])


def shrink(monkeypatch):
    """In this process ResNet-14 has two of its stages, which have half a million weights, and U-Net's images 32x32."""
    for name in 'resnet50', 'unet':
        assert registry.RECIPES[PATHS[name]]           # which imports the file
    monkeypatch.setitem(sys.modules['recipe_resnet50'].BLOCKS, '14', (1, 1))
    monkeypatch.setattr(sys.modules['recipe_unet'], 'SIZE', 32)
