"""launchers/boot_modelarts.py: data in, a launcher with fake_python.py as the trainer, results out."""
import json
import os
import signal

import pytest
import cifar_pickles
from launching import until
from modelarts_job import CASE_LOG, CONTENTS, SECRETS, boot, contents, ended, has_line


@pytest.mark.slow
def test_a_job_on_s3_gets_its_data_and_leaves_its_results_there(workdir, server):
    server.copy(workdir / 'data', 's3://bucket/a set')
    status, stdout, stderr = ended(boot(workdir, '--data_url=obs://bucket/a set/', '--train_url=s3://bucket/job 1/',
                                        **server.environment))
    assert (status, stderr) == (0, '') and 'Final Performance images/sec : 1250' in stdout
    assert contents(workdir / 'cache' / 'dataset') == CONTENTS
    server.copy('s3://bucket/job 1', workdir / 'there')
    there = contents(workdir / 'there')
    assert {'0/train_0.log', '0/' + CASE_LOG} <= set(there)
    assert there == {name: text for name, text in contents(workdir / 'cache' / 'result').items() if '.lock' not in name}
    for text in (stdout, stderr, str(there)):
        assert server.facts['key'] not in text and server.facts['secret'] not in text


@pytest.mark.slow
def test_the_real_trainer_trains_on_what_was_copied_in(workdir, forking_workdir):
    cifar_pickles.write(workdir / 'cifar')
    job = boot(workdir, '--data_url=%s' % (workdir / 'cifar'), '--network=cutmix', '--batch_size=2', '--train_steps=2',
               PYTHON=str(forking_workdir / 'python'))
    status, stdout, stderr = ended(job)
    assert (status, stderr) == (0, '') and 'Final Performance' in stdout
    results = workdir / 'out' / '0'
    assert (results / 'train_0.log').exists() and (results / 'ckpt' / 'model.ckpt-2.index').exists()


@pytest.mark.slow
def test_a_cache_that_cannot_be_made_is_refused_by_name(workdir):
    (workdir / 'cache').write_text('a file')
    status, _, stderr = ended(boot(workdir))
    assert status == 2 and stderr.startswith('--cache_dir=%s: ' % (workdir / 'cache'))


@pytest.mark.slow
def test_a_wrong_key_is_said_in_one_line_and_nothing_runs(workdir, server):
    environment = dict(server.environment, AWS_SECRET_ACCESS_KEY='wrong-and-secret')
    status, stdout, stderr = ended(boot(workdir, '--data_url=s3://bucket/set', '--train_url=s3://bucket/job 2',
                                        **environment))
    assert (status, stdout, stderr.count('\n')) == (2, '', 1)
    assert stderr.startswith('s3://bucket/job 2: SignatureDoesNotMatch') and 'wrong-and' not in stderr
    assert not (workdir / 'cache' / 'result').exists()


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while_is_waited_for(workdir, server):
    server.tell('stop')
    job = boot(workdir, '--train_url=s3://bucket/job 3', '--copy_retries=12', **server.environment)
    until(has_line(job.stdout, 'cannot be reached.*trying again'))
    server.tell('start')
    status, stdout, _ = ended(job)
    assert (status, 'Final Performance' in stdout) == (0, True)
    server.copy('s3://bucket/job 3/0', workdir / 'there')
    assert CASE_LOG in contents(workdir / 'there')


@pytest.mark.slow
def test_when_the_server_is_gone_for_good_the_results_are_kept_here(workdir, server):
    job = boot(workdir, '--train_url=s3://bucket/job 4', FAKE_TRAINER='stop', **server.environment)
    log = workdir / 'cache' / 'result' / '0' / 'train_0.log'
    until(has_line(log, 'ready'))
    server.tell('stop')
    job.send_signal(signal.SIGTERM)
    status, stdout, stderr = ended(job)
    server.tell('start')
    assert status == 143 and 'checkpoint saved after signal 15' in log.read_text()
    last = stderr.splitlines()[-1]
    assert 'S3_ENDPOINT=%s cannot be reached' % server.environment['S3_ENDPOINT'] in last
    assert 'the results are kept in %s' % (workdir / 'cache' / 'result') in last


