"""The vendors' launchers find in our logs what our launchers find; the extraction is docs/vendor-contract.md's."""
import os

import pytest
import simulated_run
from launching import HERE
from log_reading import bash
from vendor_extraction import extract, extractions

# The seconds of a step in the mean of 4 steps, of which each takes other seconds.
SECONDS = dict(cspnet=.0512, alexnet=.123, swa=3e-6 * 16384, sesemi=.053, cutmix=.0256)
VARYING = (.5, 1.5, .75, 1.25)
REPORT = '''
declare -A PLAN=([vendor_name]=$1 [batch_size]=$2 [run_dir]=$3 [case_name]=$4 [loss_prefix]= [npu]=False
    [device]=cpu [ckpt_dir]=$3 [directories]= [network]=$1)
RANK_SIZE=$5 LOGS=("$3/train.log")
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


def run(network, case, ranks, directory, monkeypatch):
    """-> (the log of rank 0, its Config, the case log as {key: text}, the losses, the seconds of each step)."""
    def seconds_of(step):
        return SECONDS[network] * VARYING[step % len(VARYING)]
    config, steps = simulated_run.run(network, case, directory, monkeypatch, seconds_of, ranks)
    bash(REPORT, network, str(config.batch_size), str(directory), config.case_name, str(ranks))
    case_log, = directory.glob('*p_*%s.log' % config.case_name)
    losses, = directory.glob('*_loss.txt')
    ours = dict(line.split(' = ') for line in case_log.read_text().splitlines())
    return (str(directory / 'train.log'), config, ours, losses.read_text().split(),
            [seconds_of(step + 1) for step in range(steps)])


def about(value, rel=1e-4):
    """Equal up to the digits of the vendor's lines, and to the last steps of VARYING that the timed steps have."""
    return pytest.approx(float(value), rel=rel)


@pytest.fixture(params=[('performance', 1), ('full', 1), ('performance', 8), ('full', 8)], ids=str)
def case_and_ranks(request):
    return request.param


@pytest.mark.parametrize('network', sorted(SECONDS))
def test_the_case_log_has_the_mean_of_the_timed_steps_of_all_ranks(network, case_and_ranks, tmp_path, monkeypatch):
    case, ranks = case_and_ranks
    _, config, ours, _, seconds = run(network, case, ranks, tmp_path, monkeypatch)
    timed = seconds[5:] or seconds[-1:]          # the first five warm up
    assert float(ours['TrainingTime']) == about(1000 * sum(timed) / len(timed))
    assert float(ours['ActualFPS']) == about(ranks * config.batch_size * len(timed) / sum(timed))


def test_cspnet(case_and_ranks, tmp_path, monkeypatch):
    case, ranks = case_and_ranks
    log, config, ours, losses, _ = run('cspnet', case, ranks, tmp_path, monkeypatch)
    found = extract('cspnet, every launcher', [log], config.batch_size, ranks)
    assert ranks * float(found['FPS']) == about(ours['ActualFPS'])
    assert 1000 * float(found['StepTime']) == about(ours['TrainingTime'])
    assert (found['accuracy'], found['ActualLoss']) == (ours['TrainAccuracy'], ours['ActualLoss'])
    assert found['losses'].split() == losses


def test_alexnet(case_and_ranks, tmp_path, monkeypatch):
    case, ranks = case_and_ranks
    log, config, ours, losses, seconds = run('alexnet', case, ranks, tmp_path, monkeypatch)
    full = extract('alexnet, full', [log], config.batch_size, ranks)
    assert (full['accuracy'], full['ActualLoss']) == (ours['TrainAccuracy'], ours['ActualLoss'])
    assert full['losses'].split() == losses
    # What docs/vendor-contract.md says of them: the vendor's full launcher has the last step alone, the performance
    # launcher the mean of the speeds in all lines.
    assert float(full['step_time']) == about(seconds[-1])
    if ranks == 1:
        performance = extract('alexnet, performance, one rank', [log], config.batch_size)
        assert float(performance['FPS']) == about(config.batch_size * sum(1 / each for each in seconds) / len(seconds))


def test_swa(case_and_ranks, tmp_path, monkeypatch):
    case, ranks = case_and_ranks
    log, config, ours, losses, _ = run('swa', case, ranks, tmp_path, monkeypatch)
    found = extract('swa', [log], config.batch_size, ranks)
    # The vendor's lines have whole microseconds for a sample, the figures have the exact time.
    assert int(found['TrainingTime']) == round(1e3 * float(ours['TrainingTime']) / config.batch_size)
    assert found['losses'].split() == losses and found['ActualLoss'] == ours['ActualLoss']


def test_sesemi(case_and_ranks, tmp_path, monkeypatch):
    case, ranks = case_and_ranks
    log, config, ours, losses, _ = run('sesemi', case, ranks, tmp_path, monkeypatch)
    steps = config.labels // config.batch_size // ranks
    found = extract('sesemi', [log], config.batch_size, ranks, '%d/%d' % (steps, steps))
    # The vendor's lines have whole milliseconds, the figures have the exact time.
    assert abs(float(found['TrainingTime'].replace('ms', '')) - float(ours['TrainingTime'])) <= .5
    assert found['losses'].split() == losses and found['ActualLoss'] == ours['ActualLoss']


@pytest.mark.parametrize('case, ranks', [('performance', 1), ('full', 8), ('static_eval', 1), ('dynamic_eval', 1)])
def test_cutmix(case, ranks, tmp_path, monkeypatch):
    log, config, ours, losses, _ = run('cutmix', case, ranks, tmp_path, monkeypatch)
    found = extract('cutmix', [log], config.batch_size)
    assert ranks * float(found['FPS']) == about(ours['ActualFPS'])
    assert float(found['TrainingTime']) == about(ours['TrainingTime'], 1e-3)
    assert (found['accuracy'], found['ActualLoss']) == (ours['TrainAccuracy'], ours['ActualLoss'])
    assert found['losses'].split() == losses
