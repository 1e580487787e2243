"""Graphs that were compiled for an NPU, kept for the next run that has the same ones (--graph_cache).

The adapter knows a kept graph by its number within the process, and CANN compares names and shapes of variables: not
the graph, its constants, the options or the versions. So a run with another learning rate would train with the first
run's. Here runs that are alike share a directory: its name is a digest of all that shapes the graphs. The number of a
graph depends on what has run before it, so a run that compiles in another order takes nothing more from there.
"""
import contextlib
import fcntl
import glob
import hashlib
import itertools
import json
import os
import re
import shutil
from typing import Any, Dict, Iterator, List, Optional

import tensorflow as tf

from core.ascend import bridge, machine
from core.ascend.switches import npu_optimizer
from core.device import KeptGraphs
from core.log import say
from core.run import Options
from core.settings.config import Config

KEY = 'graph_compiler_cache_dir'
_KEPT = 4                      # directories for each device, those used last
_ORDER = 'order.json'          # the sets of feeds, fetches and targets in their order; written last: all is whole
_NUMBER = re.compile('_[0-9]+$')
_TEMPORARY = re.compile(b'_temp_[0-9a-f]{32}')
_INDEX = '*.idx'               # what CANN looks for when it is given a graph to compile
_VARIABLES = ('ENABLE_', 'GE_', 'TE_', 'AOE_', 'HCCL_')   # of the environment, which the compilers read; how they begin


class GraphCache(KeptGraphs):
    """The graphs of one run in KEY/DIGEST, KEY being the directory that the options have."""

    def __init__(self, config: Config, options: Options, session_config: tf.ConfigProto):
        self._config, self._options, self._session_config = config, options, session_config
        self._root = options[KEY]
        self._known: List[str] = []    # the order that the directory was made in; [] while it is being made
        self._seen: List[str] = []
        self._is_valid = True          # whether CANN may still find graphs in the directory
        self._lock = contextlib.ExitStack()

    def complete(self, graph: tf.Graph) -> None:
        name = _digest(graph, self._config, self._options)
        self._directory = os.path.join(self._root, name)
        os.makedirs(self._directory, exist_ok=True)
        if not self._lock.enter_context(_locked(self._directory)):
            say('--graph_cache=True: another run is using %s; this one compiles its graphs anew' % self._directory)
            del npu_optimizer(self._session_config).parameter_map[KEY]
            self._is_valid = False
            return
        _prune(self._root, self._directory)
        order = os.path.join(self._directory, _ORDER)
        if os.path.exists(order):
            with open(order) as file:
                self._known = json.load(file)
            os.utime(order)            # the pruning goes by it
        else:                          # left by a run that did not end
            _empty(self._directory)
        npu_optimizer(self._session_config).parameter_map[KEY].s = tf.compat.as_bytes(self._directory)
        say('compiled graphs: %s %s' % ('taken from' if self._known else 'kept in', self._directory))

    def watch(self, session: tf.Session) -> None:
        run = session._do_run

        def look_and_run(handle, targets, fetches, feeds, *more):
            self._look([[thing.name for thing in group] for group in (feeds, fetches, targets)])
            return run(handle, targets, fetches, feeds, *more)
        session._do_run = look_and_run

    def _look(self, names):
        """Drops the directory before a graph is compiled that is another than this number's in the run before."""
        text = json.dumps(names)
        if not self._is_valid or text in self._seen:
            return
        self._seen.append(text)
        if self._known and self._known[:len(self._seen)] != self._seen:
            self._is_valid = False
            with contextlib.suppress(OSError):
                os.remove(os.path.join(self._directory, _ORDER))
            for path in glob.glob(os.path.join(glob.escape(self._directory), _INDEX)):
                os.remove(path)
            say('--graph_cache=True: this run does something in another order than the one before: what is left is '
                'compiled anew')

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        with self._lock:
            if kind is None and self._is_valid and not self._known:
                aside = os.path.join(self._directory, _ORDER + '.aside')
                with open(aside, 'w') as file:
                    json.dump(self._seen, file)
                os.replace(aside, os.path.join(self._directory, _ORDER))


def _digest(graph, config, options):
    """A name for all that shapes the graphs which CANN compiles for this run."""
    facts: Dict[str, Any] = {
        'options': {key: value for key, value in options.items() if key != KEY},
        'files': {key: _file_digest(value) for key, value in options.items() if os.path.isfile(str(value))},
        'ranks': [config.rank, config.ranks, config.device_id],
        'rank table': _file_digest(os.environ.get('RANK_TABLE_FILE')),
        'environment': {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)},
        'overflow mode': config.npu_sat_mode,
        'chip': machine.name(), 'cann': machine.cann(os.environ), 'driver': machine.driver(os.environ),
        'adapter': bridge.fingerprint()}
    text = json.dumps(facts, sort_keys=True, default=str).encode()
    return hashlib.sha256(text + b''.join(_canonical(graph))).hexdigest()


def _canonical(graph):
    """The parts of the GraphDef as bytes, without what differs by chance.

    Left out are the order of the functions, numbers in their names, and temporary names of a Saver.
    """
    definition = graph.as_graph_def()
    functions = list(definition.library.function)
    for function in functions:
        function.signature.name = _NUMBER.sub('', function.signature.name)
    for node in itertools.chain(definition.node, *[function.node_def for function in functions]):
        for attribute in node.attr.values():
            kind = attribute.WhichOneof('value')
            if kind == 'func':
                attribute.func.name = _NUMBER.sub('', attribute.func.name)
            elif kind == 'tensor' and attribute.tensor.string_val[:1] and _TEMPORARY.match(
                    attribute.tensor.string_val[0]):
                del attribute.tensor.string_val[:]
    parts = sorted(function.SerializeToString(deterministic=True) for function in functions)
    definition.ClearField('library')
    return parts + [definition.SerializeToString(deterministic=True)]


def _file_digest(path) -> Optional[str]:
    if not path or not os.path.isfile(path):
        return None
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


@contextlib.contextmanager
def _locked(directory) -> Iterator[bool]:
    """Whether this process alone has the directory; the lock ends with the process, however that ends."""
    number = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        has_it = True
    except OSError:
        has_it = False
    try:
        yield has_it
    finally:
        os.close(number)


def _prune(root, own):
    """Removes directories that no run uses: those that are not whole, and all but the newest of the others."""
    def used(path):
        order = os.path.join(path, _ORDER)
        return os.path.getmtime(order) if os.path.exists(order) else 0
    others = [path for path in glob.glob(os.path.join(glob.escape(root), '?' * hashlib.sha256().digest_size * 2))
              if path != own]
    others.sort(key=used, reverse=True)
    for path in others[_KEPT - 1:] + [path for path in others[:_KEPT - 1] if not used(path)]:
        with _locked(path) as has_it:
            if has_it:
                shutil.rmtree(path, ignore_errors=True)


def _empty(directory):
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.remove(entry.path)
