"""Which reports a run makes, after which steps, and what they say; by hand-made steps, without a session."""
from types import SimpleNamespace

import pytest
import tensorflow as tf

from core.reporting.report import Reporter, Summaries, Window
from core.run import Clock, Listener, Report

STEP = SimpleNamespace(metrics='m', epoch_metrics='e', learning_rate='r', loss_scale=None, applied_steps='a')
REPORT = Report(step=7, steps=9, epoch=0, steps_per_epoch=9, batch_size=8, metrics={'loss': 2., 'accuracy': .5},
                epoch_metrics={}, learning_rate=.25, skipped=0, seconds=2., run_seconds=1.25, seconds_per_step=.5)


class Told(Listener):
    """Writes down what it gets as (what, step or epoch)."""

    def __init__(self):
        self.lines, self.reports = [], []

    def _report(what):
        def method(self, report):
            self.lines.append((what, report.step))
            self.reports.append(report)
        return method
    first_step, step, epoch, evaluation, end = map(_report, ('first', 'step', 'epoch', 'evaluation', 'end'))

    def epoch_start(self, epoch, epochs):
        self.lines.append(('start', epoch, epochs))

    def evaluation_start(self, epoch):
        self.lines.append(('evaluates', epoch))


def run(clock, display_step, started=0, ends=lambda: None, **config):
    """What a listener is told in the steps of the clock, of which the second had no finite gradients.

    ends() is called in every evaluation, which may end the run.
    """
    told = Told()
    settled = SimpleNamespace(**dict(dict(eval_steps=0, val_epoch=1, batch_size=8), **config))
    evaluations = iter(range(100))
    reporter = Reporter(clock, STEP, settled, display_step,
                        lambda session: (ends(), ({'accuracy': next(evaluations)}, None))[1], [told])
    clock.start(started)
    clock.after_create_session(None, None)
    while not clock.at_end:
        reporter.before_run(None)
        clock.before_run(None)
        clock.after_run(None, None)
        fetched = dict(metrics={'loss': clock.step}, epoch_metrics={}, learning_rate=.1)
        applied = clock.step - (clock.step > 1)
        reporter.after_run(SimpleNamespace(session=None), SimpleNamespace(results=(applied, fetched)))
    reporter.end(None)
    return told


def test_a_run_that_an_evaluation_ends_has_the_last_reports_of_its_last_step():
    clock = Clock(9, 3)
    told = run(clock, 2, ends=clock.finish)
    assert told.lines == [
        ('start', 0, 3), ('first', 1), ('step', 2), ('evaluates', 0), ('step', 3), ('epoch', 3), ('end', 3)]
    assert told.reports[-1].steps == 3
    clock = Clock(9, 3)
    told = run(clock, 9, ends=clock.finish, eval_steps=2)
    assert told.lines == [('start', 0, 3), ('first', 1), ('step', 2), ('epoch', 2), ('end', 2)]


def test_every_report_comes_after_its_step_and_the_last_ones_after_the_last_step():
    told = run(Clock(7, 3), 2)
    assert told.lines == [
        ('start', 0, 3), ('first', 1), ('step', 2), ('evaluates', 0), ('epoch', 3),
        ('start', 1, 3), ('first', 4), ('step', 4), ('step', 6), ('evaluates', 1), ('epoch', 6),
        ('start', 2, 3), ('first', 7), ('step', 7), ('evaluates', 2), ('epoch', 7), ('end', 7)]
    assert [report.skipped for report in told.reports[:3]] == [0, 1, 1]
    assert told.reports[2].evaluation == {'accuracy': 0} and told.reports[2].seconds >= told.reports[1].seconds


def test_a_resumed_run_starts_its_epoch_in_the_middle():
    assert run(Clock(6, 3), 2, started=4).lines == [
        ('start', 1, 2), ('first', 5), ('step', 6), ('evaluates', 1), ('epoch', 6), ('end', 6)]


@pytest.mark.parametrize('config, steps, expected', [
    (dict(val_epoch=2), 12, [6, 12]), (dict(val_epoch=3), 12, [9, 12]), (dict(val_epoch=100), 12, [12]),
    (dict(val_epoch=100, eval_steps=4), 12, [4, 8, 12]), (dict(val_epoch=1, eval_steps=5), 10, [3, 5, 6, 9, 10])])
def test_evaluations_are_due_by_epochs_by_steps_and_at_the_end(config, steps, expected):
    told = run(Clock(steps, 3), 100, **config)
    evaluated = {report.evaluation['accuracy']: report.step for report in told.reports if report.evaluation}
    assert list(evaluated.values()) == expected
    assert [line for line in told.lines if line[0] == 'evaluation'] == [
        ('evaluation', step) for step in expected if step % 3 and step != steps]


def test_the_loss_scale_is_fetched_where_there_is_one():
    clock = Clock(1, 1)
    clock.start(0)
    for scale in None, 'scale':
        reporter = Reporter(clock, SimpleNamespace(**dict(vars(STEP), loss_scale=scale)), None, 1, None, [])
        applied, fetches = reporter.before_run(None).fetches
        assert applied == 'a' and fetches.get('loss_scale') == scale


def test_a_window_has_the_steps_and_the_seconds_since_the_line_before():
    window = Window()
    assert window.advance(REPORT._replace(step=5, first_step=3, run_seconds=2.)) == (3, 2.)
    assert window.advance(REPORT._replace(step=9, first_step=3, run_seconds=2.5)) == (5, .5)


def test_tensorboard_has_each_value_once_at_its_step(tmp_path):
    summaries = Summaries(str(tmp_path))
    summaries.step(REPORT)
    summaries.step(REPORT._replace(step=8, loss_scale=64.))
    summaries.epoch(REPORT)                    # which no evaluation was due for
    summaries.epoch(REPORT._replace(step=9, evaluation={'loss': 3.}))
    summaries.end(REPORT)
    events, = tmp_path.iterdir()
    found = [(event.step, value.tag, value.simple_value) for event in tf.train.summary_iterator(str(events))
             for value in event.summary.value]
    usual = [('images_per_second', 16.), ('learning_rate', .25)]
    train = [('train/accuracy', .5), ('train/loss', 2.)]
    assert found == [(7, *pair) for pair in usual + train] + [
        (8, *pair) for pair in usual + [('loss_scale', 64.)] + train] + [(9, 'test/loss', 3.)]
