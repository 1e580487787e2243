"""Placement: which ranks a launcher starts on this server, and the devices, cores and addresses of these ranks."""
import os
import socket
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from core.errors import InputError
from core.settings.config import Config
from core.settings.table import DEVICES_OF_A_SERVER
from launchers.ranks import rank_table
from launchers.ranks.device_addresses import device_addresses
from launchers.ranks.rank_table import Server


class RanksOfServer(NamedTuple):
    """What the launcher of this server reads from the plan."""
    rank_size: int                 # ranks of all servers
    ranks: Tuple[int, ...]         # of this server
    devices: Tuple[int, ...]       # ASCEND_DEVICE_ID of each rank
    cores: Tuple[str, ...]         # of each rank, as taskset -c takes them; () for a single rank
    rank_addresses: str            # host:port,... of all ranks, for TensorFlow's own collectives; '' without
    open_ports: str                # the line on the screen about them; '' without
    rank_table_file: str           # the user's; '' without
    rank_table: str                # text of the generated one; '' without
    rank_table_source: str = ''    # where the device addresses in the generated one are from

    def lines(self) -> Dict[str, Any]:
        """The job as {key: text}."""
        return {key: ' '.join(map(str, value)) if isinstance(value, tuple) else value
                for key, value in self._asdict().items()}


def plan(config: Config, on_npu: bool, family: Optional[str] = None, only: Optional[int] = None) -> RanksOfServer:
    """The ranks of `config`; on_npu: ranks exchange tensors by HCCL; family: of the NPUs, where it is known.

    only: the one rank of this server to start, because launchers beside this one start the others; None: all ranks.
    Raises InputError when the flags or the rank table make no job.
    """
    servers = _servers(config)
    here = _this_server(servers, config.server_id)
    size = sum(len(server.devices) for server in servers)
    if config.ranks not in (0, size):
        raise InputError('--rank_size=%d: %s has %d ranks; leave one of the two out' % (
            config.ranks, config.rank_table, size))
    if family == '910':
        rank_table.check_910(config.rank_table or '--rank_size=%d' % size, servers)
    several, uses_network = size > 1, len(servers) > 1 and not on_npu
    mine = [index for index, device in enumerate(here.devices) if only in (None, device.rank_id)]
    cores = _shares(sorted(os.sched_getaffinity(0)), len(here.devices))
    _check_network(config, servers, mine, uses_network)
    job = RanksOfServer(
        rank_size=size,
        ranks=tuple(here.devices[index].rank_id for index in mine),
        devices=tuple(here.devices[index].device_id for index in mine),
        cores=tuple(cores[index] for index in mine) if several else (),
        rank_addresses=','.join(_addresses(servers, config.base_port)) if uses_network else '',
        open_ports=_open_ports(config, mine) if uses_network else '',
        rank_table_file=os.path.abspath(config.rank_table) if config.rank_table else '',
        rank_table='')
    if config.rank_table or not several:
        return job
    addresses, source = device_addresses([device.device_id for device in here.devices])
    return job._replace(rank_table=rank_table.text(here, addresses), rank_table_source=source)


def _servers(config: Config) -> Tuple[Server, ...]:
    if config.rank_table:
        rank_table.await_ready(config.rank_table, config.connect_timeout)
        return rank_table.load(config.rank_table)
    if config.ranks > DEVICES_OF_A_SERVER:
        raise InputError('--rank_size=%d: a server has %d devices; several servers, or one with more devices, need '
                         '--rank_table=FILE' % (config.ranks, DEVICES_OF_A_SERVER))
    return (rank_table.of_this_server(range(config.ranks) if config.ranks > 1 else [config.device_id]),)


def _this_server(servers: Sequence[Server], server_id: Optional[str]) -> Server:
    """The Server of the table that this machine is."""
    names = ', '.join(server.server_id for server in servers)
    if server_id:
        found = [server for server in servers if server.server_id == server_id]
        if not found:
            raise InputError('--server_id=%s: must be one of %s' % (server_id, names))
    else:
        found = [server for server in servers if len(servers) == 1 or _can_bind(server.server_id, 0)]
        if len(found) != 1:
            raise InputError('--server_id: needed, %s the servers %s of the rank table' % (
                'this machine has the addresses of several of' if found else 'this machine is none of', names))
    return found[0]


def _can_bind(host: str, port: int) -> bool:
    """Whether `host` is an address of this machine, and nobody listens at its `port`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return True
    except (OSError, UnicodeError):  # no such name, not this machine's, in use
        return False


def _shares(cores: Sequence[int], ranks: int) -> Tuple[str, ...]:
    """An even split of `cores` among the ranks; where there are fewer cores than ranks, ranks share a core."""
    count = len(cores)
    return tuple(','.join(map(str, cores[i * count // ranks:(i + 1) * count // ranks]
                              or [cores[i * count // ranks]]))
                 for i in range(ranks))


def _check_network(config, servers, mine, uses_network):
    """Raises InputError unless the flags about ports fit the run, and the ports of `mine` are free."""
    for name in ('base_port', 'trusted_network'):
        if getattr(config, name) and not uses_network:
            raise InputError('--%s: only ranks of several servers off an NPU open ports; leave it out' % name)
    if not uses_network:
        return
    if config.base_port is None:
        raise InputError('--base_port: needed with several servers: give all of them the same port')
    names = [server.server_id for server in servers]
    if set((config.trusted_network or '').split(',')) != set(names):
        raise InputError('--trusted_network: the ranks open ports without a password, and a connection can read and '
                         'write all files of this user; where only the servers can connect, give their addresses: '
                         '--trusted_network=%s' % ','.join(names))
    check_ports(config.base_port + mine[0], len(mine))


def check_ports(base_port: int, count: int) -> None:
    """Raises InputError unless this machine's `count` ports from `base_port` on are free."""
    for port in range(base_port, base_port + count):
        if not _can_bind('0.0.0.0', port):
            raise InputError('--base_port=%d: port %d of this machine is in use' % (base_port, port))


def _addresses(servers: Sequence[Server], base_port: int) -> List[str]:
    """host:port of every rank, by rank."""
    addresses = {device.rank_id: '%s:%d' % (server.server_id, port) for server in servers
                 for port, device in enumerate(server.devices, base_port)}
    return [addresses[rank] for rank in sorted(addresses)]


def _open_ports(config, mine):
    return ('Ports %d to %d of this machine are open to everybody who reaches one of its addresses, without a '
            'password; a connection can read and write all files of this user. --trusted_network=%s states that nobody '
            'else can connect' % (config.base_port + mine[0], config.base_port + mine[-1], config.trusted_network))
