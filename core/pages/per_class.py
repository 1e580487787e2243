"""What a test found of each class: precision, recall, F1 and number of images, as lines, files and a table.

metrics.json    the metrics of the newest test and of each class, and the confusion matrix
mistakes.csv    a line for each mistake: the file or row, its class, the class it was taken for, the probability of that
"""
import json
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from core.pages.text import both, csv_lines
from core.reporting.record import save
from core.run import Panel, Predictions, Report

METRICS, MISTAKES = 'metrics.json', 'mistakes.csv'    # in the results
MOST_LINES = 20                # of a log: of more classes it has the lowest F1


class ClassMetrics(NamedTuple):
    """The metrics of one class; 0 where there is nothing to divide by."""
    name: str
    images: int                    # of the class, in the test set
    precision: float               # the part that is of the class, of what is taken for it
    recall: float                  # the part that is taken for the class, of what is of it
    f1: float                      # their harmonic mean


def confusion(predictions: Predictions) -> np.ndarray:
    """int64 [classes, classes]: how many of each class (rows) are taken for each."""
    counts = np.diag(predictions.right)
    np.add.at(counts, (predictions.labels, predictions.classes), 1)
    return counts


def metrics(predictions: Predictions, names: Sequence[str]) -> List[ClassMetrics]:
    """The ClassMetrics of each class, by its number."""
    classes = len(predictions.right)
    labelled, guessed = (predictions.right + np.bincount(wrong, minlength=classes)
                         for wrong in (predictions.labels, predictions.classes))
    return [ClassMetrics(name, int(images), *map(float, (right / max(taken, 1), right / max(images, 1),
                                                         2 * right / max(taken + images, 1))))
            for name, right, taken, images in zip(names, predictions.right, guessed, labelled)]


def lines(found: Sequence[ClassMetrics]) -> List[str]:
    """Lines of a log."""
    shown = sorted(found, key=lambda one: one.f1)[:MOST_LINES] if len(found) > MOST_LINES else found
    head = ['the %d of %d classes with the lowest F1; %s has all' % (len(shown), len(found), METRICS)] * (
        len(found) > len(shown))
    return head + ['class %s: precision %.4f recall %.4f f1 %.4f images %d' % (
        one.name, one.precision, one.recall, one.f1, one.images) for one in shown]


def table(found: Sequence[ClassMetrics]) -> Panel:
    """The picture of the report."""
    rows = [[one.name, str(one.images)] + ['%.4f' % value for value in one[2:]] for one in found]
    return dict(kind='table', wide=False, title=both('Classes'),
                note=both('of the newest test'), rows=rows, head=[
                    both('class'), both('images'), both('precision'), both('recall'), both('F1')])


def write(run_dir: str, report: Report, tested: str, headline: str, predictions: Optional[Predictions],
          names: Sequence[str], sample_name: Callable[[int], str]) -> None:
    """Writes METRICS and, of a classifier, MISTAKES, each in one step.

    tested: what report.evaluation is of. sample_name(row of the test set) -> its file. Raises OSError.
    """
    content: Dict[str, Any] = dict(step=report.step, epoch=report.epoch + 1, tested=tested, headline=headline,
                                   test=report.evaluation)
    if report.validation:
        content.update(validation=report.validation.metrics,
                       best=dict(step=report.validation.step, value=report.validation.best))
    if predictions:
        content.update(classes=[one._asdict() for one in metrics(predictions, names)],
                       confusion=confusion(predictions).tolist())
        save(os.path.join(run_dir, MISTAKES), _mistakes(predictions, names, sample_name))
    save(os.path.join(run_dir, METRICS), json.dumps(content, indent=1, ensure_ascii=False))


def _mistakes(predictions, names, sample_name):
    return csv_lines([('sample', 'class', 'predicted', 'probability')] + [
        (sample_name(row), names[label], names[guess], '%.6f' % probability)
        for row, label, guess, probability in zip(*predictions[1:])])
