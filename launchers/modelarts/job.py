"""A job on ModelArts: data in, one of the launchers, results out (docs/vendor-contract.md section 6).

    --data_url  -> CACHE_DIR/dataset -> launcher -> CACHE_DIR/result -> --train_url, every few minutes and at the end

The platform starts the boot file once per card. Each of these processes trains the rank of its card; the lowest of a
server copies for all of them (launchers/modelarts/server.py).
"""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from core.errors import InputError, RunEnd
from core.settings import flags, kinds
from core.settings.table import MOST_DEVICES, ROOT, SYNTHETIC, switch
from core.training import checkpoints
from launchers import usage
from launchers.modelarts import redaction
from launchers.modelarts.arguments import DEVICES, OWN_SWITCHES, Job, below, parse
from launchers.modelarts.redaction import say
from launchers.modelarts.server import BootProcesses
from launchers.modelarts.storage import Storage, StorageError, files
from launchers.modelarts.upload import Results
from launchers.ranks import rank_table

_NOT_COPIED = (InputError, StorageError, OSError)  # the last: a full disk here
_SCRIPTS = {'performance': 'performance_%s', 'full': 'full_%s', 'static_eval': 'performance_%s_static_eval',
            'dynamic_eval': 'performance_%s_dynamic_eval'}


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The status of the job: the launcher's, or 2 for bad input, 130 after Ctrl-C before it, 1 for anything else."""
    if flags.asks_for_help(argv):
        print('usage: python3 launchers/boot_modelarts.py --train_url=URL [--flag=value ...]',
              *usage.describe(OWN_SWITCHES, {}), 'and every flag of the trainer: bash test/train_full_1p.sh -h',
              sep='\n')
        return 0
    try:
        return _run(parse(argv, environ), environ)
    except RunEnd as error:
        return _fail(error, error.status)
    except StorageError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:                  # printed here, because Python would not redact it
        redaction.complain(traceback.format_exc())
        return 1


def _fail(line: Any, status: int) -> int:
    redaction.complain(str(line))
    return status


def _rank(job: Job, environ: Mapping[str, str]) -> Optional[int]:
    """The rank of this process where the platform starts the boot file once per card, else None."""
    if not environ.get('RANK_ID') or environ.get('RANK_SIZE', '1') == '1':
        return None
    if {'rank_size', 'rank_table'} & set(job.given):
        return None  # the user has this process start all ranks
    return _whole(environ, 'RANK_ID', kinds.whole(0))


def _whole(environ, name, kind):
    try:
        return kind.parse(environ[name])
    except ValueError as error:
        raise InputError('%s=%s (environment): %s' % (name, environ[name], error))


def _own_server(job: Job, environ: Mapping[str, str], rank: int) -> rank_table.Server:
    """The server that has the rank, once the platform has completed the rank table. Raises InputError."""
    path = environ.get('RANK_TABLE_FILE')
    if path:
        rank_table.await_ready(path, _patience(job), may_be_missing=True)
        servers = rank_table.load(path)
    else:
        servers = rank_table.of_this_server(range(_whole(environ, 'RANK_SIZE', kinds.whole(1, MOST_DEVICES)))),
    for server in servers:
        devices = {number: str(device_id) for device_id, number in server.devices}
        if rank in devices:
            if environ.get('ASCEND_DEVICE_ID', devices[rank]) not in ('', devices[rank]):
                raise InputError('ASCEND_DEVICE_ID=%s (environment): rank %d is on device %s in the rank table' % (
                    environ['ASCEND_DEVICE_ID'], rank, devices[rank]))
            return server
    raise InputError('RANK_ID=%d (environment): no such rank in %s' % (
        rank, path or 'RANK_SIZE=' + environ['RANK_SIZE']))


def _patience(job):
    return job.given.get('connect_timeout', switch('connect_timeout').default)


def _run(job: Job, environ: Mapping[str, str]) -> int:
    """The status of the launcher or of what has kept it from being started."""
    job, rank, ranks = _among_ranks(job, environ)
    command = _command(job, environ)
    _make(job.boot, job)
    server = BootProcesses(os.path.abspath(job.boot), rank, ranks)
    child_environ = dict(_child_environ(job, environ), **server.variables)
    planned = _planned(job, command, child_environ)
    if planned.returncode:
        return _fail(planned.stderr.rstrip('\n'), planned.returncode)
    plan = dict(line.split('=', 1) for line in planned.stdout.splitlines() if '=' in line)
    server.gather(_patience(job))
    if server.copies:
        return _copy_and_launch(_on_this_server(job, ranks), plan, server, command, child_environ)
    say('rank %d: the boot process of rank %d copies the data and the results' % (rank, ranks[0]))
    server.await_data()
    return _launch(command, child_environ, server)


def _among_ranks(job: Job, environ: Mapping[str, str]) -> Tuple[Job, int, List[int]]:
    """(the job with its --server_id, the rank of this process, the ranks of its server)."""
    rank = _rank(job, environ)
    if rank is None:
        return job, 0, [0]
    server = _own_server(job, environ, rank)
    if environ.get('RANK_TABLE_FILE') and 'server_id' not in job.given:
        job = job._replace(arguments=job.arguments + ('--server_id=' + server.server_id,))
    return job, rank, [device.rank_id for device in server.devices]


