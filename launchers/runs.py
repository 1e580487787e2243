"""The table of runs: python3 -m launchers runs [--output_path=DIR] [--sort=COLUMN] [--filter=COLUMN=VALUE] ...

Reads what runs have left in DIR and DIR/history, runs in progress and killed ones included. Needs no TensorFlow.
"""
import os
import sys
from typing import List, Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'runs'] + sys.argv[1:])

from core.pages import page, runs
from core.reporting.record import save
from core.settings import flags, kinds
from core.settings.table import Switch, switch
from launchers import command

GROUP = 'runs'
OWN_SWITCHES = (
    switch('output_path')._replace(help='where the runs are'),
    Switch(GROUP, 'sort', kinds.text(), 'when', 'column to sort by, with a - before it backwards'),
    Switch(GROUP, 'filter', kinds.text(), (),
           'COLUMN=VALUE: only runs in which the column is VALUE or begins with it; may be given several times',
           repeated=True),
    Switch(GROUP, 'csv', kinds.boolean(), False, 'comma-separated values instead of the table'),
    Switch(GROUP, 'html', kinds.either(kinds.boolean(), kinds.path())._replace(is_boolean=True), False,
           'write a page with the curves side by side and the differences of two runs, to OUTPUT_PATH/runs.html or to '
           'the file that is given'),
    Switch(GROUP, 'overwrite', kinds.boolean(), False, 'let --html replace a file that is no such page'),
)
USAGE = command.Usage('python3 -m launchers runs [--output_path=DIR] [--flag=value ...]',
                      'Lists the runs under an output path. Columns: %s.' % ', '.join(runs.COLUMNS), OWN_SWITCHES)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints the table or writes the page; the exit status is 2 for bad input and when a record is left out."""
    def act():
        own = dict({row.name: row.default for row in OWN_SWITCHES}, **flags.parse(argv, OWN_SWITCHES))
        left_out: List[str] = []
        found = runs.chosen(runs.find(own['output_path'], left_out.append), own['filter'], own['sort'])
        for line in left_out:
            print(line, file=sys.stderr)
        if own['html']:
            path = os.path.join(own['output_path'], 'runs.html') if own['html'] is True else own['html']
            if not own['overwrite']:
                page.check_own('--html', path)
            print(save(path, runs.as_html(found, own['output_path'])))
        elif own['csv']:
            print(runs.as_csv(found))
        else:
            print(runs.table(found) if found else 'no runs')
        return 2 if left_out else 0
    return command.status_of(act, argv, USAGE)
