"""The clock by hand-made durations: each run of the session takes what a test says, and so does what lies between."""
import pytest

from core import run as run_lib
from core.run import WARMUP_RUNS, Clock, Report


class Watch:
    """Stands in for the module time: its hands move only when a test moves them."""

    def __init__(self):
        self.now = 1000.

    def time(self):
        return self.now

    monotonic = perf_counter = time


@pytest.fixture
def watch(monkeypatch):
    made = Watch()
    monkeypatch.setattr(run_lib, 'time', made)
    return made


def run(clock, watch, durations, between=0.):
    """One run of the session for each of the durations, and `between` after each."""
    for seconds in durations:
        clock.before_run(None)
        watch.now += seconds
        clock.after_run(None, None)
        watch.now += between


def started(watch, *arguments, step=0):
    clock = Clock(*arguments)
    clock.start(step)
    clock.after_create_session(None, None)
    return clock


def test_the_runs_that_compile_do_not_count_and_neither_does_what_lies_between_steps(watch):
    clock = started(watch, 100, 10)
    run(clock, watch, [60.] + [5.] * (WARMUP_RUNS - 1), between=7.)
    run(clock, watch, [1., 2., 6.], between=7.)
    assert clock.seconds_per_step == pytest.approx(3.) and clock.timed_steps == 3
    assert clock.run_seconds == pytest.approx(60 + 5 * (WARMUP_RUNS - 1) + 9)
    assert clock.seconds == pytest.approx(clock.run_seconds + 7 * (WARMUP_RUNS + 3))


def test_of_a_run_that_is_still_warming_up_the_last_step_counts_alone(watch):
    clock = started(watch, 100, 10)
    run(clock, watch, [60., 4.])
    assert clock.seconds_per_step == pytest.approx(4.) and clock.timed_steps == 1
    run(clock, watch, [3.] * (WARMUP_RUNS - 2) + [2.])     # and the first that is warm, once there is one
    assert clock.seconds_per_step == pytest.approx(2.) and clock.timed_steps == 1


def test_a_run_of_several_steps_is_shared_out_among_them(watch):
    clock = started(watch, 100, 20, 10)
    run(clock, watch, [50.] * WARMUP_RUNS + [20., 40.])
    assert clock.step == 10 * (WARMUP_RUNS + 2) and clock.timed_steps == 20
    assert clock.seconds_per_step == pytest.approx(60 / 20)


def test_a_resumed_process_times_its_own_steps(watch):
    clock = started(watch, 100, 10, step=42)
    run(clock, watch, [9.] * WARMUP_RUNS + [2.])
    assert clock.step == 43 + WARMUP_RUNS and clock.seconds_per_step == pytest.approx(2.)


@pytest.mark.parametrize('step, steps_per_run, epoch, passed, at_end', [
    (1, 1, 0, False, False), (9, 1, 0, False, False), (10, 1, 0, True, False), (11, 1, 1, False, False),
    (20, 1, 1, True, False), (25, 1, 2, False, True), (12, 4, 1, True, False), (16, 4, 1, False, False)])
def test_epochs_end_with_their_last_step(step, steps_per_run, epoch, passed, at_end):
    clock = Clock(25, 10, steps_per_run)
    clock.step = step
    assert (clock.epochs, clock.epoch, clock.passed(10), clock.at_end) == (3, epoch, passed, at_end)
    assert clock.at_epoch_end == (passed or at_end) and clock.at_epoch_start == (step % 10 == 0)


@pytest.mark.parametrize('step, in_epoch', [(1, 1), (9, 9), (10, 10), (11, 1), (25, 5)])
def test_a_report_has_the_finished_steps_of_its_epoch(step, in_epoch):
    report = Report(step=step, steps=25, epoch=0, steps_per_epoch=10, batch_size=8, metrics={}, epoch_metrics={},
                    learning_rate=.1, skipped=0, seconds=2., run_seconds=1.25, seconds_per_step=.02)
    assert (report.steps_in_epoch, report.images_per_second) == (in_epoch, 400.)