@pytest.mark.slow
def test_results_go_out_while_the_job_runs_and_after_sigterm(workdir):
    job = boot(workdir, '--copy_interval=0.1', FAKE_TRAINER='stop')
    there = workdir / 'out' / '0' / 'train_0.log'
    until(has_line(there, 'ready'))
    job.send_signal(signal.SIGTERM)
    status, _, _ = ended(job)
    assert status == 143 and 'checkpoint saved after signal 15' in there.read_text()


@pytest.mark.slow
def test_a_failing_job_keeps_its_status_and_its_log_goes_out(workdir):
    status, _, stderr = ended(boot(workdir, FAKE_TRAINER='die'))
    assert status == 137 and 'the last words' in stderr
    assert 'the last words' in (workdir / 'out' / '0' / 'train_0.log').read_text()


@pytest.mark.slow
def test_no_secret_reaches_a_log_or_the_trainer(workdir):
    status, stdout, stderr = ended(boot(workdir, '--train_url=%s' % (workdir / SECRETS['SOME_TOKEN']),
                                        MODELARTS_MODEL_PATH='/model', MODELARTS_LOG_DIR=str(workdir), **SECRETS))
    log = (workdir / 'cache' / 'result' / '0' / 'train_0.log').read_text()
    assert status == 0 and 'ASCEND_DEVICE_ID=0' in log and 'ASCEND_DEVICE_ID=0' in stdout
    assert 'results are in %s' % (workdir / '***') in stdout
    for secret in SECRETS.values():
        assert secret not in stdout + stderr + log


@pytest.mark.slow
def test_an_interrupted_job_is_brought_back_and_resumed(workdir):
    for name in ('ckpt/model.ckpt-10.index', 'ckpt/model.ckpt-10.data-00000-of-00001', 'train_0.log'):
        (workdir / 'out' / '0' / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / 'out' / '0' / name).write_text('of the first job')
    status, stdout, stderr = ended(boot(workdir))
    assert (status, stdout, stderr.count('\n')) == (2, '', 1)
    assert 'ckpt: holds the checkpoints of an earlier job; add --resume' in stderr
    status, _, _ = ended(boot(workdir, '--resume=True'))
    assert status == 0
    kept = workdir / 'cache' / 'result' / '0' / 'ckpt' / 'model.ckpt-10.index'
    assert kept.read_text() == 'of the first job'
    # A resumed run goes on in its log.
    assert (workdir / 'out' / '0' / 'train_0.log').read_text().startswith('of the first job\nresume at ')


@pytest.mark.slow
def test_a_job_that_gets_another_device_goes_on_with_the_newest_checkpoints(workdir):
    for device, step in ((0, 10), (5, 20)):
        for name in ('ckpt/model.ckpt-%d.index' % step, 'ckpt/swa/model.ckpt-%d.index' % step, 'summary/events'):
            (workdir / 'out' / str(device) / name).parent.mkdir(parents=True, exist_ok=True)
            (workdir / 'out' / str(device) / name).write_text('of device %d' % device)
    status, stdout, _ = ended(boot(workdir, '--resume', ASCEND_DEVICE_ID='3'))
    assert status == 0 and 'the checkpoints of device 5 go to device 3' in stdout
    there = contents(workdir / 'out' / '3')
    for name in ('ckpt/model.ckpt-20.index', 'ckpt/swa/model.ckpt-20.index', 'summary/events'):
        assert there[name] == 'of device 5'
    assert contents(workdir / 'out' / '0')['ckpt/model.ckpt-10.index'] == 'of device 0'


def test_every_case_and_size_has_its_launcher():
    from launchers.modelarts import arguments, job as modelarts
    for flags, environ, script in (
            (['--case=performance'], {}, 'train_performance_1p.sh'),
            ([], {'RANK_SIZE': '1'}, 'train_full_1p.sh'),
            (['--case', 'dynamic_eval'], {}, 'train_performance_1p_dynamic_eval.sh'),
            (['--rank_size=2'], {}, 'train_full_8p.sh'),
            ([], {'RANK_SIZE': '4'}, 'train_full_8p.sh'),
            ([], {'RANK_SIZE': '8', 'RANK_TABLE_FILE': '/table'}, 'train_full_8p.sh')):
        command = modelarts._command(arguments.parse(['--train_url=x'] + flags), environ)
        assert os.path.basename(command[1]) == script
        assert ('--rank_table=/table' in command) == ('RANK_TABLE_FILE' in environ)
        assert ('--rank_size=4' in command) == (environ == {'RANK_SIZE': '4'})
        assert not any('--case' in word for word in command)


