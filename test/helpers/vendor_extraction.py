"""The vendors' extraction of figures from logs, read out of docs/vendor-contract.md and run as it stands there."""
import os
import re
import subprocess

from launching import ROOT

HEADING = '### What the vendors\' launchers extract'


def extractions():
    """-> {heading: {figure: shell command}} in the order of the document; a heading is the line above a code block."""
    with open(os.path.join(ROOT, 'docs', 'vendor-contract.md'), encoding='utf-8') as page:
        section = page.read().split(HEADING)[1].split('\n## ')[0]
    blocks = re.findall(r'^([a-z]+(?:[^\n]|\n(?!\n))*):\n\n```bash\n(.*?)```', section, re.S | re.M)
    return {heading.split(';')[0]: dict(line.split(': ', 1) for line in block.splitlines())
            for heading, block in blocks}


def extract(heading, logs, batch_size, ranks=1, epoch='125/125'):
    """-> {figure: text} as a vendor's launcher finds them in the logs of all ranks, rank 0's first."""
    script = ''.join('%s=$(%s) || true\nprintf "%%s\\0" "$%s"\n' % (name, command, name)
                     for name, command in extractions()[heading].items())
    answer = subprocess.run(
        ['bash', '-c', script], check=True, stdout=subprocess.PIPE, universal_newlines=True,
        env=dict(os.environ, log=logs[0], logs=' '.join(logs), batch_size=str(batch_size), RANK_SIZE=str(ranks),
                 epoch=epoch))
    return dict(zip(extractions()[heading], answer.stdout.split('\0')))
