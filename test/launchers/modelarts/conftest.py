"""Fixtures of the ModelArts tests: a working directory for a job, and an S3 server."""
import os
import subprocess
import sys

import pytest
from launching import HELPERS, ROOT
from modelarts_job import CONTENTS, Server

# A trainer that, unlike fake_python.py, prints its environment and lists its data before it trains.
TRAINER = '''#!/bin/sh
case "$2" in train) env; ls -R "%(workdir)s/cache/dataset" "%(workdir)s/cache/result";; esac
exec "%(python)s" "%(here)s/fake_python.py" "$@"
'''


@pytest.fixture
def workdir(tmp_path):
    """A working directory with a blank in its name, a trainer and a small data set."""
    workdir = tmp_path / 'a directory'
    workdir.mkdir()
    trainer = workdir / 'python'
    trainer.write_text(TRAINER % dict(workdir=workdir, python=sys.executable, here=HELPERS))
    trainer.chmod(0o755)
    for name, content in CONTENTS.items():
        (workdir / 'data' / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / 'data' / name).write_text(content)
    return workdir


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    packages = os.path.join(ROOT, '.test-packages-s3')
    if not os.path.exists(os.path.join(packages, '.complete')):
        pytest.skip('there is no S3 server: test/run_tests.sh installs one')
    process = subprocess.Popen(
        [sys.executable, os.path.join(HELPERS, 's3_server.py')], env=dict(os.environ, PYTHONPATH=packages),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    yield Server(process, str(tmp_path_factory.mktemp('server') / 'errors'))
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()
