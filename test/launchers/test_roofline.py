"""The command roofline on the tests' own network."""
import re

import pytest
import toy

from launchers import roofline

FLAGS = ['--network=' + toy.__name__, '--case=performance', '--precision_mode=allow_mix_precision', '--input_batches=2']


@pytest.mark.slow
def test_times_of_the_chips_stand_beside_measured_ones_and_the_input_is_timed(tmp_path, capsys):
    profile = tmp_path / 'op_summary_1.csv'
    profile.write_text('Op Name,OP Type,Task Duration(us)\ntoy/dense/MatMul,MatMulV2,12.5\n')
    assert roofline.main([*FLAGS, '--profile=%s' % profile], {}) == 0
    text = capsys.readouterr().out
    assert re.search(r'^type on the chip .* 910 us +910B us +measured us  bound by$', text, re.M)
    # Of two layers one product forward and two backward; TensorFlow computes the gradient of the input as well.
    count, operations, measured = re.search(r'^MatMulV2 +(\d+) +(\S+) .* (\S+)  memory$', text, re.M).groups()
    assert (int(count), float(measured)) == (6, 12.5) and float(operations) == round(
        2 * 8 * 16 * 3 * (32 + 2) / 1e9, 3)
    assert re.search(r'^910 +\S+ ms a step at best, \d+ images/s: .*Ascend910A', text, re.M)
    assert re.search(r'^input: \d+ images/s on this machine; 910 takes up to \d+: ', text, re.M)
    assert re.search(r'^FusedBatchnormFusionPass +1 hit +0 missed', text, re.M)


def test_a_profile_of_another_form_is_refused_before_the_graph_is_built(tmp_path, capsys):
    profile = tmp_path / 'wrong.csv'
    profile.write_text('a,b\n1,2\n')
    assert roofline.main([*FLAGS, '--profile=%s' % profile], {}) == 2
    assert 'is no op_summary_*.csv of a profile' in capsys.readouterr().err