def test_servers_without_rank_0_leave_their_results_in_places_of_their_own():
    from launchers.modelarts import arguments, job as modelarts
    job = arguments.parse(['--train_url=s3://b/out/'])
    assert modelarts._on_this_server(job, [0, 1]) == job
    assert modelarts._on_this_server(job, [8, 9]).folders == {'/cache/result': 's3://b/out/from-rank-8'}


@pytest.mark.parametrize('flags, words', [
    (['--data_url=x'], '--train_url: needed'),
    (['--train_url=x', '--output_path=y'], '--output_path: is CACHE_DIR/result here'),
    (['--train_url=x', '--data_url=y', '--dataset=z'], '--data_path: is CACHE_DIR/dataset here'),
    (['--train_url=x', '--batchsize=3'], '--batchsize: unknown flag; is it --batch_size?'),
    (['--train_url=x', 'train'], "'train': not a flag"),
    (['--train_url=x', '--copy_interval=0'], '--copy_interval'),
    (['--train_url=x', '--case=static_eval', '--rank_size=2'], '--case=static_eval: is for one rank'),
    (['--train_url=c/result/x', '--cache_dir=c'], '--train_url=c/result/x: inside --cache_dir=c'),
    (['--train_url=file:///c/result/x', '--cache_dir=/c'], '--train_url=file:///c/result/x: inside --cache_dir=/c'),
])
def test_bad_flags_are_refused_by_name(capfd, flags, words):
    from launchers.modelarts import job as modelarts
    assert modelarts.run(flags, {}) == 2
    error = capfd.readouterr().err
    assert error.startswith(words) and error.count('\n') == 1


def test_help_names_every_flag_of_its_own(capfd):
    from launchers.modelarts import arguments, job as modelarts
    assert modelarts.run(['-h'], {}) == 0
    usage = capfd.readouterr().out
    assert all('--' + field.name in usage for field in arguments.OWN_SWITCHES)


MOXING = '''
import json, os, shutil
class file:
    @staticmethod
    def _note(*call):
        with open(os.environ["MOXING_CALLS"], "a") as calls:
            calls.write(json.dumps(call) + "\\\\n")
    @staticmethod
    def exists(url):
        file._note("exists", url)
        return False
    @staticmethod
    def make_dirs(url):
        file._note("make_dirs", url)
    @staticmethod
    def copy_parallel(src_url, dst_url):
        file._note("copy_parallel", src_url, dst_url)
        if dst_url == "obs://bucket/away":
            raise RuntimeError("no answer")
        if src_url.startswith("obs://"):
            os.makedirs(dst_url, exist_ok=True)
'''.replace('\\\\n', '\\n')


@pytest.mark.slow
@pytest.mark.parametrize('train_url, expected', [('obs://bucket/out', 0), ('obs://bucket/away', 1)])
def test_moxing_is_used_where_it_is_installed(workdir, train_url, expected):
    (workdir / 'moxing.py').write_text(MOXING)
    status, _, stderr = ended(boot(workdir, '--data_url=obs://bucket/set', '--train_url=' + train_url,
                                   PYTHONPATH=str(workdir), MOXING_CALLS=str(workdir / 'calls')))
    calls = [json.loads(line) for line in (workdir / 'calls').read_text().splitlines()]
    assert status == expected
    assert ['make_dirs', train_url] in calls
    assert ['copy_parallel', 'obs://bucket/set', str(workdir / 'cache' / 'dataset')] in calls
    sent = [call for call in calls if call[0] == 'copy_parallel' and call[2] == train_url]
    assert len(sent) == (1 if expected == 0 else 4)
    assert expected == 0 or 'no answer; the results are kept in' in stderr.splitlines()[-1]
