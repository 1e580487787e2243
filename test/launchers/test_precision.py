"""The command precision: the types of a training step's operators and the reasons."""
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import photographs
import tiny
import toy

from launchers import precision
from launchers.networks import cifar10
from nets import layers
from nets.blocks import heads


def table(capsys, *flags):
    """(status, what is printed) for the tests' own network."""
    status = precision.main(['--network=toy', '--case=performance', '--batch_size=4', *flags], {})
    return status, capsys.readouterr().out


@pytest.mark.slow
def test_every_operator_has_its_types_and_a_reason(capsys):
    status, text = table(capsys, '--precision_mode=allow_mix_precision')
    assert status == 0
    assert re.search(r'^MatMulV2 +float16 +float16 +white +\d+$', text, re.M)
    assert re.search(r'^ReduceMean +float32 +float32 +black +\d+$', text, re.M)
    assert re.search(r'^BiasAdd +float16 +float16 +gray, after \S*MatMul +\S*BiasAdd$', text, re.M)
    summed = sum(int(line.split()[-1]) for line in text.split('\n\n')[0].splitlines()[1:] if line.split()[-1].isdigit())
    assert summed == len(text.strip().split('\n\n')[1].splitlines()) - 1


@pytest.mark.slow
def test_a_mix_list_changes_type_and_reason(capsys, tmp_path):
    path = tmp_path / 'mix.json'
    path.write_text('{"white-list": {"to-remove": ["MatMulV2"]}, "black-list": {"to-add": ["MatMulV2"]}}')
    status, text = table(capsys, '--precision_mode=allow_mix_precision', '--use_mixlist=True',
                         '--mixlist_file=%s' % path)
    assert status == 0 and re.search(r'^MatMulV2 +float32 +float32 +black +\d+$', text, re.M)


@pytest.mark.slow
def test_a_mode_that_is_not_emulated_is_refused(capsys):
    status, _ = table(capsys, '--precision_mode_v2=cube_hif8')
    assert status == 2


@pytest.mark.parametrize('flags, words', [
    (['--search_minutes=1'], '--search_minutes: needs --search'), (['--closeness=.2'], '--closeness: needs --search'),
    (['--search', '--graph=' + __file__], '--graph: not together with --search')])
def test_flags_of_a_search_without_one_and_a_graph_with_one_are_refused(flags, words, capsys):
    assert precision.main(['--network=toy', '--case=performance', *flags], {}) == 2
    assert words in capsys.readouterr().err


def planted_net(x, is_training, dropout):
    """A dense layer of which squares leave the range of float16, between two that do not."""
    del is_training, dropout
    with tf.variable_scope('planted', reuse=tf.AUTO_REUSE):
        with tf.variable_scope('first'):
            x = tf.nn.relu(layers.dense(x, 16))
        with tf.variable_scope('fault'):
            x = tf.sqrt(tf.square(1000 * layers.dense(x, 16)) + 1) / 1000
        with tf.variable_scope('last'):
            return layers.dense(x, 2)


sys.modules['launchers.networks.planted'] = types.SimpleNamespace(
    __file__=__file__, RECIPE=toy.RECIPE._replace(model=heads.classifier(planted_net)))


@pytest.mark.slow
def test_a_planted_fault_is_found_and_cured_by_the_files_that_are_written(capsys, tmp_path):
    def losses(name, *flags):
        assert toy.run('--network=planted', '--train_steps=8', '--device=cpu', '--output_path=%s' % (tmp_path / name),
                       *flags) == 0
        return [float(loss) for loss in re.findall(r'^step \d+ loss (\S+)', capsys.readouterr().out, re.M)]
    mode = ['--precision_mode=allow_mix_precision', '--emulate_chip=910']
    flags = ['--network=planted', '--case=performance', *mode, '--search', '--closeness=.05',
             '--search_output=%s' % tmp_path]
    assert precision.main(flags, {}) == 0
    text = capsys.readouterr().out
    found, scopes = re.search(r'^The fewest types found: (.*) \(.*the fewest scopes: (\S*) \(', text, re.M).groups()
    assert ',' not in found and scopes in ('planted/fault', 'planted/fault/dense')
    plain = losses('plain')
    faulty = losses('faulty', *mode)
    assert abs(faulty[0] - plain[0]) > .05 * plain[0]
    for name, cure in (('a', ['--use_mixlist=True', '--mixlist_file=%s' % (tmp_path / 'float32_types.json')]),
                       ('b', ['--npu_option=customize_dtypes=%s' % (tmp_path / 'float32_operators.cfg')])):
        np.testing.assert_allclose(losses(name, *mode, *cure), plain, rtol=.02)
    assert precision.main(flags, {}) == 2 and 'float32_types.json: is there' in capsys.readouterr().err


