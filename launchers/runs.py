"""The table of runs: python3 -m launchers.runs [--output_path=DIR] [--sort=COLUMN] [--filter=COLUMN=VALUE] ...

Reads what runs have left in DIR and DIR/history, runs in progress and killed ones included. Needs no TensorFlow.
"""
import argparse
import os
import sys

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path

from core.errors import InputError  # noqa: E402
from core.pages import page, runs  # noqa: E402
from core.reporting.panels import save  # noqa: E402
from core.settings.table import ROOT  # noqa: E402


class _Parser(argparse.ArgumentParser):
    """An argument that is refused is an InputError."""

    def error(self, message):
        raise InputError('%s; -h lists the flags' % message)


def parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    flags = _Parser(prog='python3 -m launchers.runs', allow_abbrev=False,
                    description='Lists the runs under an output path. Columns: %s.' % ', '.join(runs.COLUMNS))
    flags.add_argument('--output_path', metavar='DIR', default=os.path.join(ROOT, 'output'),
                       help='default: %(default)s')
    flags.add_argument('--sort', metavar='COLUMN', default='when',
                       help='column to sort by, with a - before it backwards; default: when')
    flags.add_argument('--filter', metavar='COLUMN=VALUE', action='append', default=[],
                       help='only runs whose column is VALUE or begins with it; may be given several times')
    flags.add_argument('--csv', action='store_true', help='comma-separated values in place of the table')
    flags.add_argument('--html', metavar='FILE', nargs='?', const='',
                       help='write a page with the curves side by side and the differences of two runs; '
                            'FILE: OUTPUT_PATH/runs.html')
    flags.add_argument('--overwrite', action='store_true', help='let --html replace a file that is no such page')
    return flags


def main(argv: list) -> int:
    """Prints the table or writes the page; the exit status is 2 for bad input and when a record is left out."""
    try:
        asked = parser().parse_args(argv)
        left_out = []
        found = runs.chosen(runs.find(asked.output_path, left_out.append), asked.filter, asked.sort)
        for line in left_out:
            print(line, file=sys.stderr)
        if asked.html is not None:
            path = asked.html or os.path.join(asked.output_path, 'runs.html')
            if not asked.overwrite:
                page.check_own('--html', path)
            print(save(path, runs.as_html(found, asked.output_path)))
        elif asked.csv:
            print(runs.as_csv(found))
        else:
            print(runs.table(found) if found else 'no runs')
        return 2 if left_out else 0
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
