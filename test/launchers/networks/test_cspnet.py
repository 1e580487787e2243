"""CSPNet's recipe: its log lines and what the launcher reads in them (docs/vendor-contract.md sections 1 and 3)."""
import re

import pytest

from core.run import Report
from launchers.networks import cspnet

REPORT = Report(step=1000, steps=3910, epoch=1, steps_per_epoch=782, batch_size=64,
                metrics={'loss': 1.2345678, 'accuracy': .5}, epoch_metrics={'loss': 2., 'accuracy': .4},
                learning_rate=1e-3,
                skipped=0, seconds=62., run_seconds=51.2, seconds_per_step=.0512)


@pytest.fixture
def log(capfd):
    """The lines of a run whose last step and epoch is `REPORT`'s."""
    lines = cspnet.RECIPE.log()
    lines.epoch_start(0, 5)
    lines.step(REPORT)
    lines.epoch(REPORT)
    lines.evaluation_start(1)
    lines.epoch(REPORT._replace(seconds=65., evaluation={'accuracy': .66054, 'loss': 1.}))
    lines.end(REPORT)
    return capfd.readouterr().out


def test_the_lines_are_the_vendors(log):
    assert log.splitlines() == [
        'Epoch: 001 Step/Batch: 000001000 --- Loss: 1.2345678 Training accuracy: 0.5000',
        'Elapsed time: 00d 00h 01m 02s',
        'Epoch 1, validating ....',
        'Elapsed time: 00d 00h 01m 05s',
        'Validation accuracy: 0.6605',
        'Elapsed time: 00d 00h 01m 02s',
        'StepTime = 0.051200',
        'FPS = 1250.0000']
    # The vendor's greps want one line of each, whatever the case of its letters.
    assert len(re.findall('StepTime', log)) == len(re.findall('FPS', log)) == 1
    assert log.splitlines()[-2][11:] == '0.051200' and log.splitlines()[-1][6:] == '1250.0000'
