"""A checkpoint of toy.py after 2 steps, which an earlier version wrote, is evaluated and resumed as it was then."""
import os
import re
import shutil

import pytest
import toy
from launching import HERE

from launchers import evaluate

CHECKPOINT = os.path.join(HERE, 'golden', 'checkpoint')    # written at a7cddeb, of which these figures are, too
ACCURACY_AFTER_2 = .666666667
AFTERWARDS = {3: .831661046, 4: .543372035}                # step: loss


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_version_is_evaluated_and_resumed_as_it_was_then(tmp_path, capfd):
    assert toy.run('--ckpt_path=' + CHECKPOINT, act=evaluate.act) == 0
    assert 'Top-1: %.4f' % ACCURACY_AFTER_2 in capfd.readouterr().out
    shutil.copytree(CHECKPOINT, str(tmp_path / '0' / 'ckpt'))
    assert toy.run('--output_path=%s' % tmp_path, '--resume', '--train_steps=4') == 0
    losses = dict(re.findall('^step (.) loss (.*) mean', capfd.readouterr().out, re.M))
    assert {int(step): float(loss) for step, loss in losses.items()} == pytest.approx(AFTERWARDS, rel=1e-5)
