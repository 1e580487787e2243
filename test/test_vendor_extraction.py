"""The vendors' launchers find in our logs what our launchers find; the extraction is docs/vendor-contract.md's."""
import os

import pytest
import simulated_run
from launching import HERE
from log_reading import bash
from vendor_extraction import extract, extractions

# The seconds of a step of rank 0.
SECONDS = dict(cspnet=.0512, alexnet=.123, swa=3e-6 * 16384, sesemi=.053, cutmix=.0256)
REPORT = '''
declare -A PLAN=([network]=$1 [vendor_name]=$1 [batch_size]=$2 [run_dir]=$3 [case_name]=$4)
RANK_SIZE=$5 LOGS=("${@:6}")
report_figures 60 >/dev/null
'''
VENDORS = os.path.join(HERE, 'golden', 'vendor')


@pytest.mark.parametrize('heading, network, batch_size, figures', [
    ('cspnet, every launcher', 'cspnet', 64, dict(
        FPS='17.537586959355902', StepTime='3.6493047845363615', accuracy='0.9547', ActualLoss='0.6304564')),
    ('alexnet, performance, one rank', 'alexnet', 100, dict(FPS='27.4415', TrainingTime='3644.12')),
    ('swa', 'swa', 16384, dict(TrainingTime='1', ActualLoss='0.3997')),
    ('sesemi', 'sesemi', 16, dict(TrainingTime='6s', ActualLoss='4.5556')),
    ('cutmix', 'cutmix', 32, dict(FPS='185.08', TrainingTime='172.90', accuracy='1.0000', ActualLoss='0.7654')),
])
def test_the_extraction_finds_in_the_vendors_logs_what_their_launchers_found(heading, network, batch_size, figures):
    found = extract(heading, [os.path.join(VENDORS, network + '.log')], batch_size)
    assert {name: found[name] for name in figures} == figures


def test_every_system_has_its_extraction():
    assert {heading.split(',')[0] for heading in extractions()} == {'cspnet', 'alexnet', 'swa', 'sesemi', 'cutmix'}


def logs_of(network, case, ranks, directory, monkeypatch):
    """-> (the logs of all ranks, each a little slower than the one before; the Config)."""
    logs = [str(directory / ('train_%d.log' % rank)) for rank in range(ranks)]
    for rank, log in enumerate(logs):
        config = simulated_run.run(network, case, log, monkeypatch, SECONDS[network] * (1 + rank / 8), ranks)
    return logs, config


def launchers_figures(network, logs, config, ranks, directory):
    """-> (the case log as {key: text}, the losses) that our launcher makes of the logs."""
    bash(REPORT, network, str(config.batch_size), str(directory), config.case_name, str(ranks), *logs)
    case_log, = directory.glob('*p_*%s.log' % config.case_name)
    losses, = directory.glob('*_loss.txt')
    return dict(line.split(' = ') for line in case_log.read_text().splitlines()), losses.read_text().split()


def same(value):
    """Equal up to what our launcher rounds."""
    return pytest.approx(float(value), rel=1e-6)


EIGHT = [pytest.param(case, 8, marks=pytest.mark.slow) for case in ('performance', 'full')]
RUNS = [('performance', 1), ('full', 1)] + EIGHT


@pytest.mark.parametrize('case, ranks', RUNS)
def test_cspnet(case, ranks, tmp_path, monkeypatch):
    logs, config = logs_of('cspnet', case, ranks, tmp_path, monkeypatch)
    ours, losses = launchers_figures('cspnet', logs, config, ranks, tmp_path)
    each = [extract('cspnet, every launcher', [log], config.batch_size, ranks) for log in logs]
    assert same(sum(float(rank['FPS']) for rank in each)) == float(ours['ActualFPS'])
    assert same(1000 * sum(float(rank['StepTime']) for rank in each) / ranks) == float(ours['TrainingTime'])
    assert (each[0]['accuracy'], each[0]['ActualLoss']) == (ours['TrainAccuracy'], ours['ActualLoss'])
    assert each[0]['losses'].split() == losses


