"""The command plan: what the launcher reads of a run before it touches anything."""
import os
import re
import subprocess

import pytest
from launching import ROOT

from core import errors
from core.settings import flags
from launchers import plan


@pytest.mark.slow
def test_the_plan_names_the_run_and_its_ranks_from_any_directory_and_makes_nothing(
        tmp_path, forking_python):
    environment = dict(os.environ, RANK_SIZE='8', RANK_ID='0', TF_CPP_MIN_LOG_LEVEL='3')
    planner = subprocess.run(
        [*forking_python, ROOT, 'plan', '--case=performance', '--rank_size=4', '--keep_history=3',
         '--output_path=results'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, cwd=str(tmp_path), env=environment)
    assert (planner.returncode, planner.stderr) == (0, '') and os.listdir(str(tmp_path)) == []
    found = dict(line.split('=', 1) for line in planner.stdout.splitlines())
    assert tuple(sorted(found)) == tuple(sorted(plan.KEYS))
    assert (found['network'], found['case_name'], found['synthetic'], found['kept']) == ('cspnet', 'perf', 'True', '')
    assert found['run_dir'] == str(tmp_path / 'results' / '0') and found['keep_history'] == '3'
    assert int(found['batch_size']) > 0
    assert (found['rank_size'], found['ranks'], found['devices']) == ('4', '0 1 2 3', '0 1 2 3')
    assert len(found['cores'].split()) == 4 and found['rank_addresses'] == found['open_ports'] == ''


def test_the_printed_config_is_that_of_a_rank_among_all(capsys):
    asked = ['--case=performance', '--print_config', '--device=cpu']
    assert plan.main(asked + ['--rank_size=2'], {}) == 0
    assert 'hcom_parallel' in capsys.readouterr().out
    assert plan.main(asked, {}) == 0
    assert 'hcom_parallel' not in capsys.readouterr().out
    assert plan.main(asked + ['--npu_option=raw:oo_level=s:O3', '--data_dump_step=5'], {}) == 0
    said = capsys.readouterr()
    assert 'oo_level' in said.out and said.err.splitlines() == [
        '--data_dump_step=5 has no effect without --data_dump_flag=True',
        '--npu_option=raw:oo_level=O3: passed on as it is; nothing here checks it']


@pytest.mark.parametrize('flags, environ, case_name', [
    (['--enable_hf32=True', '--case=performance'], {}, 'hf32_perf'),
    (['--enable_hf32=True', '--case=full'], {}, 'hf32_acc'),
    (['--enable_hf32=False', '--case=performance'], {}, 'perf'),
    (['--case=performance'], {'ENABLE_HF32_EXECUTION': '1'}, 'perf')])     # off an NPU nothing computes in HF32
def test_the_case_name_has_hf32_where_the_user_asked_for_it(flags, environ, case_name, capsys, monkeypatch, tmp_path):
    for item in environ.items():
        monkeypatch.setenv(*item)
    assert plan.main(flags + ['--device=cpu', '--data_path=synthetic', '--output_path=%s' % tmp_path], environ) == 0
    assert 'case_name=%s' % case_name in capsys.readouterr().out.splitlines()


def sources(*folders, ending):
    paths = [os.path.join(directory, name) for folder in folders
             for directory, _, names in os.walk(os.path.join(ROOT, folder)) for name in names if name.endswith(ending)]
    texts = []
    for path in paths:
        with open(path, encoding='utf-8') as file:
            texts.append(file.read())
    return '\n'.join(texts)


def test_bash_reads_every_key_of_the_plan_and_no_other():
    assert set(re.findall(r'PLAN\[(\w+)\]', sources('launchers/shell', ending='.sh'))) == set(plan.KEYS)


def test_the_doctor_and_the_modelarts_job_read_keys_of_the_plan():
    for path, name in ('doctor.py', 'answer'), ('modelarts/job.py', 'plan'):
        with open(os.path.join(ROOT, 'launchers', path)) as file:
            read = set(re.findall(r"\b%s(?:\[|\.get\()'(\w+)'" % name, file.read()))
        assert read and read <= set(plan.KEYS)


def test_bash_sets_and_python_reads_every_variable_between_launcher_and_trainer():
    bash, python = sources('launchers/shell', ending='.sh'), sources('core', ending='.py')
    for name in plan.VARIABLES:
        assert re.search(r'(?m)(^|\s)%s=' % name, bash), name
        assert re.search(r"'%s'" % name, python), name
    of_others = ('PYTHONUNBUFFERED', 'PYTHONIOENCODING', 'TF_CPP_MIN_LOG_LEVEL')
    with open(os.path.join(ROOT, 'launchers', 'shell', 'ranks.sh')) as one, open(
            os.path.join(ROOT, 'launchers', 'shell', 'launch.sh')) as other:
        exported = {name for line in re.findall('export (.*)', one.read() + other.read())
                    for name in re.findall(r'(?:^|\s)([A-Z_]+)=', line)}
    assert exported - set(of_others) <= set(plan.VARIABLES)


@pytest.mark.parametrize('name, error', [
    ('BAD_INPUT', errors.InputError), ('NOTHING_LEFT', errors.NothingLeft), ('BAD_LOSS', errors.LossIsNotFinite)])
def test_bash_knows_a_trainers_end_by_the_status_that_the_error_has(name, error):
    assert re.findall(r'(?m)^STATUS_%s=(\d+)$' % name, sources('launchers/shell', ending='.sh')) == [str(error.status)]


def test_planning_is_no_flag_of_a_user(capsys):
    assert plan.main(['--plan'], {}) == 2
    assert '--plan: unknown' in capsys.readouterr().err
    assert flags.asks_for_help(['-h']) and plan.main(['-h'], {}) == 0
    assert '--plan' not in capsys.readouterr().out
