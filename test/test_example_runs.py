"""The example recipes under the switches of every network: stopped, resumed, averaged, rehearsed, on two ranks."""
import os
import re
import shlex
import shutil
import signal
import subprocess

import examples
import numpy as np
import pytest
import tensorflow as tf
import two_ranks
from examples import PATHS, SMALL
from launching import ROOT, launch

from core.run import Clock
from launchers import command, doctor, evaluate, plan, runs, train
from launchers.networks import registry

HEADLINES = dict(regression='mse', textcnn='accuracy', deepfm='auc', unet='miou', resnet50='accuracy')


def run(name, output, *flags, act=train.act, **options):
    return command.run(act, ['--network=' + PATHS[name], '--output_path=%s' % output, '--data_path=synthetic',
                             '--case=performance', *SMALL.get(name, []), *flags], {}, **options)


def variables(path):
    reader = tf.train.NewCheckpointReader(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_close(one, other, **tolerance):
    """Two checkpoints have the same variables but for rounding."""
    one, other = variables(one), variables(other)
    assert set(one) == set(other)
    for name in one:
        if not name.startswith('run_facts'):
            np.testing.assert_allclose(one[name], other[name], err_msg=name, **tolerance)


def case_log(plan, seconds='9'):
    """The case log that the launchers write of a run that has ended; plan: the lines of the command plan."""
    script = """
        set -euo pipefail
        source launchers/shell/figures.sh
        declare -A PLAN
        while IFS= read -r line; do PLAN["${line%%=*}"]=${line#*=}; done
        LOGS=("${PLAN[run_dir]}/train_0.log") RANK_SIZE=${PLAN[rank_size]}
        touch "${LOGS[0]}"
        report_figures "$1" >&2
        cat "${PLAN[run_dir]}/$(case_name).log"
    """
    done = subprocess.run(['bash', '-c', script, 'bash', seconds], input=plan, stdout=subprocess.PIPE, cwd=ROOT,
                          universal_newlines=True, check=True)
    return dict(line.split(' = ') for line in done.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(HEADLINES))
def test_an_example_goes_on_bit_for_bit_after_sigterm_is_averaged_and_reported_up_to_the_case_log(
        name, tmp_path, capfd, monkeypatch):
    examples.shrink(monkeypatch)
    flags = '--train_steps=5', '--batch_size=4', '--swa_start_epoch=1'
    assert run(name, tmp_path / 'whole', *flags) == 0
    own = Clock.after_run

    def stop_in_step_2(clock, *arguments):
        own(clock, *arguments)
        if clock.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(Clock, 'after_run', stop_in_step_2)
        assert run(name, tmp_path / 'stopped', *flags) == 143
    assert run(name, tmp_path / 'stopped', *flags, '--resume') == 0
    log = capfd.readouterr().out
    assert len(re.findall('weight averaging: %s ' % HEADLINES[name], log)) == 2 and 'resumed from checkpoint' in log
    for path in 'model.ckpt-5', 'swa/model.ckpt-5':
        one, other = (variables(tmp_path / output / '0' / 'ckpt' / path) for output in ('whole', 'stopped'))
        assert set(one) == set(other)
        for variable in one:
            np.testing.assert_array_equal(one[variable], other[variable], err_msg=variable)
    assert HEADLINES[name] in (tmp_path / 'whole' / '0' / 'report.html').read_text()
    assert runs.main(['--output_path=%s' % (tmp_path / 'whole')], {}) == 0
    assert re.search(r'%s\b.*\b%s' % (name, HEADLINES[name]), capfd.readouterr().out)
    assert run(name, tmp_path / 'whole', *flags, act=plan.act, planning=True) == 0
    case = case_log(capfd.readouterr().out)
    assert (case['Network'], case['BatchSize'], case['E2ETrainingTime']) == (name, '4', '9')
    value = re.findall(r'^test after .* %s (\S+)' % HEADLINES[name], log, re.M)[0]
    assert float(case['TrainAccuracy']) == pytest.approx(float(value), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(HEADLINES))
def test_an_example_is_rehearsed_dumped_and_profiled(name, tmp_path, capfd, monkeypatch):
    examples.shrink(monkeypatch)
    flags = ['--precision_mode=force_fp16', '--loss_scale=True']
    assert run(name, tmp_path, '--train_steps=2', '--batch_size=4', '--data_dump_flag', '--data_dump_step=1',
               '--profiling', '--profiling_steps=1', *flags) == 0
    assert 'Emulating precision_mode=force_fp16' in capfd.readouterr().out
    assert list((tmp_path / 'data_dump').rglob('*.npy')) and list((tmp_path / 'profiling').rglob('op_summary*.csv'))
    assert run(name, tmp_path, '--print_config', *flags) == 0
    assert 'force_fp16' in capfd.readouterr().out


@pytest.mark.slow
def test_two_ranks_of_an_example_are_one_rank_with_twice_the_batch_up_to_the_case_log(forking_workdir, capfd):
    flags = ['--train_steps=8', '--clip_norm=0.5', '--optimizer=lamb', '--buckets=50']
    (forking_workdir / 'of mine').mkdir()
    shutil.copy(PATHS['deepfm'], str(forking_workdir / 'of mine'))
    status, screen, error = launch(forking_workdir, '--network=of mine/deepfm.py', '--rank_size=2', '--batch_size=16',
                                   *flags, script='train_performance_8p.sh')
    assert status == 0, error
    output = forking_workdir / 'output'
    assert run('deepfm', forking_workdir / 'one', '--batch_size=32', *flags) == 0
    assert_close(*(where / '0' / 'ckpt' / 'model.ckpt-8' for where in (output, forking_workdir / 'one')),
                 rtol=1e-4, atol=1e-6)
    capfd.readouterr()
    line, = [line for line in screen.splitlines() if line.startswith('Next: ')]
    words = shlex.split(line)
    assert words[1:5] == ['python3', '-m', 'launchers', 'evaluate']
    assert evaluate.main([*words[5:], '--data_path=synthetic'], {}) == 0
    auc = re.search('test auc (.*)', capfd.readouterr().out).group(1)
    log = (output / '0' / 'train_0.log').read_text()
    assert 'auc ' + auc in [line for line in log.splitlines() if line.startswith('test after')][-1]
    case = (output / '0' / 'deepfm_bs16_2p_perf.log').read_text()
    assert 'Network = deepfm\n' in case and 'RankSize = 2\n' in case
    assert float(case.split('TrainAccuracy = ')[1].split()[0]) == pytest.approx(float(auc), abs=1e-4)


@pytest.mark.slow
def test_accumulated_and_averaged_steps_of_two_ranks_are_those_of_one_rank_with_twice_the_batch(tmp_path, capfd):
    flags = '--train_steps=6', '--accumulate_steps=2', '--ema_decay=0.9'
    (tmp_path / 'two').mkdir()
    two_ranks.train(tmp_path / 'two', '--network=' + PATHS['regression'], '--batch_size=4', *flags)
    assert run('regression', tmp_path / 'one', '--batch_size=8', *flags) == 0
    for path in 'model.ckpt-6', 'ema/model.ckpt-6':
        assert_close(*(tmp_path / where / '0' / 'ckpt' / path for where in ('two', 'one')), rtol=1e-4, atol=1e-6)
    weights, averages = (variables(tmp_path / 'two' / '0' / 'ckpt' / path) for path in (
        'model.ckpt-6', 'ema/model.ckpt-6'))
    assert abs(weights['regression/dense/kernel'] - averages['regression/dense/kernel']).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize('name', ['regression', 'textcnn', 'unet', 'resnet50'])
def test_the_metrics_of_two_ranks_are_those_of_one_process(name, tmp_path, capfd):
    """Which are those of NumPy: test_examples.py."""
    log = two_ranks.train(tmp_path, '--network=' + PATHS[name], '--train_steps=1', '--batch_size=4',
                          *SMALL.get(name, []))
    line = [line for line in log.splitlines() if line.startswith('test after')][-1]
    assert run(name, tmp_path, act=evaluate.act) == 0
    found = re.findall(r'^test (\w+) ([\d.]+)$', capfd.readouterr().out, re.M)
    assert HEADLINES[name] in dict(found)
    for metric, value in found:
        assert float(re.search(r' %s ([\d.]+)' % metric, line).group(1)) == pytest.approx(float(value), abs=2e-6)


@pytest.mark.slow
def test_the_doctor_plans_a_run_of_an_example(capfd):
    assert doctor.main(['--network=' + PATHS['deepfm'], '--buckets=50'], {}) in (0, 1)
    assert re.search(r'^ok +the run +%s, batch 64' % re.escape(PATHS['deepfm']), capfd.readouterr().out, re.M)


def test_each_example_has_built_in_data():
    assert all(registry.RECIPES[PATHS[name]].built_in_data for name in HEADLINES)
