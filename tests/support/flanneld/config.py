"""What `PREFIX/config` says: the network, how it is cut into hosts' subnets, and the backend with its options."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

_LARGE = 22


@dataclass(frozen=True)
class Config:
    """`first`, `last`: of the subnets that hosts can have."""

    network: IPv4Network
    length: int
    first: IPv4Network
    last: IPv4Network
    backend: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.backend.get("Type", "udp"))

    @property
    def port(self) -> int:
        """0: whatever the kernel or the backend takes."""
        return int(self.backend.get("Port", 0))

    @property
    def vni(self) -> int:
        return int(self.backend.get("VNI", 1))

    def fits(self, subnet: IPv4Network) -> bool:
        return subnet.prefixlen == self.length and self.first <= subnet <= self.last

    def subnets(self) -> list[IPv4Network]:
        return [s for s in self.network.subnets(new_prefix=self.length) if self.fits(s)]


def parse(config: dict[str, Any]) -> Config:
    """Raises ValueError."""
    if not config.get("EnableIPv4", True) or config.get("EnableIPv6", False):
        raise ValueError("this stand-in knows IPv4 only")
    network = IPv4Network(config["Network"])
    length = int(config.get("SubnetLen", 0)) or (24 if network.prefixlen <= _LARGE else network.prefixlen + 2)
    if network.prefixlen > 28 or not network.prefixlen + 2 <= length <= 30:
        raise ValueError(f"{network} cannot be cut into subnets of /{length}")
    every = list(network.subnets(new_prefix=length))
    first = _bound(config, "SubnetMin", every[1], length)
    last = _bound(config, "SubnetMax", every[-1], length)
    return Config(network, length, first, last, config.get("Backend") or {"Type": "udp"})


def _bound(config: dict[str, Any], name: str, default: IPv4Network, length: int) -> IPv4Network:
    """Raises ValueError where it is not the base of a subnet."""
    return IPv4Network((IPv4Address(config[name]), length)) if name in config else default
