"""test/train_*.sh from the plan to the Final block, with fake_python.py as the trainer."""
import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from launching import HERE, ROOT, fake, launch, tree

CSPNET = 'CSPNet_ID0840_for_TensorFlow_bs64_1p_perf'


def test_a_run_ends_in_the_final_block_the_case_log_and_the_losses(workdir):
    status, stdout, stderr = launch(workdir)
    run_dir = workdir / 'output' / '0'
    assert (status, stderr) == (0, '')
    lines = re.sub(r'(Duration sec :) \d+', r'\1 N', stdout).splitlines()
    assert lines == [
        'Network: cspnet',
        '### get your log here : %s/train_0.log' % run_dir,
        'Training on synthetic data: give --data_path=DIR to train on real data',
        '------------------ ERROR NOTICE START ------------------',
        "ERROR, your task haven't used Ascend NPU, please check your npu Migration.",
        '------------------ ERROR NOTICE END------------------',
        'Trained on cpu: a processor: without an NPU the notice above is no failure',
        '------------------ Final result ------------------',
        'Final Performance images/sec : 1250',
        'Final Performance sec/step : 0.0512',
        'E2E Training Duration sec : N',
        'Final Train Accuracy : 0.6605',
        'The accuracy is of the test set, from 0 to 1',
        'Report: %s/report.html' % run_dir,
        'Next: python3 -m launchers evaluate --network=cspnet --ckpt_path=%s/ckpt' % run_dir]
    case_log = (run_dir / (CSPNET + '.log')).read_text()
    assert re.sub(r'(E2ETrainingTime =) \d+', r'\1 N', case_log).splitlines() == [
        'Network = CSPNet_ID0840_for_TensorFlow', 'RankSize = 1', 'BatchSize = 64',
        'DeviceType = ' + os.uname().machine, 'CaseName = ' + CSPNET, 'ActualFPS = 1250',
        'TrainingTime = 51.2', 'TrainAccuracy = 0.6605', 'ActualLoss = 1.2345678',
        'E2ETrainingTime = N']
    assert (run_dir / (CSPNET + '_loss.txt')).read_text() == '2.3025851\n1.2345678\n'


def test_the_case_log_of_an_npu_ends_with_the_seconds_until_the_first_step_was_done(workdir, tmp_path):
    assert launch(workdir, '--device=npu', environment=dict(TMPDIR=str(tmp_path)))[0] == 0
    lines = (workdir / 'output' / '0' / (CSPNET + '.log')).read_text().splitlines()
    assert lines[-2].startswith('E2ETrainingTime = ') and lines[-1] == 'CompileTime = 41.5'


@pytest.mark.parametrize('script, flags, case_name', [
    ('train_full_1p.sh', ['--network=sesemi'], 'SESEMI_ID1270_for_TensorFlow_bs16_1p_acc'),
    ('train_performance_1p.sh', ['--network=alexnet'],
     'AlexNet_ID0259_for_TensorFlow_bs100_1p_perf'),
    ('train_performance_1p.sh', ['--network=swa'], 'SWA_ID0252_for_TensorFlow_bs16384_1p_perf'),
    ('train_performance_1p_static_eval.sh', [],
     'cutmix_ID2502_for_TensorFlow2.X_bs32_1p_static_eval_perf'),
    ('train_performance_1p_dynamic_eval.sh', [],
     'cutmix_ID2502_for_TensorFlow2.X_bs32_1p_dynamic_eval_perf'),
])
def test_the_vendors_case_names(workdir, script, flags, case_name):
    assert launch(workdir, *flags, script=script)[0] == 0
    assert (workdir / 'output' / '0' / (case_name + '.log')).is_file()


def test_an_npu_run_is_told_from_the_log(workdir):
    stdout = launch(workdir, **fake('npu'))[1]
    assert 'INFO, your task have used Ascend NPU' in stdout and 'ERROR' not in stdout


