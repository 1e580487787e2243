"""The vendors' launchers find in our logs what our launchers find; the extraction is docs/vendor-contract.md's."""
import os

import pytest
from launching import HERE
from vendor_extraction import extract, extractions

VENDORS = os.path.join(HERE, 'golden', 'vendor')


@pytest.mark.parametrize('heading, network, batch_size, figures', [
    ('cspnet, every launcher', 'cspnet', 64, dict(
        FPS='17.537586959355902', StepTime='3.6493047845363615', accuracy='0.9547', ActualLoss='0.6304564')),
    ('alexnet, performance, one rank', 'alexnet', 100, dict(FPS='27.4415', TrainingTime='3644.12')),
    ('swa', 'swa', 16384, dict(TrainingTime='1', ActualLoss='0.3997')),
    ('sesemi', 'sesemi', 16, dict(TrainingTime='6s', ActualLoss='4.5556')),
    ('cutmix', 'cutmix', 32, dict(FPS='185.08', TrainingTime='172.90', accuracy='1.0000', ActualLoss='0.7654')),
])
def test_the_extraction_finds_in_the_vendors_logs_what_their_launchers_found(heading, network, batch_size, figures):
    found = extract(heading, [os.path.join(VENDORS, network + '.log')], batch_size)
    assert {name: found[name] for name in figures} == figures


def test_every_system_has_its_extraction():
    assert {heading.split(',')[0] for heading in extractions()} == {'cspnet', 'alexnet', 'swa', 'sesemi', 'cutmix'}
