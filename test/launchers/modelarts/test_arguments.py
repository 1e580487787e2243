"""The command line of the ModelArts job: where things lie on the machine."""
import pytest

from core.errors import InputError
from launchers.modelarts import arguments


def test_the_vendors_directories_for_data_and_results_act():
    job = arguments.parse(['--train_url=s3://b/job', '--SESEMI_data_dir=/here/data',
                           '--SESEMI_result_dir=/here/result'], {})
    assert (job.data, job.result, job.boot) == ('/here/data', '/here/result', '/cache/boot')
    assert job.folders == {'/here/result': 's3://b/job'}
    job = arguments.parse(['--train_url=s3://b/job'], {})
    assert (job.data, job.result) == ('/cache/dataset', '/cache/result')


def test_dumps_and_profiles_that_the_user_puts_elsewhere_are_copied_out_and_not_back():
    job = arguments.parse(['--train_url=s3://b/job', '--data_save_path=/d', '--over_dump_path=/o', '--modeldir=/m'], {})
    assert job.folders == {'/cache/result': 's3://b/job', '/d': 's3://b/job/data_save_path',
                           '/o': 's3://b/job/over_dump_path', '/m': 's3://b/job/modeldir'}
    assert '/m' in job.runs and not {'/d', '/o'} & set(job.runs)


def test_flags_of_the_vendors_launchers_that_mean_nothing_here_are_told_and_ignored(capsys):
    foreign = ['--gpu_id=3', '--bind_core=1', '--server_index=0', '--conf_path=/conf']
    job = arguments.parse(['--train_url=s3://b/job', '--network=swa', '--autotune=False'] + foreign, {})
    assert job.arguments == ('--network=swa',)
    told = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in told] == foreign and 'autotune' not in ''.join(told)
    with pytest.raises(InputError, match='--autotune=True: CANN has no such tuning'):
        arguments.parse(['--train_url=s3://b/job', '--autotune=True'], {})


@pytest.mark.parametrize('name', ['cache_dir', 'SESEMI_result_dir'])
def test_results_are_not_copied_into_themselves(name):
    with pytest.raises(InputError, match='--train_url=/c/result: inside --%s=/c, ' % name):
        arguments.parse(['--train_url=/c/result', '--%s=/c' % name], {})


RECIPE = """
from core.settings import kinds
from core.settings.table import Switch
from launchers.networks import swa
RECIPE = swa.RECIPE._replace(switches=(Switch('swa', 'sharpness', kinds.number(), 1., 'how sharp'),))
"""


def test_switches_that_a_recipe_brings_are_passed_on(tmp_path):
    (tmp_path / 'mine.py').write_text(RECIPE)
    network = '--network=%s' % (tmp_path / 'mine.py')
    job = arguments.parse(['--train_url=out', network, '--sharpness=2.5', '--obs_id=7'], {})
    assert job.arguments == (network, '--sharpness=2.5') and job.given['sharpness'] == 2.5
    with pytest.raises(InputError, match='--sharpnes: unknown flag; is it --sharpness'):
        arguments.parse(['--train_url=out', network, '--sharpnes=2.5'], {})
    with pytest.raises(InputError, match='--network=nothing: must be one of'):
        arguments.parse(['--train_url=out', '--network=nothing'], {})
