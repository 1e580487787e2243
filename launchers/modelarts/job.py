"""A job on ModelArts: data in, one of the launchers, results out (docs/vendor-contract.md section 6).

    --data_url  -> CACHE_DIR/dataset -> launcher -> CACHE_DIR/result -> --train_url, every few minutes and at the end

The platform starts the boot file once per card: launchers/modelarts/server.py has these processes work together.
"""
import difflib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from core.errors import InputError
from core.ranks import rank_table
from core.settings import flags, kinds, usage
from core.settings.table import MOST_DEVICES, OUTPUT, ROOT, SWITCHES, Switch, switch
from core.training import checkpoints
from launchers.modelarts import rank_runner, redaction, server
from launchers.modelarts.redaction import say
from launchers.modelarts.storage import Storage, StorageError, files
from launchers.modelarts.upload import Results

OWN_SWITCHES = (
    switch('case'),
    Switch('ModelArts', 'data_url', kinds.text(), None,
           'where the data set is: obs://, s3:// or a path; unset: nothing is copied in'),
    Switch('ModelArts', 'train_url', kinds.text(), None, 'where the results go, and with --resume come from; needed'),
    Switch('ModelArts', 'cache_dir', kinds.text(), '/cache', 'local directory for the data set and the results'),
    Switch('ModelArts', 'SESEMI_data_dir', kinds.text(), None, 'local directory for the data set alone; '
           'unset: CACHE_DIR/dataset'),
    Switch('ModelArts', 'SESEMI_result_dir', kinds.text(), None, 'local directory for the results alone; '
           'unset: CACHE_DIR/result'),
    Switch('ModelArts', 'copy_interval', kinds.number(above=0), 180., 'seconds between two copies of the results'),
    Switch('ModelArts', 'copy_retries', kinds.whole(least=0), 6,
           'how often a copy is tried again when the server is away'),
    Switch('ModelArts', 'copy_wait', kinds.number(above=0), 2.,
           'seconds before the first of these, and twice as many before each next'),
)
_DEVICES = range(MOST_DEVICES)
_NOT_COPIED = (InputError, StorageError, OSError)  # the last: a full disk here
_ALIKE = .8                     # how like a flag of ours an unknown one has to be, from 0 to 1, to be a mistake
_SCRIPTS = {'performance': 'performance_%s', 'full': 'full_%s', 'static_eval': 'performance_%s_static_eval',
            'dynamic_eval': 'performance_%s_dynamic_eval'}


class Job(NamedTuple):
    """What the command line asks for."""
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
                **{local: _below(self.own['train_url'], name) for local, name in self.outside}}

    @property
    def runs(self) -> Dict[str, str]:
        """{local directory: url} of what an earlier job may have left for --resume."""
        url = self.own['train_url']
        runs = {os.path.join(self.result, str(device)): _below(url, str(device)) for device in _DEVICES}
        return {**runs, **self._given(['modeldir', 'summary'])}

    def _given(self, names: Iterable[str]) -> Dict[str, str]:
        """{local directory: url} of those of the switches that were given."""
        return {os.path.abspath(self.given[name]): _below(self.own['train_url'], name)
                for name in names if name in self.given}

    @property
    def checkpoints(self) -> List[str]:
        """The urls where an earlier job may have left checkpoints."""
        url = self.own['train_url']
        return [_below(url, 'modeldir')] + [_below(url, '%d/ckpt' % device) for device in _DEVICES]


def _below(url, name):
    return url.rstrip('/') + '/' + name


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The status of the job: the launcher's, or 2 for bad input, 130 after Ctrl-C before it, 1 for anything else.

    All boot processes of a server return the same status.
    """
    if flags.asks_for_help(argv):
        print('usage: python3 launchers/boot_modelarts.py --train_url=URL [--flag=value ...]',
              *usage.describe(OWN_SWITCHES, {}), 'and every flag of the trainer: bash test/train_full_1p.sh -h',
              sep='\n')
        return 0
    return _guarded(lambda: _run_or_follow(_parse(argv, environ), environ))


def _guarded(act):
    """act(), which returns a status; its errors as lines and statuses, redacted as no traceback of Python's own is."""
    try:
        return act()
    except InputError as error:
        return _fail(error, 2)
    except StorageError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        redaction.complain(traceback.format_exc())
        return 1


def _fail(line, status):
    redaction.complain(str(line))
    return status


def _parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Job:
    """The Job that the command line asks for. Raises InputError."""
    given, arguments = flags.parse_known(argv, OWN_SWITCHES)
    own = dict({row.name: row.default for row in OWN_SWITCHES}, **given)
    if own['train_url'] is None:
        raise InputError('--train_url: needed: the place that the results are copied to')
    if os.path.abspath(re.sub('^file://', '', own['train_url'])).startswith(os.path.abspath(own['cache_dir']) + os.sep):
        raise InputError('--train_url=%s: inside --cache_dir=%s, from where the results are copied; choose another '
                         'place' % (own['train_url'], own['cache_dir']))
    arguments = _without_unknown(arguments)
    job = Job(own, flags.parse(arguments), tuple(arguments))
    if 'output_path' in job.given:
        raise InputError('--output_path: is CACHE_DIR/result here; leave it out')
    if own['data_url'] and 'data_path' in job.given:
        raise InputError('--data_path: is CACHE_DIR/dataset here; leave it or --data_url out')
    return job._replace(outside=tuple(_outside(job, environ)))


