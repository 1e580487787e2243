"""The commands of docs/float16.md: the network does not train in float16, and does when it is cured."""
import os
import re
import shlex

import numpy as np
import pytest
from launching import ROOT

from launchers import command, precision, roofline, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """[(arguments, output)] of the commands of the page, which are run in this process."""
    directory = str(tmp_path_factory.mktemp('page'))
    with open(os.path.join(ROOT, 'docs', 'float16.md')) as page:
        blocks = re.findall(r'```bash\n(.*?)```', page.read(), re.S)
    return directory, [line for block in blocks for line in block.splitlines()]


def ran(line, directory, number):
    """The exit status of a command of the page, with its results below `directory`."""
    words = shlex.split(line.replace('output/float16', directory + '/found').replace(
        'docs/examples', os.path.join(ROOT, 'docs/examples')))
    if words[0] == 'bash':
        return command.run(train.act, ['--case=performance', '--device=cpu', *words[2:],
                                       '--output_path=%s/%d' % (directory, number)], {})
    assert words[:3] == ['python3', '-m', 'launchers']
    return {'precision': precision, 'roofline': roofline}[words[3]].main(words[4:], {})


def test_the_network_fails_in_float16_and_is_found_and_cured(pages, capsys):
    directory, lines = pages
    logs = []
    for number, line in enumerate(lines):
        assert ran(line, directory, number) == 0, line
        logs.append(capsys.readouterr().out)
    loss = [float(found[-1]) if found else np.nan for found in (
        re.findall(r'^test after .* loss (\S+)', log, re.M) for log in logs)]
    plain, narrow, table, overflow, searched, cured, slow = range(7)
    assert loss[narrow] > 10 * loss[plain] and loss[cured] < 3 * loss[plain]
    assert re.search(r'^Square +float16 +float16 +gray', logs[table], re.M)
    assert re.search(r'^Overflow at step 0: sphere/normalize/\S*Square \(Square\)', logs[overflow], re.M)
    assert re.search(r'^The fewest types found: [^,]* \(', logs[searched], re.M)
    assert 'images/s' in logs[slow] and 'MatMulBiasAddFusionPass' in logs[slow]
