"""The network addresses of this machine's NPUs, which a rank table names for HCCL."""
import re
import subprocess
from typing import Dict, Sequence, Tuple

from core.settings.table import DEVICES_OF_A_SERVER

HCCN_CONF = '/etc/hccn.conf'   # lines address_N=ADDRESS
HCCN_TOOL = ('hccn_tool', '/usr/local/Ascend/driver/tools/hccn_tool')
_SECONDS = 10                  # of one call of hccn_tool


def device_addresses(device_ids: Sequence[int]) -> Tuple[Dict[int, str], str]:
    """({device_id: address}, where the addresses are from) of these devices.

    The sources are /etc/hccn.conf, hccn_tool, and the example that the vendors ship; each counts only where it knows
    all of the devices.
    """
    for source, addresses in ((HCCN_CONF, _configured()), ('hccn_tool', _asked(device_ids))):
        if set(device_ids) <= set(addresses):
            return {device: addresses[device] for device in device_ids}, source
    return {device: _shipped(device) for device in device_ids}, "the vendors' example (no address is configured)"


def _configured() -> Dict[int, str]:
    try:
        with open(HCCN_CONF, encoding='utf-8', errors='replace') as file:
            lines = re.findall(r'^\s*address_(\d+)\s*=\s*(\S+)', file.read(), re.M)
    except OSError:
        return {}
    return {int(number): address for number, address in lines}


def _asked(device_ids: Sequence[int]) -> Dict[int, str]:
    """The output of `hccn_tool -i N -ip -g`, which has ipaddr:ADDRESS and netmask:MASK."""
    found: Dict[int, str] = {}
    for device in device_ids:
        for tool in HCCN_TOOL:
            try:
                answer = subprocess.run([tool, '-i', str(device), '-ip', '-g'], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, timeout=_SECONDS, universal_newlines=True).stdout
            except (OSError, subprocess.TimeoutExpired):
                continue
            address = re.search(r'ipaddr:\s*(\S+)', answer)
            if address:
                found[device] = address.group(1)
                break
        else:
            return {}
    return found


def _shipped(device: int) -> str:
    """As in the vendors' 8p.json: 192.168.100.101 to 192.168.103.101 for devices 0 to 3, then ending in .100."""
    half = DEVICES_OF_A_SERVER // 2
    return '192.168.%d.%d' % (100 + device % half, 101 if device % DEVICES_OF_A_SERVER < half else 100)