def test_flags_reach_the_trainer_untouched(workdir):
    data_path = '--data_path=/no such/;$(touch oops) `touch oops` "x" *'
    calls = workdir / 'calls'
    status, stdout, _ = launch(workdir, data_path, environment={'FAKE_CALLS': str(calls)})
    assert status == 0 and not (workdir / 'oops').exists()
    assert json.loads(calls.read_text()) == [
        '--case=performance', '--output_path=%s' % (workdir / 'output'), data_path]
    assert 'synthetic' not in stdout
    assert shlex.split(stdout.splitlines()[-1]) == [
        'Next:', 'python3', '-m', 'launchers', 'evaluate', '--network=cspnet', data_path,
        '--ckpt_path=%s' % (workdir / 'output' / '0' / 'ckpt')]


def test_odd_output_paths_and_links_to_the_script_work(workdir):
    link = workdir / 'a link'
    link.symlink_to(os.path.join(HERE, 'train_performance_1p.sh'))
    status, stdout, stderr = launch(workdir, '--output_path=out put;$(touch oops)', script=str(link))
    assert (status, stderr) == (0, '') and 'Final result' in stdout
    run_dir = workdir / 'out put;$(touch oops)' / '0'
    assert (run_dir / (CSPNET + '.log')).is_file() and not (workdir / 'oops').exists()


def test_a_bad_flag_is_the_trainers_to_refuse_and_nothing_is_touched(workdir):
    status, stdout, stderr = launch(workdir, '--batchsize=3')
    assert (status, stdout, stderr) == (2, '', 'unknown flag --batchsize\n')
    assert not (workdir / 'output').exists()


@pytest.mark.parametrize('device', ['', '16', '-1', 'x', '1 2', '00', '../0'])
def test_a_device_that_is_no_small_number_is_refused_before_anything(workdir, device):
    status, stdout, stderr = launch(workdir, device=device)
    assert (status, stdout) == (2, '') and not (workdir / 'output').exists()
    assert stderr == "ASCEND_DEVICE_ID='%s': must be a whole number from 0 to 15\n" % device


def test_an_unset_device_is_0_and_said(workdir):
    status, _, stderr = launch(workdir, device=None)
    assert (status, stderr) == (0, 'ASCEND_DEVICE_ID is not set: using 0\n')
    assert (workdir / 'output' / '0' / 'train_0.log').is_file()


def test_help_is_shown_and_nothing_runs(workdir):
    status, stdout, _ = launch(workdir, '-h')
    assert (status, stdout) == (0, 'usage: the flags and their defaults\n')
    assert not (workdir / 'output').exists()


def test_a_failed_run_shows_its_logs_end_and_has_no_case_log(workdir):
    status, stdout, stderr = launch(workdir, **fake('die'))
    log = workdir / 'output' / '0' / 'train_0.log'
    lines = stderr.splitlines()
    assert status == 128 + signal.SIGKILL and 'Final result' not in stdout
    assert lines[0] == 'line 81' and lines[-2] == 'the last words' and len(lines) == 21
    assert lines[-1] == ('training ended with status 137 (killed, as when memory runs out); the lines above end its '
                         'log, %s' % log)
    assert list(tree(workdir / 'output')) == ['0/train_0.log']


def test_bad_input_that_the_trainer_finds_is_one_line_on_the_screen(workdir):
    status, _, stderr = launch(workdir, **fake('refuse'))
    assert (status, stderr) == (2, '--data_path=x: holds no images; give the directory of the images\n')


def test_a_log_that_cannot_grow_is_named(workdir):
    script = workdir / 'python'
    script.write_text(script.read_text().replace('exec', 'ulimit -f 0; exec'))
    status, _, stderr = launch(workdir)
    assert status != 0 and 'it has left nothing in its log (is the disk full?), %s' % workdir in stderr


@pytest.mark.parametrize('status', [1, 2, 127, 143])
def test_the_trainers_status_is_the_launchers(workdir, status):
    assert launch(workdir, **fake('exit%d' % status))[0] == status


def test_a_run_that_leaves_no_figures_is_an_error(workdir):
    status, stdout, stderr = launch(workdir, **fake('no figures'))
    assert status == 1 and 'Final result' not in stdout
    assert stderr.endswith('/output/0/report/figures: the trainer has left no figures, so there is no case log\n')
    assert list(tree(workdir / 'output')) == ['0/train_0.log']