@pytest.mark.slow
def test_a_mode_that_is_near_enough_needs_nothing_in_float32(capsys, tmp_path):
    assert precision.main(['--network=toy', '--case=performance', '--precision_mode=allow_mix_precision', '--search',
                           '--closeness=.2', '--search_output=%s' % (tmp_path / 'none')], {}) == 0
    assert 'nothing has to stay in float32' in capsys.readouterr().out and not (tmp_path / 'none').exists()


@pytest.mark.slow
def test_where_chip_and_rehearsal_disagree_is_told_and_ends_with_status_1(capsys, tmp_path):
    mode = ['--network=toy', '--case=performance', '--precision_mode=allow_mix_precision', '--device=cpu']
    assert toy.run(*mode[2:], '--train_steps=1', '--data_dump_flag=True', '--data_dump_step=0',
                   '--output_path=%s' % tmp_path) == 0
    graph = tmp_path / 'data_dump' / 'ge_proto_00000_rehearsal_Build.txt'
    assert precision.main([*mode, '--graph=%s' % graph], {}) == 0
    assert 'the chip gave 0 of them other types' in capsys.readouterr().out
    changed = tmp_path / 'chip.txt'
    changed.write_text(re.sub(r'(type: "Relu".*?)DT_FLOAT16', r'\1DT_FLOAT', graph.read_text(), 1, re.S))
    assert precision.main([*mode, '--graph=%s' % changed], {}) == 1
    assert re.search(r'^Relu +rehearsal float16 -> float16, chip float32 -> float16: 1 operators, toy/Relu$',
                     capsys.readouterr().out, re.M)


def sphere_of_photographs(images, is_training, classes):
    """Logits of features on the unit sphere, of which the squares leave the range of float16."""
    del is_training
    with tf.variable_scope('sphere_of_photographs', reuse=tf.AUTO_REUSE):
        with tf.variable_scope('features'):
            x = tf.nn.relu(layers.conv2d(images, 8, 5, strides=4))
            x = 1000 * layers.dense(tf.reshape(x, [-1, 8 * 8 * 8]), 16)
        with tf.variable_scope('normalize'):
            x = tf.nn.l2_normalize(x, 1)
        with tf.variable_scope('classes'):
            return layers.dense(10 * x, classes)


sys.modules['launchers.networks.sphere_of_photographs'] = types.SimpleNamespace(
    __file__=__file__, RECIPE=cifar10.recipe(sphere_of_photographs, tiny.DEFAULTS))


@pytest.mark.slow
def test_some_hundred_steps_on_photographs_with_what_a_search_keeps_in_float32_are_those_in_float32(tmp_path, capfd):
    photographs.write_cifar10(tmp_path / 'data', 400, 100)
    flags = ['--network=sphere_of_photographs', '--data_path=%s' % (tmp_path / 'data'), '--batch_size=16']
    mode = ['--precision_mode=allow_mix_precision', '--emulate_chip=910']

    def losses(name, *more):
        """Of every 25th step."""
        assert tiny.run(*flags, '--device=cpu', '--train_steps=300', '--display_step=25', '--val_epoch=12',
                        '--output_path=%s' % (tmp_path / name), *more, network='sphere_of_photographs') == 0
        return [float(loss) for loss in re.findall(r'^step .* loss (\S+)', capfd.readouterr().out, re.M)]
    plain, faulty = losses('plain'), losses('faulty', *mode)
    assert precision.main([*flags, *mode, '--search', '--search_output=%s' % tmp_path], {}) == 0
    cured = losses('cured', *mode, '--use_mixlist=True', '--mixlist_file=%s' % (tmp_path / 'float32_types.json'))
    assert min(faulty) > 1000 * max(plain)
    np.testing.assert_allclose(cured[:6], plain[:6], rtol=.1)      # measured: .02; later they drift apart
    assert np.mean(cured) == pytest.approx(np.mean(plain), rel=.1)     # measured: .001
