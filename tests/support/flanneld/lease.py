"""Which subnet is this host's: the one it has already, or the one it had, or a free one at random."""

from __future__ import annotations

import random
import re
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from support.flanneld.config import Config
from support.flanneld.registry import Lease, Registry

_TRIES = 10
_CHOICE = 100


def acquire(registry: Registry, config: Config, value: dict[str, Any], subnet_file: Path) -> IPv4Network:
    """Raises RuntimeError where all are taken, or others were quicker each time."""
    for _ in range(_TRIES):
        leases, _revision = registry.list()
        mine = next((lease for lease in leases if lease.public_ip == value["PublicIP"]), None)
        if mine and config.fits(mine.subnet):  # whoever wrote it
            registry.renew(mine.subnet, value)
            return mine.subnet
        if mine:
            registry.delete(mine.subnet)
            leases.remove(mine)
        subnet = _choose(config, leases, remembered(subnet_file))
        if registry.create(subnet, value):
            return subnet
    raise RuntimeError("no lease: others were quicker each time")


def _choose(config: Config, leases: list[Lease], before: IPv4Network | None) -> IPv4Network:
    def free(subnet: IPv4Network) -> bool:
        return not any(subnet.overlaps(lease.subnet) for lease in leases)

    if before and config.fits(before) and free(before):
        return before
    found = [subnet for subnet in config.subnets() if free(subnet)][:_CHOICE]
    if not found:
        raise RuntimeError(f"no lease: all subnets of {config.network} are taken")
    return random.choice(found)


def remembered(subnet_file: Path) -> IPv4Network | None:
    """What an earlier run has written down."""
    try:
        found = re.search(r"^FLANNEL_SUBNET=(\S+)$", subnet_file.read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return IPv4Interface(found[1]).network if found else None


def write_down(subnet_file: Path, config: Config, subnet: IPv4Network, mtu: int, masquerade: bool) -> None:
    """For whoever makes containers on this host."""
    lines = (
        f"FLANNEL_NETWORK={config.network}",
        f"FLANNEL_SUBNET={subnet.network_address + 1}/{subnet.prefixlen}",
        f"FLANNEL_MTU={mtu}",
        f"FLANNEL_IPMASQ={str(masquerade).lower()}",
    )
    subnet_file.parent.mkdir(parents=True, exist_ok=True)
    new = subnet_file.with_name(f".{subnet_file.name}")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.chmod(0o644)
    new.replace(subnet_file)