@pytest.mark.slow
def test_a_previous_run_is_moved_to_the_history(workdir):
    launch(workdir, '--data_path=first')
    first = tree(workdir / 'output' / '0')
    launch(workdir)
    (archive,) = (workdir / 'output' / 'history').iterdir()
    assert re.match(r'0-\d{8}-\d{6}$', archive.name) and tree(archive) == first
    assert set(tree(workdir / 'output' / '0')) == set(first)


def test_runs_of_the_same_second_do_not_share_an_archive(workdir):
    script = ('source "$0/launchers/shell/launch.sh"; new_archive "$1/0-20240101-000000"; '
              'new_archive "$1/0-20240101-000000"; new_archive "$1/0-20240101-000000"')
    names = subprocess.check_output(['bash', '-c', script, ROOT, str(workdir)]).decode().split()
    assert [os.path.basename(name) for name in names] == [
        '0-20240101-000000', '0-20240101-000000-2', '0-20240101-000000-3']


def test_a_resumed_run_keeps_its_checkpoints_summaries_and_log_in_place(workdir):
    run_dir = workdir / 'output' / '0'
    for name in ('ckpt/model.ckpt-10', 'summary/events', 'train_0.log', '.hidden'):
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_text('old')
    assert launch(workdir, '--resume=True')[0] == 0
    (archive,) = (workdir / 'output' / 'history').iterdir()
    assert set(tree(archive)) == {'.hidden'}
    assert tree(run_dir)['ckpt/model.ckpt-10'] == tree(run_dir)['summary/events'] == 'old'
    assert re.match(r'old\nresume at [0-9 :-]+: what follows is of the same run\nstarted', tree(run_dir)['train_0.log'])


def test_keep_history_deletes_this_devices_oldest_archives_and_nothing_else(workdir):
    history = workdir / 'output' / 'history'
    names = ['0-20240101-000000', '0-20240101-000000-2', '0-20240101-000000-10',
             '0-20240102-000000', '1-20230101-000000', '0-20230101', 'x0-20230101-000000', 'mine']
    for name in names:
        (history / name).mkdir(parents=True)
    (history / '0-20220101-000000').symlink_to(history / 'mine')
    assert launch(workdir, '--keep_history=2')[0] == 0
    gone = {'0-20240101-000000', '0-20240101-000000-2'}
    assert {path.name for path in history.iterdir()} == (set(names) | {'0-20220101-000000'}) - gone


