"""Rank tables, given or generated, and the plan of the ranks that a server starts."""
import copy
import json
import os
import socket
from types import SimpleNamespace

import pytest
from launching import free_ports

from core.errors import InputError
from core.ranks import placement, rank_table
from core.settings import config
from launchers.networks.registry import RECIPES

TWO_SERVERS = {
    'server_count': '2',
    'server_list': [
        {'server_id': '127.0.0.1', 'device': [
            {'device_id': '2', 'device_ip': '192.168.100.101', 'rank_id': '1'},
            {'device_id': '5', 'device_ip': '192.168.100.102', 'rank_id': '0'}]},
        {'server_id': '192.0.2.7', 'device': [
            {'device_id': '0', 'device_ip': '192.168.100.103', 'rank_id': '2'}]}],
    'status': 'completed', 'version': '1.0'}


@pytest.fixture
def write(tmp_path):
    """write(table) -> path of its JSON file."""
    def to_file(table):
        path = tmp_path / 'table.json'
        path.write_text(table if isinstance(table, str) else json.dumps(table))
        return str(path)
    return to_file


def asked(**given):
    """What placement.plan reads of a Config; the 8p launcher's when nothing is given."""
    values = dict(ranks=8, rank_table=None, server_id=None, base_port=None, device_id=0)
    return SimpleNamespace(**dict(values, **given))


def changed(*path_and_value):
    """TWO_SERVERS with the value at a path of keys replaced."""
    table = copy.deepcopy(TWO_SERVERS)
    *path, last, value = path_and_value
    place = table
    for key in path:
        place = place[key]
    place[last] = value
    return table


def test_a_table_is_read_with_the_ranks_of_every_server_in_order(write):
    first, second = rank_table.load(write(TWO_SERVERS))
    assert (first.server_id, first.devices) == ('127.0.0.1', ((5, 0), (2, 1)))
    assert (second.server_id, second.devices) == ('192.0.2.7', ((0, 2),))


def test_numbers_may_be_numbers_as_well_as_strings(write):
    assert len(rank_table.load(write(changed('server_count', 2)))) == 2


FIRST, SECOND = ('server_list', 0), ('server_list', 1)


@pytest.mark.parametrize('table, words', [
    ('{"server_count": "2", ', 'not a rank table: .* line 1 column'),
    ('', 'not a rank table'),
    ('[' * 10 ** 5, 'not a rank table'),
    ('[]', 'the file has no server_list'),
    ('{}', 'the file has no server_list'),
    (changed('server_count', '3'), 'server_count is 3, but server_list has 2'),
    (changed('server_count', 'two'), 'server_count two of the file must be a whole number'),
    (changed('server_list', []), 'server_list of the file is not a list of some'),
    (changed('status', 'initializing'), 'status is initializing'),
    (changed(*SECOND, 'server_id', '127.0.0.1'), 'server_id 127.0.0.1 is 2 times in server_list'),
    (changed(*SECOND, 'device', 'none'), 'device of server 192.0.2.7 is not a list'),
    (changed(*SECOND, 'device', ['none']), 'server 192.0.2.7 has no device_id'),
    (changed(*SECOND, 'device', 0, 'rank_id', '1'), 'rank_id 1 is 2 times'),
    (changed(*SECOND, 'device', 0, 'rank_id', '3'), 'rank_id 2 is missing: 3 devices are ranks 0 to 2'),
    (changed(*SECOND, 'device', 0, 'rank_id', '-1'), 'rank_id -1 of server 192.0.2.7 must be a whole number >= 0'),
    (changed(*SECOND, 'device', 0, 'rank_id', None), 'rank_id None of server 192.0.2.7 must be'),
    (changed(*SECOND, 'device', 0, {'device_id': '0'}), 'server 192.0.2.7 has no rank_id'),
    (changed(*FIRST, 'device', 0, 'device_id', '5'), 'device_id 5 is 2 times in server 127.0.0.1'),
    (changed(*FIRST, 'device', 0, 'device_id', '8'), 'device_id 8 of server 127.0.0.1 .* from 0 to 7'),
])
def test_a_wrong_table_is_refused_in_one_line_that_names_file_and_fault(write, table, words):
    path = write(table)
    with pytest.raises(InputError, match=words) as refusal:
        rank_table.load(path)
    assert str(refusal.value).startswith(path + ': ') and '\n' not in str(refusal.value)


def test_a_table_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / 'table.json'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(InputError, match='not a rank table'):
        rank_table.load(str(path))


def test_without_a_table_one_is_made_for_the_first_devices_of_this_server_as_the_vendors_ship_it(write):
    plan = placement.plan(asked(), on_npu=True)
    table = json.loads(plan.rank_table)
    assert (table['server_count'], table['status'], table['version']) == ('1', 'completed', '1.0')
    (server,) = table['server_list']
    assert server['server_id'] == '127.0.0.1' and len(server['device']) == 8
    assert server['device'][0] == {'device_id': '0', 'device_ip': '192.168.100.101', 'rank_id': '0'}
    assert rank_table.load(write(plan.rank_table))[0].devices == tuple((i, i) for i in range(8))
    assert plan.rank_size == 8 and plan.ranks == plan.devices == tuple(range(8))