def _without_unknown(arguments: Sequence[str]) -> List[str]:
    """The arguments but those that the platform adds and nobody knows, which are told.

    Raises InputError for what looks like a misspelt flag of ours.
    """
    _, unknown = flags.parse_known(arguments, SWITCHES)
    spellings = [name for row in SWITCHES + OWN_SWITCHES for name in (row.name,) + row.aliases]
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


def _outside(job: Job, environ: Mapping[str, str]):
    """(local directory, name below train_url) of what tuning and GE write outside of CACHE_DIR/result."""
    options = dict(option.partition('=')[::2] for option in job.given.get('npu_option', ()))
    places = [(options.get('work_path'), 'tuning'), (options.get('debug_dir'), 'debug'),
              (environ.get('TUNE_BANK_PATH'), 'tuning_bank')]
    if environ.get('DUMP_GE_GRAPH'):
        places.append((environ.get('DUMP_GRAPH_PATH'), 'ge_graph'))
    for path, name in places:
        if path and not (os.path.abspath(path) + os.sep).startswith(os.path.abspath(job.result) + os.sep):
            yield os.path.abspath(path), name


def _run_or_follow(job, environ):
    rank = _rank(job, environ)
    if rank is None:
        return _run(job, environ)
    _make(job.boot, job)
    leader, status = server.lead_or_follow(job.boot, rank, _child_environ(job, environ))
    if leader is None:
        return status
    seconds = job.given.get('connect_timeout', switch('connect_timeout').default)

    def gather(plan):
        leader.gather(rank, [int(word) for word in plan['ranks'].split()], plan['devices'].split(),
                      environ.get('ASCEND_DEVICE_ID'), seconds)
    runner = {'RANK_RUNNER': os.path.abspath(rank_runner.__file__), rank_runner.DIRECTORY: os.path.abspath(job.boot)}
    status = _guarded(lambda: _run(_beside_rank(job, environ, rank, seconds), environ, gather, runner))
    leader.end(status)
    return status


def _rank(job, environ) -> Optional[int]:
    """The rank of this process where the platform starts the boot file once per card, else None."""
    if not environ.get('RANK_ID') or environ.get('RANK_SIZE', '1') == '1':
        return None
    if {'rank_size', 'rank_table'} & set(job.given):
        return None  # the user has this process start all ranks
    try:
        return kinds.whole(0).parse(environ['RANK_ID'])
    except ValueError as error:
        raise InputError('RANK_ID=%s (environment): %s' % (environ['RANK_ID'], error))


def _beside_rank(job, environ, rank, seconds):
    """The job with the --server_id of the server that has the rank, once the platform has completed the rank table."""
    path = environ.get('RANK_TABLE_FILE')
    if not path or 'server_id' in job.given:
        return job
    deadline, told = time.time() + seconds, False
    while not _is_completed(path) and time.time() < deadline:
        if not told:
            say('waiting until the platform has completed %s' % path)
        told = True
        time.sleep(.5)
    for place in rank_table.load(path):
        if rank in [device.rank_id for device in place.devices]:
            return job._replace(arguments=job.arguments + ('--server_id=' + place.server_id,))
    raise InputError('RANK_ID=%d (environment): %s has no such rank' % (rank, path))


def _is_completed(path):
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file).get('status') == 'completed'
    except (OSError, ValueError, AttributeError):  # not written, or not to its end
        return False


