"""The arguments of the ModelArts boot file: its own, the trainer's, and those that the platform adds."""
import difflib
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from core.errors import InputError
from core.settings import flags, kinds
from core.settings.table import MOST_DEVICES, OUTPUT, SWITCHES, Switch, switch
from launchers.modelarts.redaction import say
from launchers.networks import registry

OWN_SWITCHES = (
    switch('case'),
    Switch('ModelArts', 'data_url', kinds.path(), None,
           'where the data set is: obs://, s3:// or a path; unset: nothing is copied in'),
    Switch('ModelArts', 'train_url', kinds.path(), None, 'where the results go, and with --resume come from; needed'),
    Switch('ModelArts', 'cache_dir', kinds.path(), '/cache', 'local directory for the data set and the results'),
    Switch('ModelArts', 'SESEMI_data_dir', kinds.path(), None, 'local directory for the data set alone; '
           'unset: CACHE_DIR/dataset'),
    Switch('ModelArts', 'SESEMI_result_dir', kinds.path(), None, 'local directory for the results alone; '
           'unset: CACHE_DIR/result'),
    Switch('ModelArts', 'copy_interval', kinds.number(above=0), 180., 'seconds between two copies of the results'),
    Switch('ModelArts', 'copy_retries', kinds.whole(least=0), 6,
           'how often a copy is tried again when the server is away'),
    Switch('ModelArts', 'copy_wait', kinds.number(above=0), 2.,
           'seconds before the first of these, and twice as many before each next'),
)
DEVICES = range(MOST_DEVICES)
_ALIKE = .8                     # how like a flag of ours an unknown one has to be, from 0 to 1, to be a mistake


class Job(NamedTuple):
    """A job as the command line describes it."""
    own: Dict[str, Any]            # OWN_SWITCHES, defaults filled in
    given: Dict[str, Any]          # the trainer's, as given
    arguments: Tuple[str, ...]     # ... and as typed
    outside: Tuple[Tuple[str, str], ...] = ()  # (local directory, name below train_url) of tuning and GE graphs

    @property
    def data(self) -> str:
        """Local directory of the data set."""
        return self.own['SESEMI_data_dir'] or os.path.join(self.own['cache_dir'], 'dataset')

    @property
    def boot(self) -> str:
        """Local directory in which the boot processes of a server find each other."""
        return os.path.join(self.own['cache_dir'], 'boot')

    @property
    def result(self) -> str:
        """Local directory of the results."""
        return self.own['SESEMI_result_dir'] or os.path.join(self.own['cache_dir'], 'result')

    @property
    def folders(self) -> Dict[str, str]:
        """{local directory: url} of all that is copied out."""
        return {self.result: self.own['train_url'], **self._given(row.name for row in SWITCHES if row.path == OUTPUT),
                **{local: below(self.own['train_url'], name) for local, name in self.outside}}

    @property
    def runs(self) -> Dict[str, str]:
        """{local directory: url} of what an earlier job may have left for --resume."""
        url = self.own['train_url']
        runs = {os.path.join(self.result, str(device)): below(url, str(device)) for device in DEVICES}
        return {**runs, **self._given(['modeldir', 'summary'])}

    def _given(self, names: Iterable[str]) -> Dict[str, str]:
        """{local directory: url} of the switches that were given."""
        return {os.path.abspath(self.given[name]): below(self.own['train_url'], name)
                for name in names if name in self.given}

    @property
    def checkpoints(self) -> List[str]:
        """The urls where an earlier job may have left checkpoints."""
        url = self.own['train_url']
        return [below(url, 'modeldir')] + [below(url, '%d/ckpt' % device) for device in DEVICES]


def below(url: str, name: str) -> str:
    """The url of `name` in the directory `url`."""
    return url.rstrip('/') + '/' + name


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Job:
    """The Job of the command line. Raises InputError."""
    given, arguments = flags.parse_known(argv, OWN_SWITCHES)
    own = dict({row.name: row.default for row in OWN_SWITCHES}, **given)
    if own['train_url'] is None:
        raise InputError('--train_url: needed: where the results are copied to')
    there = os.path.abspath(re.sub('^file://', '', own['train_url'])) + os.sep
    for name in ('cache_dir', 'SESEMI_result_dir'):
        if own[name] and there.startswith(os.path.abspath(own[name]) + os.sep):
            raise InputError('--train_url=%s: inside --%s=%s, from where the results are copied; choose '
                             'another directory' % (own['train_url'], name, own[name]))
    arguments, lines = flags.without_foreign(arguments)
    for line in lines:
        say(line)
    recipe, _ = registry.recipe_of(flags.network_in(arguments), environ)
    switches = (*SWITCHES, *recipe.switches)
    arguments = _without_unknown(arguments, switches)
    job = Job(own, flags.parse(arguments, switches), tuple(arguments))
    if 'output_path' in job.given:
        raise InputError('--output_path: is CACHE_DIR/result here; leave it out')
    if own['data_url'] and 'data_path' in job.given:
        raise InputError('--data_path: is CACHE_DIR/dataset here; leave it or --data_url out')
    return job._replace(outside=tuple(_outside(job, environ)))


def _without_unknown(arguments: Sequence[str], switches: Sequence[Switch]) -> List[str]:
    """The arguments without what the platform adds and no row of `switches` knows; a line names these.

    Raises InputError for what looks like a misspelt flag of ours.
    """
    _, unknown = flags.parse_known(arguments, switches)
    spellings = [name for row in (*switches, *OWN_SWITCHES) for name in (row.name,) + row.aliases]
    kept, names = [], []
    for argument in arguments:
        if not unknown or argument != unknown[0]:
            kept.append(argument)
            continue
        unknown.pop(0)
        name = argument.lstrip('-').partition('=')[0]
        if argument.startswith('--') and name:
            alike = difflib.get_close_matches(name, spellings, 1, _ALIKE)
            if alike:
                raise InputError('--%s: unknown flag; is it --%s?' % (name, alike[0]))
            names.append('--' + name)
        elif not names:  # else it is the value of an unknown flag
            raise InputError('%r: not a flag; flags are written --name=value' % argument)
    if names:
        say('%s: unknown here and ignored' % ' '.join(names))
    return kept


def _outside(job: Job, environ: Mapping[str, str]) -> Iterator[Tuple[str, str]]:
    """(local directory, name below train_url) of what tuning and GE write outside of CACHE_DIR/result."""
    options = dict(option.partition('=')[::2] for option in job.given.get('npu_option', ()))
    directories = [(options.get('work_path'), 'tuning'), (options.get('debug_dir'), 'debug'),
                   (environ.get('TUNE_BANK_PATH'), 'tuning_bank')]
    if environ.get('DUMP_GE_GRAPH'):
        directories.append((environ.get('DUMP_GRAPH_PATH'), 'ge_graph'))
    for path, name in directories:
        if path and not (os.path.abspath(path) + os.sep).startswith(os.path.abspath(job.result) + os.sep):
            yield os.path.abspath(path), name