def _planned(job: Job, command: List[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess:
    """The plan of the launcher's flags, before anything is copied."""
    arguments = command[2:]
    if job.own['data_url']:
        _make(job.data, job)
        # The data is not there yet. The launcher plans again when it is, and then looks at it.
        arguments = [one for one in arguments if one != _data_path(job)] + ['--data_path=' + SYNTHETIC]
    planner = [environ['PYTHON'], ROOT, 'plan', '--case=' + job.own['case']]
    return subprocess.run(planner + arguments, env=dict(environ, RANK_SIZE='1', RANK_ID='0'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


def _copy_and_launch(job: Job, plan: Mapping[str, str], server: BootProcesses, command: List[str],
                     environ: Mapping[str, str]) -> int:
    """The status of the launcher in the process that copies for its server, or 1 where the results are not copied."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # else every S3 request is five lines
    storage = Storage(files(), job.own['copy_retries'], job.own['copy_wait'])
    results = Results(storage, job.folders, os.path.join(job.own['cache_dir'], 'outgoing'))
    storage.make_dirs(job.own['train_url'])
    _bring_back(job, storage, results, os.path.basename(plan.get('run_dir', '')))
    if job.own['data_url']:
        say('copying %s to %s' % (job.own['data_url'], job.data))
        storage.fetch(job.own['data_url'], job.data)
    server.share_data()
    with _published_often(results, job.own['copy_interval']):
        status = _launch(command, environ, server)
        server.await_ends()
    try:
        results.publish()
    except _NOT_COPIED as error:
        return _fail('%s; the results are kept in %s' % (error, ' '.join(job.folders)), status or 1)
    say('results are in %s' % job.own['train_url'])
    return status


def _make(directory: str, job: Job) -> None:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InputError('--cache_dir=%s: %s cannot be made: %s' % (job.own['cache_dir'], directory, error.strerror))


def _on_this_server(job: Job, ranks: Sequence[int]) -> Job:
    """The job with the --train_url of this server: a directory below it on all servers but rank 0's.

    Servers have devices of the same numbers, so that their results would overwrite each other.
    """
    if 0 in ranks:
        return job
    own_url = below(job.own['train_url'], 'from-rank-%d' % ranks[0])
    return job._replace(own=dict(job.own, train_url=own_url))


def _command(job: Job, environ: Mapping[str, str]) -> List[str]:
    """The launcher's command line."""
    several = str(job.given.get('rank_size') or environ.get('RANK_SIZE') or 1) != '1' or 'rank_table' in job.given
    if several and job.own['case'] not in ('performance', 'full'):
        raise InputError('--case=%s: is for one rank; several have --case=performance and --case=full' %
                         job.own['case'])
    script = 'train_%s.sh' % _SCRIPTS[job.own['case']] % ('8p' if several else '1p')
    arguments = list(job.arguments)
    if job.own['data_url']:
        arguments.append(_data_path(job))
    if several and 'rank_table' not in job.given:
        if environ.get('RANK_TABLE_FILE'):
            arguments.append('--rank_table=' + environ['RANK_TABLE_FILE'])
        elif 'rank_size' not in job.given:
            arguments.append('--rank_size=' + environ['RANK_SIZE'])
    return ['bash', os.path.join(ROOT, 'test', script), '--output_path=' + job.result] + arguments


def _data_path(job: Job) -> str:
    return '--data_path=' + job.data


def _child_environ(job: Job, environ: Mapping[str, str]) -> Dict[str, str]:
    """The environment of the launcher: without keys, because it copies nothing; GE graphs go to the results."""
    hidden = redaction.variables(environ)
    kept = {name: value for name, value in environ.items() if name not in hidden}
    if kept.get('DUMP_GE_GRAPH'):
        kept.setdefault('DUMP_GRAPH_PATH', os.path.join(os.path.abspath(job.result), 'ge_graph'))
    return dict({'PYTHON': sys.executable}, **kept)


def _bring_back(job: Job, storage: Storage, results: Results, device: str) -> None:
    """With --resume copies the runs under --train_url back, for `device` to go on with.

    Raises InputError without --resume when there are checkpoints, which this job would overwrite.
    """
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


def _hand_over(result: str, device: str) -> None:
    """Moves the newest checkpoints and their summaries to `device`, where the earlier job had another device."""
    newest = {name: checkpoints.newest_step(os.path.join(result, name, 'ckpt')) for name in map(str, DEVICES)}
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


def _launch(command: List[str], environ: Mapping[str, str], server: BootProcesses) -> int:
    """The status of the launcher, to which signals are passed on. The other ranks of `server` learn of a failure."""
    launcher, received = None, []

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
    status = launcher.wait()
    status = status if status >= 0 else 128 - status
    if status:
        server.give_up(status)
    return status


@contextlib.contextmanager
def _published_often(results: Results, interval: float) -> Iterator[None]:
    """Publishes the results every `interval` seconds inside the context.

    In a thread: signals are handled between two calls of the main thread, and copying is one long call.
    """
    ended = threading.Event()
    publisher = threading.Thread(target=_publish_until, args=(ended, results, interval))
    publisher.start()
    try:
        yield
    finally:
        ended.set()
        publisher.join()


def _publish_until(ended: threading.Event, results: Results, interval: float) -> None:
    while not ended.wait(interval):
        try:
            results.publish()
        except _NOT_COPIED as error:
            say('%s; the results stay here until the next copy' % error)
