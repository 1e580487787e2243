"""The vendors' entry files on ModelArts."""
import os
import subprocess
import sys

import pytest
from launching import ROOT

from launchers.modelarts import entry

RESULTS = '--train_url=/home/ma-user/modelarts/outputs/train_url_0/'


def test_without_arguments_the_directories_are_the_platforms():
    assert entry.arguments([], 'full') == ['--data_url=' + entry.DATA, RESULTS, '--case=full']


def test_data_that_is_local_is_not_copied_again(tmp_path):
    assert entry.arguments([], 'full', str(tmp_path)) == ['--data_path=%s' % tmp_path, RESULTS, '--case=full']
    assert entry.arguments(['--data_url=%s' % tmp_path, '--train_url=there', '--network=swa'], 'performance') == [
        '--train_url=there', '--network=swa', '--data_path=%s' % tmp_path, '--case=performance']
    assert entry.arguments(['--data_url=s3://b/d', '--train_url=s3://b/r'], 'full') == [
        '--train_url=s3://b/r', '--data_url=s3://b/d', '--case=full']


@pytest.mark.parametrize('name', ['modelarts_entry_acc.py', 'modelarts_entry_perf.py'])
def test_an_entry_file_is_the_boot_file(tmp_path, name, forking_workdir):
    answer = subprocess.run([sys.executable, os.path.join(ROOT, 'launchers', name), '-h'], cwd=str(tmp_path),
                            env=dict(os.environ, PYTHON=str(forking_workdir / 'python')),
                            stdout=subprocess.PIPE, universal_newlines=True)
    assert answer.returncode == 0 and '--train_url' in answer.stdout
