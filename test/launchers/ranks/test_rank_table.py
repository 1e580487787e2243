"""Rank tables, given or generated, and the plan of the ranks that a server starts."""
import copy
import json
import os
import socket
from types import SimpleNamespace

import pytest
from launching import PATIENCE, free_ports

from core.errors import InputError
from core.ascend import machine
from launchers.ranks import device_addresses, placement, rank_table
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
TRUSTED = '127.0.0.1,192.0.2.7'


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
    values = dict(ranks=8, rank_table=None, server_id=None, base_port=None, trusted_network=None, device_id=0,
                  connect_timeout=0)
    return SimpleNamespace(**dict(values, **given))


def changed(*path_and_value):
    """TWO_SERVERS with the value at a path of keys replaced."""
    table = copy.deepcopy(TWO_SERVERS)
    *path, last, value = path_and_value
    holder = table
    for key in path:
        holder = holder[key]
    holder[last] = value
    return table


def test_a_table_is_read_with_the_ranks_of_every_server_in_order(write):
    first, second = rank_table.load(write(TWO_SERVERS))
    assert (first.server_id, first.devices) == ('127.0.0.1', ((5, 0), (2, 1)))
    assert (second.server_id, second.devices) == ('192.0.2.7', ((0, 2),))


def test_numbers_may_be_numbers_as_well_as_strings(write):
    assert len(rank_table.load(write(changed('server_count', 2)))) == 2


FIRST, SECOND = ('server_list', 0), ('server_list', 1)
GROUPS = {
    'status': 'completed', 'group_count': '1', 'group_list': [{
        'group_name': 'worker', 'device_count': '3', 'instance_count': '2', 'instance_list': [
            {'pod_name': 'job-0', 'server_id': '127.0.0.1', 'devices': [
                {'device_id': '4', 'device_ip': '192.168.0.1'}, {'device_id': '5', 'device_ip': '192.168.0.2'}]},
            {'pod_name': 'job-1', 'server_id': '192.0.2.7', 'devices': [
                {'device_id': '0', 'device_ip': '192.168.100.103'}]}]}]}


def super_pods(servers=('node0', 'node1'), devices=16):
    """A table of version 1.2, as A3 machines have it."""
    return {
        'version': '1.2', 'status': 'completed', 'server_count': str(len(servers)),
        'server_list': [{'server_id': server, 'device': [
            {'device_id': str(i), 'super_device_id': str(i), 'device_ip': '192.168.%d.%d' % (index, i),
             'rank_id': str(index * devices + i)} for i in range(devices)]} for index, server in enumerate(servers)],
        'super_pod_list': [{'super_pod_id': '0', 'server_list': [{'server_id': server} for server in servers]}]}


def test_the_older_form_with_groups_numbers_the_ranks_in_its_order(write):
    first, second = rank_table.load(write(GROUPS))
    assert (first.server_id, first.devices) == ('127.0.0.1', ((4, 0), (5, 1)))
    assert (second.server_id, second.devices) == ('192.0.2.7', ((0, 2),))


def test_an_instance_with_a_rank_id_names_the_rank_of_its_first_device(write):
    instances = [{'server_id': '10.0.0.1', 'rank_id': str(1 - device), 'devices': [{'device_id': str(device)}]}
                 for device in range(2)]
    server, = rank_table.load(write({'status': 'completed', 'group_count': '1', 'group_list': [
        {'instance_list': instances}]}))
    assert server.devices == ((1, 0), (0, 1))


def test_a_table_with_super_pods_may_have_16_devices_a_server(write):
    first, second = rank_table.load(write(super_pods()))
    assert len(first.devices) == len(second.devices) == 16 and second.devices[0] == (0, 16)


@pytest.mark.parametrize('content, state', [
    (None, 'missing'), ('', 'empty'), ('\n', 'empty'), ('{"status": "initializing"}', 'initializing'),
    ('{"status":"initializing","server_list":[],"server_count":"0","version":"1.0"}', 'initializing')])
