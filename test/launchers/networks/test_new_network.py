"""A CIFAR-shaped classifier is added as docs/bring-your-network.md says, and by nothing else."""
import os
import re
import shutil
import subprocess

import margins
import pytest
from launching import ROOT

MOST_LINES = 19


def file_of_the_page():
    """(path, content) of the code block of the page, whose first line is a comment with its path."""
    with open(os.path.join(ROOT, 'docs', 'bring-your-network.md'), encoding='utf-8') as page:
        block, = re.findall(r'```python\n(.*?)```', page.read(), re.DOTALL)
    return block.split()[1], block


@pytest.mark.slow
@pytest.mark.margin
def test_a_network_is_a_file_of_less_than_20_lines_that_trains_and_is_evaluated(
        tmp_path, forking_workdir):
    path, content = file_of_the_page()
    assert len(content.splitlines()) <= MOST_LINES
    tree = tmp_path / 'copy'
    for name in ('core', 'data', 'launchers', 'nets', 'test'):
        shutil.copytree(os.path.join(ROOT, name), str(tree / name))
    if os.path.isdir(os.path.join(ROOT, '.kernels')):      # compiled already
        (tree / '.kernels').symlink_to(os.path.join(ROOT, '.kernels'))
    shutil.copy(os.path.join(ROOT, '__main__.py'), str(tree))
    (tree / path).write_text(content)

    python = str(forking_workdir / 'python')

    def run(*command):
        return subprocess.run(command, cwd=str(tree), env=dict(os.environ, PYTHON=python, ASCEND_DEVICE_ID='0'),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)

    launched = run('bash', 'test/train_performance_1p.sh', '--network=' + path, '--train_epochs=3',
                   margins.SEED_FLAG)
    assert launched.returncode == 0, launched.stderr
    assert 'Final Performance images/sec : ' in launched.stdout
    case = (tree / 'output' / '0' / 'mynet_bs64_1p_perf.log').read_text()
    assert 'Network = mynet\n' in case and 'CaseName = mynet_bs64_1p_perf\n' in case
    accuracy = float(case.split('TrainAccuracy = ')[1].split()[0])
    margins.above('new network: accuracy, chance is 0.1', accuracy, .2)
    evaluated = run(python, str(tree), 'evaluate', '--network=' + path, '--data_path=synthetic')
    assert evaluated.stdout.splitlines()[-1] == 'Top-1: %.4f' % accuracy, evaluated.stderr