@pytest.mark.parametrize('case, ranks', RUNS)
def test_alexnet(case, ranks, tmp_path, monkeypatch):
    logs, config = logs_of('alexnet', case, ranks, tmp_path, monkeypatch)
    ours, losses = launchers_figures('alexnet', logs, config, ranks, tmp_path)
    full = extract('alexnet, full', logs, config.batch_size, ranks)
    assert (full['accuracy'], full['ActualLoss']) == (ours['TrainAccuracy'], ours['ActualLoss'])
    assert full['losses'].split() == losses
    if ranks == 1:
        heading = 'alexnet, full' if case == 'full' else 'alexnet, performance, one rank'
        assert same(full['step_time']) == float(ours['TrainingTime']) / 1000
    else:
        heading = 'alexnet, performance, eight ranks'
    fps = extract(heading, logs, config.batch_size, ranks)['FPS']
    assert float(fps) == pytest.approx(float(ours['ActualFPS']), rel=1e-4)


@pytest.mark.parametrize('case, ranks', RUNS)
def test_swa(case, ranks, tmp_path, monkeypatch):
    logs, config = logs_of('swa', case, ranks, tmp_path, monkeypatch)
    ours, losses = launchers_figures('swa', logs, config, ranks, tmp_path)
    each = [extract('swa', [log], config.batch_size, ranks) for log in logs]
    # The vendor's lines have whole microseconds for a sample, ours beside them have the exact time.
    assert [int(rank['TrainingTime']) for rank in each] == [round(3 * (1 + rank / 8)) for rank in range(ranks)]
    exact = [3e-6 * (1 + rank / 8) for rank in range(ranks)]
    assert float(ours['ActualFPS']) == pytest.approx(sum(1 / seconds for seconds in exact), rel=1e-3)
    assert each[0]['losses'].split() == losses and each[0]['ActualLoss'] == ours['ActualLoss']


@pytest.mark.parametrize('case, ranks', RUNS)
def test_sesemi(case, ranks, tmp_path, monkeypatch):
    logs, config = logs_of('sesemi', case, ranks, tmp_path, monkeypatch)
    ours, losses = launchers_figures('sesemi', logs, config, ranks, tmp_path)
    steps = config.labels // config.batch_size // ranks
    each = [extract('sesemi', [log], config.batch_size, ranks, '%d/%d' % (steps, steps)) for log in logs]
    milliseconds = [float(rank['TrainingTime'].replace('ms', '')) for rank in each]
    # The vendor's lines have whole milliseconds, a line of ours has the exact time.
    assert abs(sum(milliseconds) / ranks - float(ours['TrainingTime'])) <= .5
    assert float(ours['ActualFPS']) == pytest.approx(
        sum(config.batch_size / SECONDS['sesemi'] / (1 + rank / 8) for rank in range(ranks)), rel=.01)
    assert each[0]['losses'].split() == losses and each[0]['ActualLoss'] == ours['ActualLoss']


@pytest.mark.parametrize('case, ranks', RUNS + [('static_eval', 1), ('dynamic_eval', 1)])
def test_cutmix(case, ranks, tmp_path, monkeypatch):
    logs, config = logs_of('cutmix', case, ranks, tmp_path, monkeypatch)
    ours, losses = launchers_figures('cutmix', logs, config, ranks, tmp_path)
    each = [extract('cutmix', [log], config.batch_size) for log in logs]
    assert same(sum(float(rank['FPS']) for rank in each)) == float(ours['ActualFPS'])
    assert float(ours['TrainingTime']) == pytest.approx(
        sum(float(rank['TrainingTime']) for rank in each) / ranks, rel=1e-3)
    assert (each[0]['accuracy'], each[0]['ActualLoss']) == (ours['TrainAccuracy'], ours['ActualLoss'])
    assert each[0]['losses'].split() == losses
