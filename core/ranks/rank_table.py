"""Rank tables: the JSON file that says which device of which server is which rank (docs/vendor-contract.md section 5).

Checked here because HCCL's own answer to a wrong one is to wait for ranks that never come.
"""
import collections
import json
from typing import NamedTuple, Tuple

from core.errors import InputError
from core.settings import kinds
from core.settings.table import MOST_DEVICES

LOOPBACK = '127.0.0.1'


class Device(NamedTuple):
    """An entry of a server's `device`."""
    device_id: int
    rank_id: int


class Server(NamedTuple):
    """An entry of `server_list`."""
    server_id: str             # its address
    devices: Tuple[Device, ...]    # by rank_id


def of_this_server(device_ids):
    """The only Server of a job whose ranks 0, 1, ... are on these devices of this machine."""
    return Server(LOOPBACK, tuple(Device(device_id, rank) for rank, device_id in enumerate(device_ids)))


def text(server):
    """The rank table of a job on this one server, as JSON on one line, with the vendors' device addresses."""
    devices = [{'device_id': str(device.device_id), 'device_ip': '192.168.100.%d' % (101 + device.device_id),
                'rank_id': str(device.rank_id)} for device in server.devices]
    return json.dumps({'server_count': '1', 'server_list': [{'server_id': server.server_id, 'device': devices}],
                       'status': 'completed', 'version': '1.0'})


def load(path):
    """The Servers of the rank table `path`. Raises InputError for what is wrong in it."""
    try:
        with open(path, encoding='utf-8') as table:
            return _servers(json.load(table))
    except OSError as error:
        raise InputError('%s: cannot be read: %s' % (path, error.strerror))
    except (ValueError, RecursionError) as error:
        raise InputError('%s: not a rank table: %s' % (path, error))


def _servers(table):
    """The Servers of a parsed rank table; ValueError says what is wrong."""
    servers = tuple(map(_server, _entries(table, 'server_list', 'the file')))
    if _member(table, 'status', 'the file') != 'completed':
        raise ValueError('status is %s, not completed' % table['status'])
    if _number(table, 'server_count', kinds.whole(), 'the file') != len(servers):
        raise ValueError('server_count is %s, but server_list has %d' % (table['server_count'], len(servers)))
    _refuse_twice('server_id', [server.server_id for server in servers], 'server_list')
    ranks = [device.rank_id for server in servers for device in server.devices]
    _refuse_twice('rank_id', ranks, 'the file')
    missing = sorted(set(range(len(ranks))) - set(ranks))
    if missing:
        raise ValueError('rank_id %d is missing: %d devices are ranks 0 to %d' % (
            missing[0], len(ranks), len(ranks) - 1))
    return servers


def _server(entry):
    server_id = _member(entry, 'server_id', 'an entry of server_list')
    place = 'server %s' % server_id
    devices = [Device(_number(device, 'device_id', kinds.whole(0, MOST_DEVICES - 1), place),
                      _number(device, 'rank_id', kinds.whole(0), place))
               for device in _entries(entry, 'device', place)]
    _refuse_twice('device_id', [device.device_id for device in devices], place)
    return Server(str(server_id), tuple(sorted(devices, key=lambda device: device.rank_id)))


def _member(record, key, place):
    if not isinstance(record, dict) or key not in record:
        raise ValueError('%s has no %s' % (place, key))
    return record[key]


def _entries(record, key, place):
    entries = _member(record, key, place)
    if not isinstance(entries, list) or not entries:
        raise ValueError('%s of %s is not a list of some' % (key, place))
    return entries


def _number(record, key, kind, place):
    """A whole number, which rank tables write as a string."""
    value = _member(record, key, place)
    try:
        return kind.parse(str(value))
    except ValueError as error:
        raise ValueError('%s %s of %s %s' % (key, value, place, error))


def _refuse_twice(key, found, place):
    value, count = collections.Counter(found).most_common(1)[0]
    if count > 1:
        raise ValueError('%s %s is %d times in %s' % (key, value, count, place))