def test_a_table_that_the_platform_has_still_to_fill_is_waited_for(tmp_path, monkeypatch, capfd, content, state):
    path = tmp_path / 'table.json'

    def write():
        if content is not None:
            path.write_text(content)
    write()
    monkeypatch.setattr(rank_table.time, 'sleep', lambda seconds: path.write_text('{"status": "completed"}'))
    rank_table.await_ready(str(path), 60, content is None)
    error = capfd.readouterr().err
    assert error.count('\n') == 1 and 'the rank table is %s: waiting up to 60 seconds' % state in error
    path.unlink()
    write()
    with pytest.raises(InputError, match='is still %s after 0 seconds; .*--connect_timeout' % state):
        rank_table.await_ready(str(path), 0, content is None)


@pytest.mark.parametrize('content', ['{"status": "completed"}', '{"status": "failed"}', '[]', 'no JSON', None])
def test_a_table_that_is_whole_or_wrong_is_not_waited_for(tmp_path, capfd, content):
    path = tmp_path / 'table.json'
    if content is not None:
        path.write_text(content)
    rank_table.await_ready(str(path), 60)
    assert capfd.readouterr().err == ''


def test_the_table_of_16_devices_that_set_ranktable_writes_is_a_rank_table(write):
    """Two 910 servers of eight; every value is text, and ranks are numbered through."""
    servers = ('192.0.2.6', '192.0.2.7')
    table = {'server_count': '2', 'server_list': [{'server_id': server, 'device': [
        {'device_id': str(i), 'device_ip': '192.168.%d.%d' % (100 + i % 4, 100 + 2 * index + i // 4),
         'rank_id': str(8 * index + i)} for i in range(8)]} for index, server in enumerate(servers)],
        'status': 'completed', 'version': '1.0'}
    path = write(table)
    assert [server.server_id for server in rank_table.load(path)] == list(servers)
    rank_table.check_910(path, rank_table.load(path))
    ours = placement.plan(asked(ranks=0, rank_table=path, server_id='192.0.2.7'), on_npu=True, family='910')
    assert (ours.rank_size, ours.ranks, ours.devices) == (16, tuple(range(8, 16)), tuple(range(8)))


@pytest.mark.parametrize('ids, words', [
    ([0], None), ([6, 7], None), ([0, 1, 2, 3], None), ([4, 5, 6, 7], None), (range(8), None),
    ([0, 1, 2], 'takes part with 1, 2, 4 or 8 devices'), ([3, 4], 'all of 0 to 3 or all of 4 to 7'),
    ([1, 2, 3, 4], 'all of 0 to 3 or all of 4 to 7'), (range(6), 'with 1, 2, 4 or 8 devices')])
def test_on_910s_only_the_devices_that_hccl_can_connect_are_taken(ids, words):
    servers = [rank_table.of_this_server(ids)]
    if words is None:
        rank_table.check_910('table.json', servers)
    else:
        with pytest.raises(InputError, match='table.json: server .*' + words):
            rank_table.check_910('table.json', servers)


def test_the_rule_for_910s_binds_no_other_chip_and_no_rehearsal():
    assert placement.plan(asked(ranks=3), on_npu=True, family='A2').devices == (0, 1, 2)
    with pytest.raises(InputError, match='--rank_size=3: server .* has devices 0, 1, 2; on 910s'):
        placement.plan(asked(ranks=3), on_npu=True, family='910')


@pytest.mark.parametrize('name, family', [
    ('910A', '910'), ('910ProB', '910'), ('910B', '910'), ('910B3', 'A2'), ('910_9391', 'A3'), ('Ascend910', 'A3'),
    ('950PR', '950'), ('310P3', None)])
def test_npu_smi_tells_the_family_of_the_chip(name, family):
    answer = ('+------+\n| npu-smi 23.0.rc2   Version: 23.0.rc2 |\n| NPU   Name | Health | Power(W) |\n'
              '| 0     %s              | OK            | 89.5    |\n' % name)
    assert machine.family_in(answer) == family


def test_device_addresses_are_the_configured_ones(monkeypatch, tmp_path):
    conf = tmp_path / 'hccn.conf'
    conf.write_text('arp_0=x\naddress_0=10.1.0.1\n address_1 = 10.1.0.2\nnetmask_0=255.255.0.0\n')
    monkeypatch.setattr(device_addresses, 'HCCN_CONF', str(conf))
    plan = placement.plan(asked(ranks=2), on_npu=True)
    devices = json.loads(plan.rank_table)['server_list'][0]['device']
    assert [device['device_ip'] for device in devices] == ['10.1.0.1', '10.1.0.2']
    assert plan.rank_table_source == str(conf)


def test_without_a_configuration_hccn_tool_is_asked(monkeypatch, tmp_path):
    tool = tmp_path / 'hccn_tool'
    tool.write_text('#!/bin/sh\n[ "$1 $3 $4" = "-i -ip -g" ] && echo "ipaddr:10.2.0.$2"; echo "netmask:255.255.0.0"\n')
    tool.chmod(0o755)
    monkeypatch.setattr(device_addresses, 'HCCN_CONF', str(tmp_path / 'absent'))
    monkeypatch.setattr(device_addresses, 'HCCN_TOOL', (str(tool),))
    monkeypatch.setattr(device_addresses, '_SECONDS', PATIENCE)
    assert device_addresses.device_addresses([2, 5]) == ({2: '10.2.0.2', 5: '10.2.0.5'}, 'hccn_tool')


def test_where_nothing_is_configured_the_addresses_are_the_vendors(monkeypatch, tmp_path):
    monkeypatch.setattr(device_addresses, 'HCCN_CONF', str(tmp_path / 'absent'))
    monkeypatch.setattr(device_addresses, 'HCCN_TOOL', ())
    addresses, source = device_addresses.device_addresses(range(8))
    assert list(addresses.values()) == ['192.168.%d.101' % n for n in (100, 101, 102, 103)] + [
        '192.168.%d.100' % n for n in (100, 101, 102, 103)]
    assert 'example' in source


@pytest.mark.parametrize('table, words', [
    ('{"server_count": "2", ', 'not a rank table: .* line 1 column'),
    ('', 'not a rank table'),
    ('[' * 10 ** 5, 'not a rank table'),
    ('[]', 'is JSON, but no object'),
    ('{}', 'the file has no server_list'),
    (changed('server_count', '3'), 'server_count is 3, but server_list has 2'),
    (changed('server_count', 'two'), 'server_count two of the file must be a whole number'),
    (changed('server_list', []), 'server_list of the file must be a non-empty list'),
    (changed('status', 'initializing'), 'status is initializing'),
    (changed('version', '2.0'), 'version is 2.0, must be one of 1.0, 1.2'),
    (changed('server_list', [
        {'server_id': 'a', 'device': [{'device_id': '0', 'rank_id': '0'}, {'device_id': '1', 'rank_id': '2'}]},
        {'server_id': 'b', 'device': [{'device_id': '0', 'rank_id': '1'}]}]),
     'the ranks of server a are not consecutive'),
    (dict(GROUPS, status='initializing'), 'status is initializing'),
    (dict(GROUPS, group_count='2'), 'group_count is 2, but group_list has 1'),
    (dict(super_pods(), super_pod_list=[{'super_pod_id': '0', 'server_list': [{'server_id': 'node0'}]}]),
     'server node1 is in one of server_list and super_pod_list only'),
    (changed(*SECOND, 'server_id', '127.0.0.1'), 'server_id 127.0.0.1 is 2 times in server_list'),
    (changed(*SECOND, 'device', 'none'), 'device of server 192.0.2.7 must be a non-empty list'),
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
    assert placement.plan(asked(ranks=1, device_id=6), on_npu=False) == placement.RanksOfServer(
        1, (0,), (6,), (), '', '', '', '')


def test_a_given_table_says_how_many_ranks_and_on_what_devices(write):
    path, port = write(TWO_SERVERS), free_ports(2)
    plan = placement.plan(asked(ranks=0, rank_table=path, base_port=port, trusted_network=TRUSTED), on_npu=False)
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
    path = FIRST if server_id == '192.0.2.8' else SECOND
    with pytest.raises(InputError, match='--server_id: needed, ' + words):
        placement.plan(asked(ranks=0, rank_table=write(changed(*path, 'server_id', server_id))), on_npu=True)


def test_ranks_of_several_servers_meet_at_the_ports_from_base_port_on(write):
    path, port = write(TWO_SERVERS), free_ports(2)
    plan = placement.plan(asked(ranks=0, rank_table=path, base_port=port, trusted_network=TRUSTED), on_npu=False)
    assert plan.rank_addresses == '127.0.0.1:%d,127.0.0.1:%d,192.0.2.7:%d' % (port, port + 1, port)
    with pytest.raises(InputError, match='--base_port: needed with several servers'):
        placement.plan(asked(ranks=0, rank_table=path), on_npu=False)
    assert placement.plan(asked(ranks=0, rank_table=path), on_npu=True).rank_addresses == ''


def test_ranks_of_several_servers_start_only_where_the_network_is_trusted_by_name(write):
    path, port = write(TWO_SERVERS), free_ports(2)
    for trusted in (None, '127.0.0.1', '127.0.0.1,192.0.2.8', '127.0.0.1,192.0.2.7,192.0.2.8', 'yes'):
        with pytest.raises(InputError, match='--trusted_network: .* read and write all files .*%s' % TRUSTED):
            placement.plan(asked(ranks=0, rank_table=path, base_port=port, trusted_network=trusted), on_npu=False)
    said = placement.plan(asked(ranks=0, rank_table=path, base_port=port, trusted_network='192.0.2.7,127.0.0.1'),
                          on_npu=False).open_ports
    assert said.startswith('Ports %d to %d of this machine are open to everybody' % (port, port + 1))
    assert 'can read and write all files of this user' in said


def test_ranks_of_one_server_and_npus_open_no_port(write):
    for name, value in (('base_port', 20000), ('trusted_network', TRUSTED)):
        with pytest.raises(InputError, match='--%s: only ranks of several servers off an NPU open ports' % name):
            placement.plan(asked(ranks=2, **{name: value}), on_npu=False)
        with pytest.raises(InputError, match='--%s: only' % name):
            placement.plan(asked(ranks=0, rank_table=write(TWO_SERVERS), **{name: value}), on_npu=True)
    alone = placement.plan(asked(), on_npu=False)
    assert (alone.rank_addresses, alone.open_ports) == ('', '')


def test_a_base_port_that_is_in_use_is_refused(write):
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match='--base_port=%d: port %d of this machine is in use' % (port, port)):
            placement.plan(asked(base_port=port, ranks=0, rank_table=write(TWO_SERVERS), trusted_network=TRUSTED),
                           on_npu=False)


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


def test_an_exported_rank_table_counts_like_the_flag_but_not_for_a_single_rank(write):
    path, recipe = write(TWO_SERVERS), RECIPES['cspnet']
    given = {'data_path': 'synthetic'}
    several = config.resolve(recipe, given, {'RANK_SIZE': '8', 'RANK_TABLE_FILE': path}, planning=True)
    assert (several.rank_table, several.ranks) == (path, 0)
    single = config.resolve(recipe, given, {'RANK_SIZE': '1', 'RANK_TABLE_FILE': path}, planning=True)
    assert (single.rank_table, single.ranks) == (None, 1)
    with pytest.raises(InputError, match='RANK_TABLE_FILE=/absent .environment.: must be a file'):
        config.resolve(recipe, given, {'RANK_SIZE': '8', 'RANK_TABLE_FILE': '/absent'}, planning=True)
