"""Starts the boot file, and talks to an S3 server, for tests."""
import itertools
import json
import os
import re

from launching import HELPERS, LONG_STOPS, ROOT
from prefork import Forked

CASE_LOG = 'CSPNet_ID0840_for_TensorFlow_bs64_1p_perf.log'
SECRETS = dict(AWS_ACCESS_KEY_ID='AKIA0123456789ABCDEF', AWS_SECRET_ACCESS_KEY='aSecret/That+NobodySees',
               S3_SECRET_ACCESS_KEY='another-secret', SOME_TOKEN='a-token-of-something')
CONTENTS = dict({'batches/%d' % n: 'x' * n for n in range(40)}, **{'labels': '1 2 3', 'a cat/1 %.jpg': ''})


def contents(directory):
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob('*') if path.is_file()}


def boot(workdir, *flags, **environment):
    """Starts the boot file on the data and with the results in `workdir`, unless a flag says otherwise."""
    words = ['--network=cspnet', '--case=performance', '--cache_dir=%s' % (workdir / 'cache'),
             '--copy_wait=0.05', '--copy_retries=3']
    for name, default in (('data_url', 'data'), ('train_url', 'out')):
        if not any(flag.startswith('--' + name) for flag in flags):
            words.append('--%s=%s' % (name, workdir / default))
    own = dict(LONG_STOPS, PYTHON=str(workdir / 'python'), ASCEND_DEVICE_ID='0')
    environment = dict(dict(os.environ, **own), **environment)
    return Boot(workdir, [os.path.join(ROOT, '__main__.py'), 'boot_modelarts', *words, *flags], environment)


class Boot(Forked):
    """A boot process; stdout and stderr: the files that it prints to."""
    _numbers = itertools.count()

    def __init__(self, workdir, arguments, environment):
        number = next(self._numbers)
        self.stdout, self.stderr = workdir / ('boot-%d.out' % number), workdir / ('boot-%d.err' % number)
        super().__init__(arguments, self.stdout, self.stderr, environment, workdir)


def ended(job):
    """-> (status, standard output, standard error) of a boot process"""
    return job.wait(), job.stdout.read_text(), job.stderr.read_text()


def has_line(path, pattern):
    return lambda: path.exists() and re.search(pattern, path.read_text())


class Server:
    """The S3 server of s3_server.py."""

    def __init__(self, process, errors):
        """errors: the path of a file for what a copy prints."""
        self._process, self._errors = process, errors
        self.facts = json.loads(process.stdout.readline())

    @property
    def environment(self):
        """What a job needs to reach it."""
        return dict(S3_ENDPOINT='127.0.0.1:%d' % self.facts['port'], S3_USE_HTTPS='0', S3_VERIFY_SSL='0',
                    AWS_REGION='us-east-1', AWS_ACCESS_KEY_ID=self.facts['key'],
                    AWS_SECRET_ACCESS_KEY=self.facts['secret'])

    def tell(self, order):
        """stop or start."""
        self._process.stdin.write(order + '\n')
        self._process.stdin.flush()
        assert self._process.stdout.readline() == 'done\n'

    def copy(self, source, target):
        """Copies with the right key, in a process of its own: TensorFlow takes its key from the environment once."""
        script = os.path.join(HELPERS, 's3_copy.py')
        environment = dict(os.environ, **self.environment)
        copy = Forked([script, str(source), str(target)], os.devnull, self._errors, environment)
        assert copy.wait() == 0, open(self._errors).read()
