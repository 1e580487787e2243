"""The command evaluate: a checkpoint on the test set."""
import os
import re

import numpy as np
import pytest
import toy

from data.dataset import DataSet, Split
from data.loading import Skipped
from launchers import evaluate


@pytest.mark.slow
def test_evaluate_counts_every_test_example_once(trained, tmp_path, capfd):
    out = trained()
    assert toy.run('--data_path=synthetic', '--ckpt_path=%s' % (tmp_path / '0' / 'ckpt'), act=evaluate.act) == 0
    lines = capfd.readouterr().out.splitlines()
    accuracy = float(re.findall('test accuracy (.*) loss', out)[-1])
    assert lines == ['tested on 21 of all 101 examples, the test part; --all_images tests all',
                     '---- Final accuracy ----', 'Top-1: %.4f' % accuracy]
    assert accuracy * toy.TEST == pytest.approx(round(accuracy * toy.TEST), abs=1e-4)


@pytest.mark.parametrize('flags, line', [
    ([], 'tested on 3 of all 10 examples, the test part; --all_images tests all'),
    (['--all_images'], 'tested on 9 of all 10 examples')])
def test_evaluate_does_not_count_an_image_that_it_could_not_load(monkeypatch, capsys, flags, line):
    names = np.array([b'%d' % number for number in range(10)], object)
    data = DataSet(Split(names[:6], np.zeros(6, np.int32)), Split(names[6:], np.zeros(4, np.int32)), ('a', 'b'),
                   skipped=Skipped(names))

    def evaluated(recipe, *given):
        recipe.load(None).skipped.names.add(b'7')
        return {}
    monkeypatch.setattr(evaluate, 'evaluate', evaluated)
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(load=lambda config: data, evaluation_lines=lambda means: []))
    assert evaluate.main(['--network=toy', '--case=performance', '--data_path=synthetic', *flags], {}) == 0
    assert capsys.readouterr().out == line + '\n'


@pytest.mark.slow
def test_evaluate_tests_all_images_on_request_and_takes_classes_under_other_names_by_their_numbers_on_request_alone(
        trained, tmp_path, capfd, monkeypatch):
    def evaluated(*flags):
        status = evaluate.main(['--network=toy', '--case=performance', '--data_path=synthetic',
                                '--ckpt_path=%s' % (tmp_path / '0' / 'ckpt'), *flags], {})
        return status, capfd.readouterr()
    trained()
    status, said = evaluated('--all_images')
    assert status == 0 and said.out.splitlines()[0] == 'tested on 101 of all 101 examples'
    right = float(said.out.split('Top-1: ')[1]) * 101
    assert right == pytest.approx(round(right), abs=.01)
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(class_names=lambda data: ('zero', 'uno')))
    status, said = evaluated()
    assert status == 2 and said.err.splitlines()[-1] == (
        '--data_path: class 1 is one in the checkpoint and uno in the data; name them alike, or --classes_by_number '
        'takes all by their numbers')
    status, said = evaluated('--classes_by_number')
    assert status == 0 and said.out.startswith('class 1 is one in the checkpoint and uno in the data: the classes are')


@pytest.mark.slow
@pytest.mark.parametrize('average', [False, True])
def test_evaluate_tests_on_what_the_checkpoints_run_held_out(train, tmp_path, monkeypatch, average):
    seeds = []
    monkeypatch.setattr(toy, 'RECIPE', toy.RECIPE._replace(
        test_input=lambda data, config: seeds.append(config.seed) or toy.test_input(data, config)))
    assert train('--seed=7', '--swa_start_epoch=1')[0] == 0
    path = os.path.join(str(tmp_path), '0', 'ckpt', 'swa' if average else '')
    assert toy.run('--ckpt_path=' + path, act=evaluate.act) == 0 and seeds == [7, 7]


@pytest.mark.slow
def test_evaluate_needs_a_checkpoint_of_its_own_network(trained, tmp_path, capfd):
    trained()
    path = str(tmp_path / '0' / 'ckpt' / 'model.ckpt-20')
    assert toy.run('--network=plain', '--ckpt_path=' + path, act=evaluate.act) == 2
    assert 'not a checkpoint of this plain' in capfd.readouterr().err.splitlines()[-1]
