"""The lines in Keras' form."""
import pytest

from core.run import Report
from launchers.networks.registry import RECIPES


@pytest.mark.parametrize('network, start', [
    ('sesemi', '3/8 [==========>...................] - '), ('cutmix', '3/8 - '),
    ('swa', '12/32 [==========>...................] - ')])
def test_an_epoch_that_is_cut_short_counts_what_it_had(network, start, capfd):
    means = dict(loss=2., accuracy=.5, self_clf_loss=1., super_clf_loss=1.)
    report = Report(step=11, steps=11, epoch=1, steps_per_epoch=8, batch_size=4, metrics=means, epoch_metrics=means,
                    learning_rate=1e-3, skipped=0, seconds=2., run_seconds=1.25, seconds_per_step=.02)
    lines = RECIPES[network].log()
    lines.epoch_start(1, 2)
    lines.epoch(report)
    assert capfd.readouterr().out.splitlines()[1].startswith(start)