def test_the_launchers_of_several_devices_delete_their_archives_in_one_directory_at_the_same_time(tmp_path):
    script = r'''set -euo pipefail
        source "$1/launchers/shell/history.sh"
        mkdir history
        trap 'touch stop; wait' EXIT
        until [[ -e stop ]]; do
            mkdir history/3-20240101-00000{0..9}
            rmdir history/3-20240101-00000{0..9}
        done &
        for round in {1..50}; do
            mkdir -p history/1-20240101-000000
            prune_history history 1 0
            [[ ! -e history/1-20240101-000000 ]]
        done'''
    done = subprocess.run(['bash', '-c', script, 'bash', ROOT], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    assert (done.returncode, done.stdout) == (0, '')


@pytest.mark.slow
def test_keep_history_deletes_nothing_when_the_run_fails(workdir):
    launch(workdir)
    assert launch(workdir, '--keep_history=0', **fake('die'))[0]
    assert len(list((workdir / 'output' / 'history').iterdir())) == 1


def test_without_keep_history_every_archive_stays(workdir):
    history = workdir / 'output' / 'history'
    for day in range(10, 30):
        (history / ('0-202401%d-000000' % day)).mkdir(parents=True)
    launch(workdir)
    assert len(list(history.iterdir())) == 20


def test_in_modelarts_the_output_is_on_the_screen_too_and_its_own_log_is_named(workdir):
    logs = workdir / 'modelarts log'
    logs.mkdir()
    (logs / 'job-proc-rank-0.txt').write_text('')
    environment = {'MODELARTS_MODEL_PATH': '/model', 'MODELARTS_LOG_DIR': str(logs)}
    status, stdout, _ = launch(workdir, environment=environment)
    log = (workdir / 'output' / '0' / 'train_0.log').read_text()
    assert status == 0 and log in stdout and 'Final Performance images/sec : 1250' in stdout
    assert '### get your log here : %s/job-proc-rank-0.txt\n' % logs in stdout


def test_in_modelarts_the_trainers_status_is_kept_and_our_log_named_without_theirs(workdir):
    environment = {'MODELARTS_MODEL_PATH': '/model', 'FAKE_TRAINER': 'die',
                   'MODELARTS_LOG_DIR': str(workdir / 'missing')}
    status, stdout, _ = launch(workdir, environment=environment)
    assert status == 137 and 'line 0\n' in stdout
    assert '### get your log here : %s/output/0/train_0.log\n' % workdir in stdout


@pytest.mark.slow
def test_checkpoints_among_the_results_themselves_are_refused(forking_workdir):
    status, _, stderr = launch(forking_workdir, '--modeldir=%s' % (forking_workdir / 'output' / '0'))
    assert status == 2 and stderr.startswith('--modeldir=') and 'use a directory in it' in stderr


@pytest.mark.slow
def test_packages_of_the_working_directory_are_not_ours(real_workdir):
    for package in ('core', 'data', 'launchers'):
        (real_workdir / package).mkdir()
        (real_workdir / package / '__init__.py').write_text('raise ImportError("not ours")')
    (real_workdir / 'signal.py').write_text('raise ImportError("not ours")')
    status, stdout, stderr = launch(real_workdir, '--print_config')
    assert (status, stderr) == (0, '') and 'NpuOptimizer' in stdout


@pytest.mark.slow
def test_the_real_trainer_refuses_a_bad_flag_in_one_line(forking_workdir):
    status, stdout, stderr = launch(forking_workdir, '--batchsize=3')
    assert (status, stdout) == (2, '') and not (forking_workdir / 'output').exists()
    assert 'batchsize' in stderr and stderr.count('\n') == 1


@pytest.mark.slow
def test_the_real_trainer_answers_help_with_its_flags(forking_workdir):
    status, stdout, _ = launch(forking_workdir, '-h')
    assert status == 0 and '--batch_size' in stdout and not (forking_workdir / 'output').exists()


@pytest.mark.slow
def test_the_process_that_has_planned_a_run_of_one_rank_trains_and_a_resumed_one_of_nothing_left_does_not(real_workdir):
    python = real_workdir / 'python'
    python.write_text(python.read_text().replace('exec', 'echo "$2" >>"%s"\nexec' % (real_workdir / 'started')))

    def started():
        return re.findall('(?m)^(plan|train)$', (real_workdir / 'started').read_text())
    status, stdout, _ = launch(real_workdir, '--network=swa', '--train_epochs=2', '--stall_seconds=0', '--device=cpu',
                               environment={'TF_CPP_MIN_LOG_LEVEL': '0'})
    assert status == 0 and 'Final Train Accuracy' in stdout and started() == ['plan']
    log = (real_workdir / 'output' / '0' / 'train_0.log').read_text()
    assert 'cpu_feature_guard' in log and 'Train on 131072 samples' in log
    status, stdout, stderr = launch(real_workdir, '--network=swa', '--train_epochs=2', '--resume=True', '--device=cpu')
    assert (status, stderr) == (0, '') and started() == ['plan'] * 2


def test_a_planner_ends_with_its_launcher_and_leaves_nothing(tmp_path):
    asked = ['--case=performance', '--network=swa', '--device=cpu', '--output_path=%s' % (tmp_path / 'output')]
    planner = subprocess.Popen([sys.executable, ROOT, 'plan', *asked], env=dict(os.environ, LAUNCHER='x'),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               universal_newlines=True)
    while planner.stdout.readline() != 'waits=True\n':
        assert planner.poll() is None
    assert planner.communicate() == ('', '') and planner.returncode == 0 and not (tmp_path / 'output').exists()
