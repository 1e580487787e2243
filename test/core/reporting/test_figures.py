"""What a finished run leaves as data, and its losses over a resumption."""
import pytest
from launching import launch

from core.pages import records
from core.reporting.report import KEYS, Figures
from core.run import Log, Report

REPORT = Report(step=1, steps=9, epoch=0, steps_per_epoch=9, batch_size=8, metrics={}, epoch_metrics={},
                learning_rate=.1, skipped=0, seconds=2., run_seconds=1.25, seconds_per_step=.02)


def figures_of(run_dir):
    lines = (run_dir / 'report' / 'figures').read_text().splitlines()
    return dict(line.split('=', 1) for line in lines)


def logged(run_dir, first_step, steps):
    """Figures of a run that logs a loss after each of the steps."""
    log = Log()
    figures = Figures(str(run_dir), log, 2)
    for step in steps:
        figures.first_step(REPORT._replace(step=step, first_step=first_step))
        log.loss(step, '%d.5' % step)
        figures.step(REPORT._replace(step=step))
    return log, figures


def test_the_figures_are_of_all_ranks_and_in_the_words_of_the_log(tmp_path):
    log, figures = logged(tmp_path, 0, [1, 2])
    log.accuracy, log.test_accuracy = '58.7', '61.2'
    figures.end(REPORT)
    assert figures_of(tmp_path) == dict(zip(KEYS, ('800', '0.02', '2.5', '58.7', '61.2', Log.accuracy_is, '2')))
    assert (tmp_path / 'report' / 'losses').read_text() == '1 1.5\n2 2.5\n'


def test_the_losses_of_a_resumed_run_are_those_of_the_whole_run_and_each_step_counts_once(tmp_path):
    logged(tmp_path, 0, [1, 2, 3, 4])
    with (tmp_path / 'report' / 'losses').open('a') as file:
        file.write('5 5.')                       # the kill came in the middle of a line
    _, figures = logged(tmp_path, 2, [3, 4, 5])
    figures.end(REPORT)
    assert (tmp_path / 'report' / 'losses').read_text() == ''.join('%d %d.5\n' % (n, n) for n in range(1, 6))
    assert figures_of(tmp_path)['loss'] == '5.5'


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [1, 2])
def test_the_case_log_the_report_and_the_table_of_runs_have_the_same_figures(ranks, forking_workdir):
    status, _, stderr = launch(forking_workdir, '--network=swa', '--train_epochs=2', '--rank_size=%d' % ranks,
                               script='train_performance_8p.sh')
    assert status == 0, stderr
    run_dir = forking_workdir / 'output' / '0'
    case_log, = run_dir.glob('SWA_*_perf.log')
    case = dict(line.split(' = ') for line in case_log.read_text().splitlines())
    run = records.read(str(run_dir))[-1]         # what report.html and the table of runs show
    assert case['ActualFPS'] == '%.8g' % run.images_per_second()
    assert case['TrainingTime'] == '%.8g' % (1000 * float('%.8g' % run.last('seconds_per_step')))
    assert case['ActualLoss'] == '%.4f' % run.last('epoch/loss')
    assert case['TrainAccuracy'] == '%.4f' % run.result