def _run(job, environ, gather=lambda plan: None, runner=()):
    """The status of the launcher or of what has kept it from being started.

    gather(plan): waits for the other boot processes of this server; runner: variables for the launcher that has the
    boot processes run the trainers.
    """
    command, child_environ = _command(job, environ), dict(_child_environ(job, environ), **dict(runner))
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # else every S3 request is five lines
    if job.own['data_url']:
        _make(job.data, job)  # the plan wants the directory to be there before the data is
    planner = [child_environ['PYTHON'], os.path.join(ROOT, 'launchers', 'plan.py'), '--case=' + job.own['case']]
    planned = subprocess.run(planner + command[2:], env=dict(child_environ, RANK_SIZE='1', RANK_ID='0'),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if planned.returncode:
        return _fail(planned.stderr.rstrip('\n'), planned.returncode)
    plan = dict(line.split('=', 1) for line in planned.stdout.splitlines() if '=' in line)
    gather(plan)
    job = _on_this_server(job, plan)
    storage = Storage(files(), job.own['copy_retries'], job.own['copy_wait'])
    results = Results(storage, job.folders, os.path.join(job.own['cache_dir'], 'outgoing'))
    storage.make_dirs(job.own['train_url'])
    _bring_back(job, storage, results, os.path.basename(plan.get('run_dir', '')))
    if job.own['data_url']:
        say('copying %s to %s' % (job.own['data_url'], job.data))
        storage.fetch(job.own['data_url'], job.data)
    status = _launch(command, child_environ, results, job.own['copy_interval'])
    try:
        results.publish()
    except _NOT_COPIED as error:
        return _fail('%s; the results are kept in %s' % (error, ' '.join(job.folders)), status or 1)
    say('results are in %s' % job.own['train_url'])
    return status


def _make(directory, job):
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InputError('--cache_dir=%s: %s cannot be made: %s' % (job.own['cache_dir'], directory, error.strerror))


def _on_this_server(job, plan):
    """The job as it is here: servers have devices of the same names, so all but rank 0's get a place of their own."""
    ranks = plan.get('ranks', '0').split()
    if '0' in ranks:
        return job
    place = _below(job.own['train_url'], 'from-rank-' + ranks[0])
    return job._replace(own=dict(job.own, train_url=place))


def _command(job, environ):
    """The launcher's command line."""
    several = str(job.given.get('rank_size') or environ.get('RANK_SIZE') or 1) != '1' or 'rank_table' in job.given
    if several and job.own['case'] not in ('performance', 'full'):
        raise InputError('--case=%s: is for one rank; several have --case=performance and --case=full' %
                         job.own['case'])
    script = 'train_%s.sh' % _SCRIPTS[job.own['case']] % ('8p' if several else '1p')
    arguments = list(job.arguments)
    if job.own['data_url']:
        arguments.append('--data_path=' + job.data)
    if several and 'rank_table' not in job.given:
        if environ.get('RANK_TABLE_FILE'):
            arguments.append('--rank_table=' + environ['RANK_TABLE_FILE'])
        elif 'rank_size' not in job.given:
            arguments.append('--rank_size=' + environ['RANK_SIZE'])
    return ['bash', os.path.join(ROOT, 'test', script), '--output_path=' + job.result] + arguments


def _child_environ(job, environ) -> Dict[str, str]:
    """The launcher's environment: it copies nothing and so needs no keys. GE graphs go to the results."""
    hidden = redaction.variables(environ)
    kept = {name: value for name, value in environ.items() if name not in hidden}
    if kept.get('DUMP_GE_GRAPH'):
        kept.setdefault('DUMP_GRAPH_PATH', os.path.join(os.path.abspath(job.result), 'ge_graph'))
    return dict({'PYTHON': sys.executable}, **kept)


def _bring_back(job, storage, results, device):
    """With --resume the runs found under --train_url, for `device` to go on with; without it none may be there."""
    if job.given.get('resume'):
        for directory, url in job.runs.items():
            if storage.exists(url):
                say('bringing back %s' % url)
                storage.fetch(url, directory)
        results.adopt()
        _hand_over(job.result, device)
        return
    for url in job.checkpoints:
        if storage.exists(url):
            raise InputError('%s: holds the checkpoints of an earlier job; add --resume to continue it, or choose '
                             'another --train_url' % url)


def _hand_over(result, device):
    """Gives `device` the newest checkpoints and their summaries, where the platform has given the job another one."""
    newest = {name: checkpoints.newest_step(os.path.join(result, name, 'ckpt')) for name in map(str, _DEVICES)}
    last = max(newest, key=newest.get)
    if newest[last] <= newest.get(device, newest[last]):  # a plan that is no run's names no device
        return
    say('the checkpoints of device %s go to device %s' % (last, device))
    for name in 'ckpt', 'summary':
        old, new = (os.path.join(result, number, name) for number in (last, device))
        for folder, _, found in os.walk(old):
            target = os.path.join(new, os.path.relpath(folder, old))
            os.makedirs(target, exist_ok=True)
            for file in found:
                os.replace(os.path.join(folder, file), os.path.join(target, file))


def _launch(command, environ, results, interval):
    """Runs the launcher, which SIGTERM and Ctrl-C are passed on to; publishes results meanwhile; its status."""
    ended, launcher, received = threading.Event(), None, []

    def forward(number, frame):
        received.append(number)
        if launcher:
            launcher.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    # Ctrl-C on a terminal reaches a process group of its own once: from here.
    launcher = subprocess.Popen(command, env=environ, start_new_session=True)
    for number in received:
        launcher.send_signal(number)
    # A thread: signals are handled between two calls of this one, and copying is one long call.
    publisher = threading.Thread(target=_publish_often, args=(results, interval, ended))
    publisher.start()
    status = launcher.wait()
    ended.set()
    publisher.join()
    return status if status >= 0 else 128 - status


def _publish_often(results, interval, ended):
    while not ended.wait(interval):
        try:
            results.publish()
        except _NOT_COPIED as error:
            say('%s; the results stay here until the next copy' % error)
