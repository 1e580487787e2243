"""The part "on the chip" of a report, in both languages."""
import json

import pytest
import tensorflow as tf

from core.ascend.emulation import emulation, on_chip, precision_rules
from core.pages import chip_section
from core.pages.records import RecordedRun
from core.reporting import record


@pytest.fixture
def facts():
    """What a rehearsal writes about a step with a biased convolution before batch norm."""
    with tf.Graph().as_default() as graph:
        x = tf.nn.conv2d(tf.placeholder(tf.float32, [4, 8, 8, 3]), tf.get_variable('kernel', [3, 3, 3, 20]), 1, 'SAME')
        x = tf.nn.bias_add(x, tf.get_variable('bias', [20]))
        x = tf.compat.v1.nn.fused_batch_norm(x, tf.ones([20]), tf.ones([20]))[0]
        x = tf.reduce_mean(x + tf.math.lgamma(tf.math.log(x)), name='loss')
        done = emulation.emulate(graph, precision_rules.rules('allow_mix_precision', '910', True))
        return on_chip.facts(graph.get_operations(), done, 'emulated allow_mix_precision of a 910', 4)


def run_of(tmp_path, facts, points):
    folder = tmp_path / 'report'
    folder.mkdir(exist_ok=True)
    (folder / record.CHIP).write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return RecordedRun(str(tmp_path), {'network': 'n'}, 3, points, {}, record.DONE)


def test_types_surprises_roofline_and_fusions_are_shown_with_what_to_do(facts, tmp_path):
    html = chip_section.html(run_of(tmp_path, facts, {}))
    for words in ('Types: emulated allow_mix_precision of a 910', '类型：', 'of a type that the table of operators lacks',
                  'Lgamma', 'Roofline of a 910B', '910B 的理论上限', 'Channels padded to 16', 'choose multiples of 16',
                  'TbeConvBnreduceFusionPass', 'a bias before batch norm', 'test_chip_section.py:', '矩阵单元'):
        assert words in html, words
    assert 'recommended' not in html       # nothing was counted


def test_what_gradients_lose_is_drawn_and_the_scale_is_recommended(facts, tmp_path):
    points = {'gradient_lost/a/kernel': [(1, 0.), (3, 38.)], 'gradient_lost/b': [(3, .1)],
              'recommended_loss_scale': [(1, 1.), (3, 1024.)]}
    html = chip_section.html(run_of(tmp_path, facts, points))
    assert 'try --loss_scale=1024' in html and '请试 --loss_scale=1024' in html
    assert 'data-figure="gradient_lost"' in html and 'a/kernel' in html and '3:38' in html
    enough = dict(points, loss_scale=[(3, 1024.)])
    assert 'launchers precision --search' in chip_section.html(run_of(tmp_path, facts, enough))
    nothing = {'gradient_lost/a/kernel': [(3, .2)], 'recommended_loss_scale': [(3, 1.)]}
    assert 'nothing to do' in chip_section.html(run_of(tmp_path, facts, nothing))


@pytest.mark.parametrize('text', ['', '[', '{}', '{"mode": 3}', '{"types": [[1]], "mode": "a", "narrow": "b"}'])
def test_a_file_of_another_form_is_no_part_of_the_page(text, tmp_path):
    assert chip_section.html(run_of(tmp_path, text, {})) == ''


def test_a_run_that_was_not_rehearsed_has_no_such_part(tmp_path):
    assert chip_section.html(RecordedRun(str(tmp_path), {'network': 'n'}, 3, {}, {}, record.DONE)) == ''
