"""The validation part of a training: --validation, ckpt/best, --early_stop."""
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
import toy
import two_ranks

from core.pages import records
from core.recipe import Head, Scores
from data.dataset import DataSet, Split
from launchers import evaluate
from nets.blocks import heads

pytestmark = pytest.mark.slow
LINE = r'validation after step (\d+) of \d+: loss (\S+) accuracy (\S+); the best accuracy is (\S+) after step (\d+)'


def variables(path):
    reader = tf.train.NewCheckpointReader(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def judged(log):
    """[(step, accuracy, best, its step)] of the lines of a log."""
    return [(int(step), float(accuracy), float(best), int(best_step))
            for step, _, accuracy, best, best_step in re.findall(LINE, log)]


def test_the_best_checkpoint_is_the_one_with_the_highest_headline_and_only_it_is_kept(tmp_path, capfd):
    flags = '--output_path=%s' % tmp_path, '--validation=0.3', '--train_epochs=5', '--learning_rate=0.03'
    assert toy.run(*flags) == 0
    log = capfd.readouterr().out
    lines = judged(log)
    assert [step for step, *_ in lines] == [7 * epoch for epoch in range(1, 6)]        # of 56 samples
    accuracies = [accuracy for _, accuracy, *_ in lines]
    assert lines[-1][2:] == (max(accuracies), lines[int(np.argmax(accuracies))][0])
    best = tmp_path / '0' / 'ckpt' / 'best'
    assert [path.name for path in best.glob('*.index')] == ['model.ckpt-%d.index' % lines[-1][3]]
    kept, whole = (variables(path / ('model.ckpt-%d' % lines[-1][3])) for path in (best, best.parent))
    assert set(kept) < set(whole) and 'toy/dense/kernel' in kept and 'notes/flags' in kept
    for name, value in kept.items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)
    tested = re.findall('test accuracy (\\S+)', log)[int(np.argmax(accuracies))]
    assert toy.run('--ckpt_path=%s' % best, act=evaluate.act) == 0
    assert 'Top-1: %.4f' % float(tested) in capfd.readouterr().out
    run, = records.read(str(tmp_path / '0'))
    assert run.best == (lines[-1][3], pytest.approx(lines[-1][2], abs=1e-6))
    assert '>epoch %d<' % (lines[-1][3] // 7) in (tmp_path / '0' / 'report.html').read_text('utf-8')
    metrics = json.loads((tmp_path / '0' / 'metrics.json').read_text())
    assert metrics['best']['step'] == lines[-1][3]


def test_a_run_that_goes_on_knows_its_best_and_counts_on_and_ends_early_like_a_finished_one(tmp_path, capfd):
    flags = ['--validation=0.3', '--learning_rate=0.03', '--train_epochs=30', '--early_stop=4']
    assert toy.run('--output_path=%s' % (tmp_path / 'whole'), *flags) == 0
    whole = capfd.readouterr().out
    lines = judged(whole)
    last, _, _, best_step = lines[-1]
    assert last == best_step + 4 * 7 < 210 and '--early_stop=4: the run ends, 4 evaluations after' in whole
    parts = [best_step + 14, 210]          # the first part ends two evaluations after the best
    for steps, more in zip(parts, ([], ['--resume'])):
        assert toy.run('--output_path=%s' % (tmp_path / 'parts'), *flags, '--train_steps=%d' % steps, *more) == 0
    resumed = judged(capfd.readouterr().out)
    assert resumed == lines
    one, other = (variables(tmp_path / name / '0' / 'ckpt' / ('model.ckpt-%d' % last)) for name in ('whole', 'parts'))
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    run, = records.read(str(tmp_path / 'whole' / '0'))
    assert run.state == 'done' and run.step == last and run.last('batch/loss') is not None
    assert (tmp_path / 'whole' / '0' / 'report' / 'figures').exists()
    assert toy.run('--output_path=%s' % (tmp_path / 'whole'), *flags, '--resume') == 3
    assert 'has ended 4 evaluations after its best one; raise --early_stop' in capfd.readouterr().err
    assert toy.plan('--output_path=%s' % (tmp_path / 'whole'), *flags, '--resume') == 0
    assert re.search('^finished=--resume: .* 4 evaluations after', capfd.readouterr().out, re.M)
    assert toy.run('--output_path=%s' % (tmp_path / 'whole'), '--train_epochs=40', '--resume') == 2
    assert 'another --validation' in capfd.readouterr().err


def test_two_ranks_judge_alike_and_as_one_rank_with_twice_the_batch(tmp_path, capfd):
    flags = ['--network=plain', '--validation=0.3', '--train_epochs=3', '--early_stop=2', '--learning_rate=0.03']
    (tmp_path / 'two').mkdir()
    of_two = judged(two_ranks.train(tmp_path / 'two', *flags, '--batch_size=4'))
    assert toy.run('--output_path=%s' % tmp_path, *flags[1:], '--batch_size=8', '--network=plain') == 0
    of_one = judged(capfd.readouterr().out)
    assert of_one and np.allclose(of_one, of_two, atol=1e-5)
    assert judged((tmp_path / 'two' / 'log1').read_text()) == of_two
    names = ['metrics.json', 'mistakes.csv']
    one, two = ((directory / '0' / names[0]).read_text() for directory in (tmp_path, tmp_path / 'two'))
    assert json.loads(one)['classes'] == json.loads(two)['classes']
    one, two = ((directory / '0' / names[1]).read_text() for directory in (tmp_path, tmp_path / 'two'))
    assert [line.rpartition(',')[0] for line in one.split()] == [line.rpartition(',')[0] for line in two.split()]


def test_of_a_headline_that_is_better_when_it_is_smaller_the_smallest_is_the_best(tmp_path, capfd, monkeypatch):
    def score(outputs, labels, config):
        scores = heads.softmax.score(outputs, labels, config)
        return Scores(scores.losses, dict(error=1 - scores.metrics['accuracy']))
    recipe = toy.RECIPE._replace(model=toy.RECIPE.model._replace(head=Head(score, 'error', smaller_is_better=True)),
                                 log=None)
    monkeypatch.setattr(sys.modules['launchers.networks.toy'], 'RECIPE', recipe)
    assert toy.run('--output_path=%s' % tmp_path, '--validation=0.3', '--train_epochs=3', '--learning_rate=0.03') == 0
    found = re.findall(r'error (\S+); the best error is (\S+) after', capfd.readouterr().out)
    assert found[-1][1] == min((error for error, _ in found), key=float) and len(set(found)) > 1
    run, = records.read(str(tmp_path / '0'))
    assert run.best[1] == pytest.approx(min(value for _, value in run.points['validation/error']))


@pytest.mark.parametrize('flags, words', [
    (['--early_stop=2'], '--early_stop=2: needs a validation part; add --validation=0.1'),
    (['--validation=0.001', '--network=numbers'], '--validation=0.001: 0 of 80 training samples'),
    (['--validation=0.1', '--network=parted'], '--validation=0.1: the data has a validation part of its own'),
    (['--validation=0.1', '--network=formless'], '--validation=0.1: the data of this network has no training part')])
def test_what_has_no_meaning_is_refused_before_anything_is_touched(flags, words, tmp_path, capfd, monkeypatch):
    numbers = toy.load(None)
    numbers = DataSet(*(Split(part.x, part.y.astype(np.float32)) for part in numbers[:2]), ())
    parted = numbers._replace(validation=numbers.test)
    for name, data in ('numbers', numbers), ('parted', parted), ('formless', ()):
        recipe = toy.RECIPE._replace(load=lambda config, data=data: data, class_names=lambda data: ())
        monkeypatch.setitem(sys.modules, 'launchers.networks.' + name, type('Module', (), dict(
            RECIPE=recipe, __file__=toy.__file__)))
    assert toy.plan('--output_path=%s' % (tmp_path / 'none'), *flags) == 2
    assert words in capfd.readouterr().err and not (tmp_path / 'none').exists()
