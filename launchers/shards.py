"""The writer of TFRecord shards: python3 -m launchers shards --data_path=DIR --output=DIR."""
import os
import signal
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'shards'] + sys.argv[1:])

from core.errors import InputError
from core.log import say
from core.settings import flags, kinds
from core.settings.table import Switch
from data import shards
from launchers import command

GROUP = 'shards'
OWN_SWITCHES = (
    Switch(GROUP, 'data_path', kinds.path(), None,
           'directory of class folders, train/CLASS/ and test/CLASS/, or CLASS/ alone, of which a part is drawn for '
           'tests'),
    Switch(GROUP, 'output', kinds.path(), None, 'the directory to make'),
    Switch(GROUP, 'shards', kinds.whole(1, 99999), None,
           'number of training shards; unset: so many that each has about %d MB' % (shards.SHARD_BYTES // 2 ** 20)),
    Switch(GROUP, 'seed', kinds.whole(0, kinds.MOST), 1, 'fixes the order of the images and what is drawn for tests'))
USAGE = command.Usage(
    'python3 -m launchers shards --data_path=DIR --output=DIR [--shards=N] [--seed=N]',
    'Writes class folders as TFRecord shards of ImageNet\'s form; --task=tfrecord trains on them.', OWN_SWITCHES)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Writes shards; returns the exit status."""
    def act():
        given, words = flags.parse_with_words(argv, OWN_SWITCHES)
        if words:
            raise InputError('%r: not a flag; flags are written --name=value' % words[0])
        own = dict({row.name: row.default for row in OWN_SWITCHES}, **given)
        for name in ('data_path', 'output'):
            if not own[name]:
                raise InputError('--%s: needed; -h tells more' % name)
        for number in (signal.SIGINT, signal.SIGTERM):  # as an exit, so that what is not finished is removed
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
        shards.write(own['data_path'], own['output'], own['shards'], own['seed'], say)
        say('train on them: --task=tfrecord --data_path=%s' % os.path.abspath(own['output']))
    return command.status_of(act, argv, USAGE)
