"""The example recipes under the switches of every network: stopped, resumed, averaged, rehearsed, on two ranks."""
import os
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
import two_ranks
from launching import ROOT, launch

from core.run import Clock
from launchers import command, doctor, evaluate, runs, train
from launchers.networks import registry

HEADLINES = dict(regression='mse', textcnn='accuracy', deepfm='auc', unet='miou')   # resnet50 takes too long


def path_of(name):
    return os.path.join(ROOT, 'docs', 'examples', name + '.py')


def run(name, output, *flags, act=train.act):
    return command.run(act, ['--network=' + path_of(name), '--output_path=%s' % output, '--data_path=synthetic',
                             '--case=performance', *flags], {})


def variables(path):
    reader = tf.train.NewCheckpointReader(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(HEADLINES))
def test_an_example_goes_on_bit_for_bit_after_sigterm_is_averaged_and_reported(name, tmp_path, capfd, monkeypatch):
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


@pytest.mark.slow
@pytest.mark.parametrize('name', ['deepfm', 'unet'])
def test_an_example_is_rehearsed_dumped_and_profiled(name, tmp_path, capfd):
    flags = ['--precision_mode=force_fp16', '--loss_scale=True']
    assert run(name, tmp_path, '--train_steps=3', '--batch_size=4', '--data_dump_flag', '--data_dump_step=1',
               '--profiling', '--profiling_steps=1', *flags) == 0
    assert 'Emulating precision_mode=force_fp16' in capfd.readouterr().out
    assert list((tmp_path / 'data_dump').rglob('*.npy')) and list((tmp_path / 'profiling').rglob('op_summary*.csv'))
    assert run(name, tmp_path, '--print_config', *flags) == 0
    assert 'force_fp16' in capfd.readouterr().out


@pytest.mark.slow
def test_two_ranks_of_an_example_are_one_rank_with_twice_the_batch_up_to_the_case_log(real_workdir, capfd):
    flags = ['--train_steps=8', '--clip_norm=0.5', '--optimizer=lamb', '--buckets=50']
    status, screen, error = launch(real_workdir, '--network=' + path_of('deepfm'), '--rank_size=2', '--batch_size=16',
                                   *flags, script='train_performance_8p.sh')
    assert status == 0, error
    output = real_workdir / 'output'
    assert run('deepfm', real_workdir / 'one', '--batch_size=32', *flags) == 0
    together, alone = (variables(where / '0' / 'ckpt' / 'model.ckpt-8') for where in (output, real_workdir / 'one'))
    for name in alone:
        if not name.startswith('run_facts'):
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, atol=1e-6, err_msg=name)
    capfd.readouterr()
    assert run('deepfm', output, '--buckets=50', act=evaluate.act) == 0
    auc = re.search('test auc (.*)', capfd.readouterr().out).group(1)
    log = (output / '0' / 'train_0.log').read_text()
    assert 'auc ' + auc in [line for line in log.splitlines() if line.startswith('test after')][-1]
    case = (output / '0' / 'deepfm_bs16_2p_perf.log').read_text()
    assert 'Network = deepfm\n' in case and 'RankSize = 2\n' in case
    assert float(case.split('TrainAccuracy = ')[1].split()[0]) == pytest.approx(float(auc), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['regression', 'textcnn', 'unet'])
def test_the_metrics_of_two_ranks_are_those_of_one_process(name, tmp_path, capfd):
    """Which are those of NumPy: test_examples.py."""
    log = two_ranks.train(tmp_path, '--network=' + path_of(name), '--train_steps=1', '--batch_size=4')
    line = [line for line in log.splitlines() if line.startswith('test after')][-1]
    assert run(name, tmp_path, act=evaluate.act) == 0
    found = re.findall(r'^test (\w+) ([\d.]+)$', capfd.readouterr().out, re.M)
    assert HEADLINES[name] in dict(found)
    for metric, value in found:
        assert float(re.search(r' %s ([\d.]+)' % metric, line).group(1)) == pytest.approx(float(value), abs=2e-6)


@pytest.mark.parametrize('name', [*HEADLINES, 'resnet50'])
def test_the_doctor_knows_an_example(name, capfd):
    assert doctor.main(['--network=' + path_of(name)], {}) in (0, 1)
    assert re.search(r'\b%s\b' % name, capfd.readouterr().out)
    assert registry.RECIPES[path_of(name)].built_in_data
