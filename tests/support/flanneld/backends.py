"""What another host's lease means to this host's kernel, written with `ip` and `bridge`."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, ClassVar

from support.flanneld.config import Config
from support.flanneld.registry import Lease


@dataclass(frozen=True)
class Uplink:
    """The interface that leads to the other hosts, its v4 address and its MTU."""

    name: str
    address: str
    mtu: int


def run(line: str) -> str:
    """A command of plain words. Raises CalledProcessError."""
    return subprocess.run(line.split(), check=True, capture_output=True, text=True, timeout=10).stdout


def uplink(name: str) -> Uplink:
    (link,) = json.loads(run(f"ip -j -4 addr show dev {name}"))
    address = next(a["local"] for a in link["addr_info"] if a["scope"] == "global")
    return Uplink(name, address, link["mtu"])


class Backend(ABC):
    """`kind`: as leases have it in `BackendType`. `overhead`: octets around a packet."""

    kind: ClassVar[str]
    overhead: ClassVar[int] = 0

    def __init__(self, config: Config, link: Uplink) -> None:
        self.config, self.link = config, link
        self.mtu = link.mtu - self.overhead

    def value(self) -> dict[str, Any]:
        """Of this host's lease. Empty fields are left out, but for the v6 address."""
        found: dict[str, Any] = {"PublicIP": self.link.address, "PublicIPv6": None}
        if self.kind:
            found["BackendType"] = self.kind
        if data := self.data():
            found["BackendData"] = data
        return found

    def data(self) -> dict[str, Any]:
        return {}

    def takes(self, lease: Lease) -> bool:
        """Leases of another backend are passed over."""
        return lease.backend == self.kind

    @abstractmethod
    def start(self, own: IPv4Network, end: Callable[[str], None]) -> None:
        """`end`: to be called when it can go on no longer."""

    @abstractmethod
    def add(self, lease: Lease) -> None: ...

    @abstractmethod
    def remove(self, lease: Lease) -> None: ...

    def recheck(self) -> None:
        """Every ten seconds."""
        return


class Vxlan(Backend):
    """One device; per host, in this order, a neighbour, an FDB entry and a route."""

    kind = "vxlan"
    overhead = 50

    def __init__(self, config: Config, link: Uplink) -> None:
        super().__init__(config, link)
        self._device = f"flannel.{config.vni}"
        port = config.port or 8472
        if subprocess.run(["ip", "link", "show", "dev", self._device], capture_output=True, check=False).returncode:
            run(
                f"ip link add {self._device} type vxlan id {config.vni} local {link.address} dev {link.name}"
                f" dstport {port} nolearning noudpcsum"
            )
        self._mac = json.loads(run(f"ip -j link show dev {self._device}"))[0]["address"]

    def data(self) -> dict[str, Any]:
        return {"VNI": self.config.vni, "VtepMAC": self._mac}

    def start(self, own: IPv4Network, end: Callable[[str], None]) -> None:
        run(f"ip addr replace {own.network_address}/32 dev {self._device}")
        run(f"ip link set {self._device} mtu {self.mtu} up")

    def add(self, lease: Lease) -> None:
        base, mac = lease.subnet.network_address, lease.data["VtepMAC"]
        run(f"ip neigh replace {base} lladdr {mac} dev {self._device} nud permanent")
        run(f"bridge fdb replace {mac} dev {self._device} dst {lease.public_ip} self permanent")
        run(f"ip route replace {lease.subnet} via {base} dev {self._device} onlink")

    def remove(self, lease: Lease) -> None:
        base, mac = lease.subnet.network_address, lease.data["VtepMAC"]
        run(f"ip route del {lease.subnet} via {base} dev {self._device} onlink")
        run(f"bridge fdb del {mac} dev {self._device} dst {lease.public_ip} self")
        run(f"ip neigh del {base} dev {self._device}")


class HostGw(Backend):
    """One route per host, put back where it is gone or other."""

    kind = "host-gw"

    def __init__(self, config: Config, link: Uplink) -> None:
        super().__init__(config, link)
        self._wanted: dict[IPv4Network, str] = {}

    def start(self, own: IPv4Network, end: Callable[[str], None]) -> None:
        """There is nothing but routes."""

    def add(self, lease: Lease) -> None:
        self._wanted[lease.subnet] = lease.public_ip
        self._route(lease.subnet)

    def remove(self, lease: Lease) -> None:
        if self._wanted.pop(lease.subnet, None):
            run(f"ip route del {lease.subnet} via {lease.public_ip} dev {self.link.name}")

    def recheck(self) -> None:
        for subnet in self._wanted:
            with suppress(subprocess.CalledProcessError):  # a host beyond a router, which never can be reached
                self._route(subnet)

    def _route(self, subnet: IPv4Network) -> None:
        run(f"ip route replace {subnet} via {self._wanted[subnet]} dev {self.link.name}")
