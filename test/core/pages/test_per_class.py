"""Precision, recall and F1 of each class, and the files that hold them, beside sums made one by one."""
import csv
import json

import numpy as np
import pytest

from core.pages import per_class
from core.run import Predictions, Report, Validation

NAMES = ('cat', 'dog', 'a "wren", or two', 'none')


@pytest.fixture
def tested():
    """(labels, guesses, Predictions of them): the last class is neither there nor guessed."""
    random = np.random.RandomState(0)
    labels, guesses = random.randint(0, 3, 200), random.randint(0, 3, 200)
    guesses[:120] = labels[:120]
    wrong = np.flatnonzero(labels != guesses)
    right = np.bincount(labels[labels == guesses], minlength=4)
    return labels, guesses, Predictions(right, wrong, labels[wrong], guesses[wrong], np.linspace(.4, 1, len(wrong)))


def test_the_figures_of_a_class_are_their_definitions(tested):
    labels, guesses, predictions = tested
    for number, found in enumerate(per_class.metrics(predictions, NAMES)[:3]):
        both = ((labels == number) & (guesses == number)).sum()
        precision, recall = both / (guesses == number).sum(), both / (labels == number).sum()
        assert found == (NAMES[number], (labels == number).sum(), pytest.approx(precision), pytest.approx(recall),
                         pytest.approx(2 / (1 / precision + 1 / recall)))
    assert per_class.metrics(predictions, NAMES)[3] == ('none', 0, 0, 0, 0)
    counts = per_class.confusion(predictions)
    assert counts.sum() == 200 and all(counts[label, guess] == ((labels == label) & (guesses == guess)).sum()
                                       for label in range(4) for guess in range(4))


def test_of_many_classes_the_log_has_those_that_are_told_apart_worst():
    right = np.arange(100)
    none = np.zeros(0, int)
    found = per_class.metrics(Predictions(right, none, none, none, none), list(map(str, right)))
    found[50] = found[50]._replace(f1=.25)
    lines = per_class.lines(found)
    assert len(lines) == 21 and lines[0] == 'the 20 of 100 classes with the lowest F1; metrics.json has all'
    assert lines[1].startswith('class 0: precision 0.0000') and 'class 50: precision 1.0000 recall 1.0000 f1 0.2500 ' \
        'images 50' in lines[2]


def test_the_files_have_the_metrics_and_a_line_for_each_mistake(tmp_path, tested):
    labels, guesses, predictions = tested
    report = Report(step=8, steps=9, epoch=1, steps_per_epoch=4, batch_size=1, metrics={}, epoch_metrics={},
                    learning_rate=0., skipped=0, seconds=1., run_seconds=1., seconds_per_step=1.,
                    evaluation={'loss': 1.5, 'accuracy': .75}, validation=Validation({'loss': 2.}, .5, 4))
    per_class.write(str(tmp_path), report, 'weights', 'accuracy', predictions, NAMES, 'photo {}.jpg'.format)
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert found['test'] == report.evaluation and found['best'] == {'step': 4, 'value': .5} and found['epoch'] == 2
    assert [one['name'] for one in found['classes']] == list(NAMES) and np.sum(found['confusion']) == 200
    with open(str(tmp_path / 'mistakes.csv')) as file:
        rows = list(csv.DictReader(file))
    wrong = np.flatnonzero(labels != guesses)
    assert [row['sample'] for row in rows] == ['photo %d.jpg' % row for row in wrong]
    assert [(NAMES.index(row['class']), NAMES.index(row['predicted'])) for row in rows] == list(
        zip(labels[wrong], guesses[wrong]))
    per_class.write(str(tmp_path), report, 'weights', 'accuracy', predictions, ['-1', '-x', '@x', 'none'], '+{}'.format)
    with open(str(tmp_path / 'mistakes.csv')) as file:
        row, *_ = csv.DictReader(file)
    assert row['sample'] == '+%d' % wrong[0] and {row['class'], row['predicted']} < {'-1', "'-x", "'@x"}
    assert float(rows[-1]['probability']) == 1 and sorted(path.name for path in tmp_path.iterdir()) == [
        'metrics.json', 'mistakes.csv']
