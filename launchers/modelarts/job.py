"""A job on ModelArts: data in, one of the launchers, results out (docs/vendor-contract.md section 6).

    --data_url  -> CACHE_DIR/dataset -> launcher -> CACHE_DIR/result -> --train_url, every few minutes and at the end

The platform starts the boot file once per card: launchers/modelarts/server.py has these processes work together.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from core.errors import InputError
from core.settings import flags, kinds
from core.settings.table import ROOT, SYNTHETIC, switch
from core.training import checkpoints
from launchers import usage
from launchers.modelarts import rank_runner, redaction, server
from launchers.modelarts.arguments import DEVICES, OWN_SWITCHES, Job, below, parse
from launchers.modelarts.redaction import say
from launchers.modelarts.storage import Storage, StorageError, files
from launchers.modelarts.upload import Results
from launchers.ranks import rank_table

_NOT_COPIED = (InputError, StorageError, OSError)  # the last: a full disk here
_SCRIPTS = {'performance': 'performance_%s', 'full': 'full_%s', 'static_eval': 'performance_%s_static_eval',
            'dynamic_eval': 'performance_%s_dynamic_eval'}


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The status of the job: the launcher's, or 2 for bad input, 130 after Ctrl-C before it, 1 for anything else.

    All boot processes of a server return the same status.
    """
    if flags.asks_for_help(argv):
        print('usage: python3 launchers/boot_modelarts.py --train_url=URL [--flag=value ...]',
              *usage.describe(OWN_SWITCHES, {}), 'and every flag of the trainer: bash test/train_full_1p.sh -h',
              sep='\n')
        return 0
    return _guarded(lambda: _run_or_follow(parse(argv, environ), environ))


def _guarded(act: Callable[[], int]) -> int:
    """The status that act() returns, or that of its error, which is printed here because Python would not redact it."""
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


def _fail(line: Any, status: int) -> int:
    redaction.complain(str(line))
    return status


def _run_or_follow(job: Job, environ: Mapping[str, str]) -> int:
    """The status of the job, which this process runs alone, as the leader of its server, or for one rank only."""
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


def _beside_rank(job: Job, environ: Mapping[str, str], rank: int, seconds: int) -> Job:
    """The job with the --server_id of the server that has the rank, once the platform has completed the rank table."""
    path = environ.get('RANK_TABLE_FILE')
    if not path or 'server_id' in job.given:
        return job
    deadline, told = time.monotonic() + seconds, False
    while not _is_completed(path) and time.monotonic() < deadline:
        if not told:
            say('waiting until the platform has completed %s' % path)
        told = True
        time.sleep(.5)
    for place in rank_table.load(path):
        if rank in [device.rank_id for device in place.devices]:
            return job._replace(arguments=job.arguments + ('--server_id=' + place.server_id,))
    raise InputError('RANK_ID=%d (environment): %s has no such rank' % (rank, path))


def _is_completed(path: str) -> bool:
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file).get('status') == 'completed'
    except (OSError, ValueError, AttributeError):  # not written, or not to its end
        return False


def _run(job: Job, environ: Mapping[str, str], gather: Callable[[Dict[str, str]], None] = lambda plan: None,
         runner: Mapping[str, str] = {}) -> int:
    """The status of the launcher or of what has kept it from being started.

    gather(plan): waits for the other boot processes of this server; runner: variables for the launcher that has the
    boot processes run the trainers.
    """
    command, child_environ = _command(job, environ), dict(_child_environ(job, environ), **runner)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # else every S3 request is five lines
    arguments = command[2:]
    if job.own['data_url']:
        _make(job.data, job)
        # The data is not there yet. The launcher plans again when it is, and then looks at it.
        arguments = [one for one in arguments if one != _data_path(job)] + ['--data_path=' + SYNTHETIC]
    planner = [child_environ['PYTHON'], ROOT, 'plan', '--case=' + job.own['case']]
    planned = subprocess.run(planner + arguments, env=dict(child_environ, RANK_SIZE='1', RANK_ID='0'),
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


def _make(directory: str, job: Job) -> None:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InputError('--cache_dir=%s: %s cannot be made: %s' % (job.own['cache_dir'], directory, error.strerror))


def _on_this_server(job: Job, plan: Mapping[str, str]) -> Job:
    """The job with the --train_url of this server: a place below it on all servers but that of rank 0.

    Servers have devices of the same numbers, so that their results would overwrite each other.
    """
    ranks = plan.get('ranks', '0').split()
    if '0' in ranks:
        return job
    place = below(job.own['train_url'], 'from-rank-' + ranks[0])
    return job._replace(own=dict(job.own, train_url=place))


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


def _launch(command: List[str], environ: Mapping[str, str], results: Results, interval: float) -> int:
    """The status of the launcher, to which signals are passed on; publishes results while it runs."""
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


def _publish_often(results: Results, interval: float, ended: threading.Event) -> None:
    while not ended.wait(interval):
        try:
            results.publish()
        except _NOT_COPIED as error:
            say('%s; the results stay here until the next copy' % error)
