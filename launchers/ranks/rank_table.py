"""Rank tables: the JSON file with the server and the device of each rank (docs/vendor-contract.md section 5).

Four forms are read: server_list of version 1.0, of version 1.2 with super_pod_list (A3), without a version, and the
older group_list with instance_list (jobstart_hccl.json of ModelArts). All rules of HCCL are checked here, because HCCL
waits with a wrong table for ranks that never come.
"""
import collections
import json
import os
import re
import sys
import time
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from core import files
from core.errors import InputError
from core.log import one_line
from core.settings import kinds
from core.settings.table import DEVICES_OF_A_SERVER, MOST_DEVICES

LOOPBACK = '127.0.0.1'
VERSIONS = ('1.0', '1.2')
A3_VERSION = '1.2'             # of tables with a super_pod_list; their servers have up to 16 devices
RING = DEVICES_OF_A_SERVER // 2   # devices 0-3 and 4-7 of a 910 server are connected as two rings


class RankDevice(NamedTuple):
    """An entry of a server's `device`."""
    device_id: int
    rank_id: int


class Server(NamedTuple):
    """An entry of `server_list`."""
    server_id: str             # its address
    devices: Tuple[RankDevice, ...]    # by rank_id


def of_this_server(device_ids: Sequence[int]) -> Server:
    """The only Server of a job: ranks 0, 1, ... are on these devices of this machine."""
    return Server(LOOPBACK, tuple(RankDevice(device_id, rank) for rank, device_id in enumerate(device_ids)))


def text(server: Server, addresses: Dict[int, str]) -> str:
    """The rank table of a job on this one server, as JSON on one line; addresses: {device_id: device_ip}."""
    devices = [{'device_id': str(device.device_id), 'device_ip': addresses[device.device_id],
                'rank_id': str(device.rank_id)} for device in server.devices]
    return json.dumps({'server_count': '1', 'server_list': [{'server_id': server.server_id, 'device': devices}],
                       'status': 'completed', 'version': '1.0'})


def load(path: str) -> Tuple[Server, ...]:
    """The Servers of the rank table `path`. Raises InputError for what is wrong in it."""
    try:
        return _servers(files.json_object(path))
    except ValueError as error:
        raise InputError('%s: not a rank table: %s' % (path, error))


def await_ready(path: str, seconds: float, may_be_missing: bool = False) -> None:
    """Returns when a rank table that the platform has still to fill is neither empty nor initializing.

    may_be_missing: whether the platform may have to make the file, too.

    Raises InputError when that takes more than so many seconds. A table that is wrong is left to load().
    """
    deadline, told = time.monotonic() + seconds, False
    while True:
        state = 'missing' if may_be_missing and not os.path.lexists(path) else _unready(path)
        if not state:
            return
        if not told:
            print(one_line('%s: the rank table is %s: waiting up to %d seconds (--connect_timeout) for the platform to '
                           'complete it' % (path, state, seconds)), file=sys.stderr, flush=True)
            told = True
        if time.monotonic() >= deadline:
            raise InputError('%s: the rank table is still %s after %d seconds; see why the platform does not complete '
                             'it, or give it more by --connect_timeout' % (path, state, seconds))
        time.sleep(.2)


def _unready(path):
    """'empty', 'initializing', or '' for a table that is whole or wrong."""
    try:
        content = files.text(path)
        return '' if content.strip() and files.json_object(path).get('status') != 'initializing' else (
            'initializing' if content.strip() else 'empty')
    except ValueError:
        return ''


def check_910(path: str, servers: Sequence[Server]) -> None:
    """Raises InputError for devices that HCCL cannot connect on a server of 910s."""
    for server in servers:
        ids = sorted(device.device_id for device in server.devices)
        found = '%s: server %s has devices %s' % (path, server.server_id, ', '.join(map(str, ids)))
        if len(ids) not in (1, 2, 4, 8):
            raise InputError('%s; on 910s a server takes part with 1, 2, 4 or 8 devices' % found)
        if len(ids) in (2, 4) and ids[0] // RING != ids[-1] // RING:
            raise InputError('%s; on 910s %d devices are all of 0 to %d or all of %d to %d' % (
                found, len(ids), RING - 1, RING, 2 * RING - 1))


def _servers(table: Any) -> Tuple[Server, ...]:
    """The Servers of a parsed rank table; raises ValueError with what is wrong."""
    if isinstance(table, dict) and 'group_list' in table:
        return _checked(_of_groups(table))
    version = str(table.get('version', VERSIONS[0])) if isinstance(table, dict) else None
    entries = _entries(table, 'server_list', 'the file')
    if version not in VERSIONS:
        raise ValueError('version is %s, must be one of %s' % (version, ', '.join(VERSIONS)))
    devices = MOST_DEVICES if version == A3_VERSION else DEVICES_OF_A_SERVER
    servers = tuple(_server(entry, devices) for entry in entries)
    _check_status(table)
    if _number(table, 'server_count', kinds.whole(), 'the file') != len(servers):
        raise ValueError('server_count is %s, but server_list has %d' % (table['server_count'], len(servers)))
    if 'super_pod_list' in table:
        _check_pods(table, servers)
    return _checked(servers)


