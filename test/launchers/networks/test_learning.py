"""On real images a network learns, and the average of its weights is as good as its last iterate.

What takes longer is in test/accuracy.sh.
"""
import re

import margins
import photographs
import pytest

from launchers import command, train


@pytest.mark.slow
@pytest.mark.margin
def test_resnet20_learns_photographs_and_the_average_of_its_weights_does_not_lose_it(tmp_path, capfd):
    photographs.write_cifar10(tmp_path / 'data', 480, 120, margins.SEED)
    assert command.run(train.act, [
        '--network=cutmix', '--train_epochs=2', '--val_epoch=2', '--swa_start_epoch=2', '--save_interval=9',
        '--data_path=%s' % (tmp_path / 'data'), '--output_path=%s' % (tmp_path / 'out'), margins.SEED_FLAG], {}) == 0
    log = capfd.readouterr().out
    last, average = map(float, re.search(r'accuracy (\S+) for the last iterate, (\S+) for the average', log).groups())
    margins.above('cutmix on photographs: accuracy, chance is 0.1', last, .25)
    margins.below('cutmix on photographs: accuracy less that of the average', last - average, .2)
