"""Placement: which ranks a launcher starts on this server, and the devices, cores and addresses of these ranks."""
import itertools
import os
import random
import socket
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from core.errors import InputError
from core.ranks import rank_table
from core.ranks.device_addresses import device_addresses
from core.ranks.rank_table import Server
from core.settings.config import Config
from core.settings.table import DEVICES_OF_A_SERVER, MOST_DEVICES


class Job(NamedTuple):
    """What the launcher of this server reads from the plan."""
    rank_size: int                 # ranks of all servers
    ranks: Tuple[int, ...]         # of this server
    devices: Tuple[int, ...]       # ASCEND_DEVICE_ID of each rank
    cores: Tuple[str, ...]         # of each rank, as taskset -c takes them; () for a single rank
    rank_addresses: str            # host:port,... of all ranks, for TensorFlow's own collectives; '' without
    rank_table_file: str           # the user's; '' without
    rank_table: str                # text of the generated one; '' without
    rank_table_source: str = ''    # where the device addresses in the generated one are from

    def lines(self) -> Dict[str, Any]:
        """The job as {key: text}."""
        return {key: ' '.join(map(str, value)) if isinstance(value, tuple) else value
                for key, value in self._asdict().items()}


def plan(config: Config, on_npu: bool, family: Optional[str] = None) -> Job:
    """The Job that `config` asks for; on_npu: ranks exchange tensors by HCCL; family: of the NPUs, where it is known.

    Binds ports for a moment. Raises InputError when the flags or the rank table make no job.
    """
    servers = _servers(config)
    here = _this_server(servers, config.server_id)
    size = sum(len(server.devices) for server in servers)
    if config.ranks not in (0, size):
        raise InputError('--rank_size=%d: %s has %d ranks; leave one of the two out' % (
            config.ranks, config.rank_table, size))
    if family == '910':
        rank_table.check_910(config.rank_table or '--rank_size=%d' % size, servers)
    several = size > 1
    job = Job(
        rank_size=size,
        ranks=tuple(device.rank_id for device in here.devices),
        devices=tuple(device.device_id for device in here.devices),
        cores=_shares(sorted(os.sched_getaffinity(0)), len(here.devices)) if several else (),
        rank_addresses=','.join(_addresses(servers, here, config.base_port)) if several and not on_npu else '',
        rank_table_file=os.path.abspath(config.rank_table) if config.rank_table else '',
        rank_table='')
    if config.rank_table or not several:
        return job
    addresses, source = device_addresses(job.devices)
    return job._replace(rank_table=rank_table.text(here, addresses), rank_table_source=source)


def _servers(config: Config) -> Tuple[Server, ...]:
    if config.rank_table:
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


def _addresses(servers: Sequence[Server], here: Server, base_port: Optional[int]) -> List[str]:
    """host:port of every rank, by rank. The ranks of a single server use its loopback."""
    if base_port is None and len(servers) > 1:
        raise InputError('--base_port: needed with several servers: give all of them the same port')
    ports = free_ports() if base_port is None else given_ports(base_port, len(here.devices))
    addresses = {}
    for server in servers:
        host = rank_table.LOOPBACK if len(servers) == 1 else server.server_id
        addresses.update((device.rank_id, '%s:%d' % (host, port)) for device, port in zip(server.devices, ports))
    return [addresses[rank] for rank in sorted(addresses)]


def given_ports(base_port: int, count: int) -> Iterable[int]:
    """Ports from `base_port` on, of which this machine needs the first `count`."""
    for port in range(base_port, base_port + count):
        if not _can_bind('0.0.0.0', port):
            raise InputError('--base_port=%d: port %d of this machine is in use' % (base_port, port))
    return range(base_port, base_port + MOST_DEVICES)


def free_ports() -> List[int]:
    """Free ports below 32768: Linux gives the ports above to outgoing connections, which could take one meanwhile."""
    candidates = random.SystemRandom().sample(range(15000, 32768), 1000)
    free = (port for port in candidates if _can_bind('0.0.0.0', port))
    return list(itertools.islice(free, MOST_DEVICES))