def _of_groups(table: Dict[str, Any]) -> Tuple[Server, ...]:
    """The Servers of a table with group_list: ranks follow the order of the file, or start at an instance's rank_id."""
    _check_status(table)
    groups = _entries(table, 'group_list', 'the file')
    if _number(table, 'group_count', kinds.whole(), 'the file') != len(groups):
        raise ValueError('group_count is %s, but group_list has %d' % (table['group_count'], len(groups)))
    by_server: Dict[str, List[RankDevice]] = {}
    rank = 0
    for instance in (one for group in groups for one in _entries(group, 'instance_list', 'a group')):
        server_id = _server_id(instance, 'an entry of instance_list')
        if 'rank_id' in instance:
            rank = _number(instance, 'rank_id', kinds.whole(0), 'server %s' % server_id)
        for entry in _entries(instance, 'devices', 'server %s' % server_id):
            number = _number(entry, 'device_id', kinds.whole(0, DEVICES_OF_A_SERVER - 1), 'server %s' % server_id)
            by_server.setdefault(server_id, []).append(RankDevice(number, rank))
            rank += 1
    return tuple(Server(server_id, _by_rank(devices)) for server_id, devices in by_server.items())


def _server(entry: Any, devices_of_a_server: int) -> Server:
    server_id = _server_id(entry, 'an entry of server_list')
    holder = 'server %s' % server_id
    devices = [RankDevice(_number(device, 'device_id', kinds.whole(0, devices_of_a_server - 1), holder),
                          _number(device, 'rank_id', kinds.whole(0), holder))
               for device in _entries(entry, 'device', holder)]
    return Server(server_id, _by_rank(devices))


def _by_rank(devices: List[RankDevice]) -> Tuple[RankDevice, ...]:
    return tuple(sorted(devices, key=lambda device: device.rank_id))


def _checked(servers: Tuple[Server, ...]) -> Tuple[Server, ...]:
    """The servers. Raises ValueError unless every rank is there once, and one server's ranks after another's."""
    _refuse_twice('server_id', [server.server_id for server in servers], 'server_list')
    for server in servers:
        _refuse_twice('device_id', [device.device_id for device in server.devices], 'server %s' % server.server_id)
    ranks = [device.rank_id for server in servers for device in server.devices]
    _refuse_twice('rank_id', ranks, 'the file')
    missing = sorted(set(range(len(ranks))) - set(ranks))
    if missing:
        raise ValueError('rank_id %d is missing: %d devices are ranks 0 to %d' % (
            missing[0], len(ranks), len(ranks) - 1))
    for server in servers:
        first, last = server.devices[0].rank_id, server.devices[-1].rank_id
        if last - first + 1 != len(server.devices):
            raise ValueError('the ranks of server %s are not consecutive: between %d and %d there are ranks of another '
                             'server' % (server.server_id, first, last))
    return servers


def _check_status(table: Dict[str, Any]) -> None:
    if _member(table, 'status', 'the file') != 'completed':
        raise ValueError('status is %s, not completed' % table['status'])


def _check_pods(table: Dict[str, Any], servers: Sequence[Server]) -> None:
    """ValueError unless each server is in exactly one super pod."""
    named = [str(_member(entry, 'server_id', 'an entry of super_pod_list'))
             for pod in _entries(table, 'super_pod_list', 'the file')
             for entry in _entries(pod, 'server_list', 'a super pod')]
    _refuse_twice('server_id', named, 'super_pod_list')
    missing = {server.server_id for server in servers} ^ set(named)
    if missing:
        raise ValueError('server %s is in one of server_list and super_pod_list only' % min(missing))


def _member(record: Any, key: str, holder: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise ValueError('%s has no %s' % (holder, key))
    return record[key]


def _entries(record: Any, key: str, holder: str) -> List[Any]:
    entries = _member(record, key, holder)
    if not isinstance(entries, list) or not entries:
        raise ValueError('%s of %s must be a non-empty list' % (key, holder))
    return entries


def _server_id(record: Any, holder: str) -> str:
    """A server's address or name, on one line."""
    server_id = _member(record, 'server_id', holder)
    if not isinstance(server_id, str) or not re.fullmatch(r'[\w.:%-]{1,255}', server_id):
        raise ValueError('the server_id of %s is %.40r, not an address or a name' % (holder, server_id))
    return server_id


def _number(record: Any, key: str, kind: kinds.Kind, holder: str) -> int:
    """A whole number, which rank tables write as a string."""
    value = _member(record, key, holder)
    try:
        return kind.parse(str(value))
    except ValueError as error:
        raise ValueError('%s %.40s of %s %s' % (key, value, holder, error))


def _refuse_twice(key: str, found: Sequence[Any], holder: str) -> None:
    value, count = collections.Counter(found).most_common(1)[0]
    if count > 1:
        raise ValueError('%s %s is %d times in %s' % (key, value, count, holder))