def test_rank_size_says_how_many_ranks():
    assert placement.plan(asked(ranks=3), on_npu=False).devices == (0, 1, 2)
    with pytest.raises(InputError, match='--rank_size=9: a server has 8 devices; .* --rank_table'):
        placement.plan(asked(ranks=9), on_npu=False)


def test_a_single_rank_is_on_the_device_of_the_environment_and_needs_no_table_and_no_cores():
    assert placement.plan(asked(ranks=1, device_id=6), on_npu=False) == placement.Job(1, (0,), (6,), (), '', '', '')


def test_a_given_table_says_how_many_ranks_and_on_what_devices(write):
    path, port = write(TWO_SERVERS), free_ports(2)
    plan = placement.plan(asked(ranks=0, rank_table=path, base_port=port), on_npu=False)
    assert (plan.rank_size, plan.ranks, plan.devices) == (3, (0, 1), (5, 2))
    assert (plan.rank_table_file, plan.rank_table) == (path, '')
    with pytest.raises(InputError, match='--rank_size=2: .* has 3 ranks'):
        placement.plan(asked(rank_table=path, ranks=2, base_port=port), on_npu=False)


def test_a_server_is_known_by_its_address_or_by_its_name(write):
    path = write(TWO_SERVERS)
    assert placement.plan(asked(ranks=0, rank_table=path), on_npu=True).ranks == (0, 1)
    assert placement.plan(asked(ranks=0, rank_table=path, server_id='192.0.2.7'), on_npu=True).ranks == (2,)
    with pytest.raises(InputError, match='--server_id=x: must be one of 127.0.0.1, 192.0.2.7'):
        placement.plan(asked(ranks=0, rank_table=path, server_id='x'), on_npu=True)


@pytest.mark.parametrize('server_id, words', [
    ('192.0.2.8', 'this machine is none of the servers 192.0.2.8, 192.0.2.7'),
    ('127.0.0.2', 'this machine has the addresses of several of the servers 127.0.0.1, 127.0.0.2')])
def test_a_server_that_cannot_be_told_is_asked_for(write, server_id, words):
    place = FIRST if server_id == '192.0.2.8' else SECOND
    with pytest.raises(InputError, match='--server_id: needed, ' + words):
        placement.plan(asked(ranks=0, rank_table=write(changed(*place, 'server_id', server_id))), on_npu=True)


def test_ranks_of_several_servers_meet_at_the_ports_from_base_port_on(write):
    path, port = write(TWO_SERVERS), free_ports(2)
    plan = placement.plan(asked(ranks=0, rank_table=path, base_port=port), on_npu=False)
    assert plan.rank_addresses == '127.0.0.1:%d,127.0.0.1:%d,192.0.2.7:%d' % (port, port + 1, port)
    with pytest.raises(InputError, match='--base_port: needed with several servers'):
        placement.plan(asked(ranks=0, rank_table=path), on_npu=False)
    assert placement.plan(asked(ranks=0, rank_table=path), on_npu=True).rank_addresses == ''


def test_ranks_of_one_server_meet_at_free_ports_of_the_loopback():
    addresses = placement.plan(asked(), on_npu=False).rank_addresses.split(',')
    assert len(set(addresses)) == 8
    for address in addresses:
        host, port = address.split(':')
        with socket.socket() as listener:
            listener.bind((host, int(port)))
            listener.listen(1)


def test_a_base_port_that_is_in_use_is_refused():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match='--base_port=%d: port %d of this machine is in use' % (port, port)):
            placement.plan(asked(base_port=port, ranks=2), on_npu=False)


@pytest.mark.parametrize('usable, shares', [
    ({0, 1, 2, 3, 8, 9, 10, 11}, ('0,1', '2,3', '8,9', '10,11')),
    ({0, 1, 2, 3, 4}, ('0', '1', '2', '3,4')),
    ({3, 5}, ('3', '3', '5', '5')),
    ({7}, ('7', '7', '7', '7')),
])
def test_the_cores_that_may_be_used_are_split_evenly(monkeypatch, usable, shares):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: usable)
    assert placement.plan(asked(ranks=4), on_npu=False).cores == shares


@pytest.mark.parametrize('given, environ, words', [
    ({'rank_size': 2}, {}, '--rank_size=2: RANK_SIZE .* is 1; test/train_.*_8p.sh start'),
    ({}, {'RANK_SIZE': '2', 'RANK_ID': '2'}, 'RANK_ID=2 .* below RANK_SIZE=2'),
])
def test_a_rank_that_is_none_of_its_job_is_refused(given, environ, words):
    with pytest.raises(InputError, match=words):
        config.resolve(RECIPES['cspnet'], dict(given, case='performance'), environ)
